"""The hub's heart: the store, the caches and the switches, shared by all rooms."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar

from edgectl_selfhosted.hub.artifacts import ArtifactStore
from edgectl_selfhosted.hub.auth import (
    Operators,
    hash_password,
    read_or_make_secret,
    verify_password,
)
from edgectl_selfhosted.hub.config import OPERATOR, HubConfig
from edgectl_selfhosted.hub.poll_cache import PollCache
from edgectl_selfhosted.hub.sender import FileSender
from edgectl_selfhosted.hub.store import modules, settings, targets
from edgectl_selfhosted.hub.store.database import Database
from edgectl_selfhosted.hub.store.rows import Tx, scalar

T = TypeVar("T")

PASSWORD_FILE = "admin-password"  # noqa: S105 - a file's name
GATEWAY_FILE = "gateway-token"
_PASSWORD_ROW = "operator.password.scrypt"  # noqa: S105 - a key's name
_LOG = logging.getLogger("edgectl.hub")


def now_ms() -> int:
    """Return milliseconds since 1970 UTC."""
    return time.time_ns() // 1_000_000


class Hub:
    """Everything that requests share.

    Attributes:
        wake: Set when rollouts have something to do.
    """

    def __init__(self, config: HubConfig) -> None:
        self.config = config
        self.polls = PollCache()
        self.wake = asyncio.Event()
        self.files = ArtifactStore(config.data / "artifacts")
        self.sender = FileSender(config.patience.stall_s)
        self.db = Database(config.data / "hub.db", now_ms=now_ms, committed=self._committed)
        self.settings = settings.Settings(values=settings.DEFAULTS)
        self.operators = Operators("")

    async def start(self) -> None:
        """Read or make the secrets, apply the switches, remove what a crash left behind."""
        self.db.start(asyncio.get_running_loop())
        self.sender.start()
        password = read_or_make_secret(self.config.data / PASSWORD_FILE)
        gateway = read_or_make_secret(self.config.data / GATEWAY_FILE)
        self.operators = Operators(
            await self.db.write(lambda tx: _keep_password(tx, password), actor="system")
        )
        chosen: dict[str, settings.Value] = {settings.GATEWAY_KEY: gateway}
        if self.config.gateway_token is not None:
            chosen[settings.GATEWAY_ENABLED] = self.config.gateway_token
        if self.config.poll_s is not None:
            chosen[settings.POLLING] = settings.clock_text(self.config.poll_s)
        self.settings = await self.db.write(lambda tx: _apply(tx, chosen), actor="system")
        await self.db.read(
            lambda conn: self.files.sweep(lambda sha256: modules.digest_is_used(conn, sha256))
        )
        self.wake.set()

    async def stop(self) -> None:
        """Write down what is only in memory, and close the store."""
        await self.write_sightings()
        await asyncio.to_thread(self.sender.close)
        await asyncio.to_thread(self.db.close)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query."""
        return await self.db.read(work)

    async def look_up(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query of a few rows found by key: at once, or where that must wait in a thread."""
        try:
            return self.db.glance(work)
        except sqlite3.OperationalError:
            return await self.db.read(work)

    async def write(self, work: Callable[[Tx], T], *, actor: str = OPERATOR) -> T:
        """Run a change; on disk when this returns."""
        return await self.db.write(work, actor=actor)

    async def write_sightings(self) -> None:
        """Write down when devices polled last."""
        if sightings := self.polls.take_sightings():
            await self.write(lambda tx: targets.seen(tx, sightings), actor="system")

    def _committed(self, transactions: list[Tx]) -> None:
        for tx in transactions:
            if tx.everyone:
                self.polls.forget_all()
            self.polls.forget(tx.touched)
            if tx.wake:
                self.wake.set()


def _keep_password(tx: Tx, password: str) -> str:
    stored = scalar(tx.conn, "SELECT value FROM setting WHERE key = ?", (_PASSWORD_ROW,))
    if isinstance(stored, str) and verify_password(password.encode(), stored):
        return stored
    if stored is not None:
        _LOG.info("taking over the changed operator password")
    hashed = hash_password(password)
    tx.conn.execute("DELETE FROM setting WHERE key = ?", (_PASSWORD_ROW,))
    tx.insert_audited("setting", {"key": _PASSWORD_ROW, "value": hashed})
    return hashed


def _apply(tx: Tx, chosen: dict[str, settings.Value]) -> settings.Settings:
    present = settings.load(tx.conn)
    changed = {key: value for key, value in chosen.items() if present.values[key] != value}
    if not changed:
        return present
    return settings.put(tx, {key: settings.check(key, value) for key, value in changed.items()})
