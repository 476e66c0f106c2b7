"""Moves the packets of all members with one selector, and does their HTTPS in a few threads."""

from __future__ import annotations

import contextlib
import functools
import logging
import queue
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from edgectl_aws_greengrass.emulator.nucleus.crowd.member import Member
from edgectl_aws_greengrass.emulator.nucleus.failures import UnavailableError

log = logging.getLogger(__name__)

_WORKERS = 8
_RETRY_S = 2.0
_MISC_S = 5.0


class Loop:
    """Runs a crowd.

    Args:
        tls: The members' client context.
    """

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._selector = selectors.DefaultSelector()
        self._registered: dict[Member, socket.socket] = {}
        self._todo: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="crowd")
        self._wake_out, self._wake_in = socket.socketpair()
        self._wake_out.setblocking(False)
        self._stopping = threading.Event()
        self._selector.register(self._wake_out, selectors.EVENT_READ)

    @property
    def connected(self) -> int:
        """How many members have a connection."""
        return len(self._registered)

    def stop(self) -> None:
        """Have ``run`` end; may be called from a signal handler."""
        self._stopping.set()
        self._wake()

    def submit(self, member: Member, job_id: str, document: str) -> None:
        """Have a member's deployment worked on, again and again while the cloud is away."""
        self._pool.submit(self._work, member, job_id, document)

    def run(self, members: Iterable[Member]) -> None:
        """Connect the members and serve them until ``stop``."""
        for member in members:
            self._pool.submit(self._connect, member)
        looked_at = time.monotonic()
        while not self._stopping.is_set():
            for key, events in self._selector.select(1.0):
                if isinstance(key.data, Member):
                    self._serve(key.data, events)
                else:
                    self._drain()
            if time.monotonic() - looked_at > _MISC_S:
                looked_at = time.monotonic()
                for member in list(self._registered):
                    member.client.loop_misc()
                    self._look(member)
        self._pool.shutdown(wait=False, cancel_futures=True)
        for member in list(self._registered):
            member.client.disconnect()

    def _work(self, member: Member, job_id: str, document: str) -> None:
        while not self._stopping.is_set():
            try:
                found = member.work(document)
            except UnavailableError as exc:
                log.warning("%s: %s", member.settings.thing, exc)
                self._stopping.wait(_RETRY_S)
                continue
            except Exception:
                log.exception("%s cannot go on with %s", member.settings.thing, job_id)
                return
            self._later(member, functools.partial(member.conclude, job_id, *found))
            return

    def _connect(self, member: Member) -> None:
        while not self._stopping.is_set():
            try:
                member.connect(self._tls)
            except OSError as exc:
                log.info("%s: %s", member.settings.thing, exc)
                self._stopping.wait(_RETRY_S)
                continue
            self._later(member, lambda: None)
            return

    def _later(self, member: Member, work: Callable[[], None]) -> None:
        def do() -> None:
            work()
            self._look(member)

        self._todo.put(do)
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._wake_in.send(b"\0")

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wake_out.recv(4_096):
                pass
        while True:
            try:
                work = self._todo.get_nowait()
            except queue.Empty:
                return
            work()

    def _serve(self, member: Member, events: int) -> None:
        if events & selectors.EVENT_READ:
            member.client.loop_read()
        if events & selectors.EVENT_WRITE:
            member.client.loop_write()
        self._look(member)

    def _look(self, member: Member) -> None:
        """Watch a member's socket for what it waits for, and see when it has lost it."""
        found: Any = member.client.socket()
        known = self._registered.get(member)
        if known is not None and known is not found:
            self._selector.unregister(known)
            del self._registered[member]
            known = None
            if found is None and not self._stopping.is_set():
                self._pool.submit(self._connect, member)
        if found is None:
            return
        wanted = selectors.EVENT_READ
        if member.client.want_write():
            wanted |= selectors.EVENT_WRITE
        if known is None:
            self._selector.register(found, wanted, member)
            self._registered[member] = found
        elif self._selector.get_key(found).events != wanted:
            self._selector.modify(found, wanted, member)
