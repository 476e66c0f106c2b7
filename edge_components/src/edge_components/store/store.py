"""The store: the record, the blobs and the version folders, and what happens after a power cut.

``state.json`` is the truth; opening the store brings the folders into line with it. If the active
version's folder is not whole (a damaged file system), the newest whole version takes its place.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import BinaryIO, Self

from msgspec.structs import replace

from edge_components.contract.bench import parse_bench, speeds
from edge_components.contract.device import BENCH_FILE, ENGINES, StoreSection
from edge_components.contract.digest import engine_key
from edge_components.contract.errors import ContractError
from edge_components.contract.jsonio import canonical_json, decode_json
from edge_components.contract.package import WEIGHT_TYPE, Descriptor
from edge_components.store.blobs import Blobs
from edge_components.store.disk import TMP_SUFFIX, Disk, DiskFullError, links_work
from edge_components.store.versions import Documents, Versions
from edge_components.update.machine import recover
from edge_components.update.record import MAX_RECORD_BYTES, Record

STATE_FILE = "state.json"
LOCK_FILE = "lock"
SPARE_FILE = "spare"
SPARE_BYTES = 64 << 10
_PATIENCE_S = 2.0
_LOOK_S = 0.02
_LOG = logging.getLogger(__name__)


class StoreError(Exception):
    """The store cannot be used; the message says why."""


class StoreBusyError(StoreError):
    """Another process has the store open."""


class Store:
    """A device's store; one process at a time, any of its threads.

    Attributes:
        blobs: Files by digest.
        versions: Version folders.
    """

    def __init__(self, root: Path, limits: StoreSection, disk: Disk, lock: BinaryIO) -> None:
        self._root = root
        self._limits = limits
        self._disk = disk
        self._lock = lock
        self._guard = threading.RLock()
        self._record = Record()
        self._wanted: tuple[Descriptor, ...] = ()
        self.blobs = Blobs(root / "blobs" / "sha256", disk)
        self.versions = Versions(root / "versions", disk)

    @classmethod
    def open(
        cls, root: Path, limits: StoreSection | None = None, *, disk: Disk | None = None
    ) -> Self:
        """Open the store and bring it into line after whatever happened before.

        Raises:
            StoreBusyError: Another process has it open.
            StoreError: Its record cannot be read.
        """
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (root / LOCK_FILE).open("ab")
        if not _locked(lock):
            lock.close()
            raise StoreBusyError(f"the store '{root}' is in use by another agent")
        try:
            store = cls(root, limits or StoreSection(), disk or Disk(), lock)
            store._recover()
        except BaseException:
            lock.close()
            raise
        return store

    def close(self) -> None:
        """Let another process open the store."""
        self._lock.close()

    @property
    def record(self) -> Record:
        """The record as it stands on the disk."""
        with self._guard:
            return self._record

    def change(self, decide: Callable[[Record], Record]) -> Record:
        """Replace the record by what ``decide`` makes of it; durable when this returns.

        Raises:
            DiskFullError: There is no room; the record is as it was.
        """
        with self._guard:
            record = decide(self._record)
            if record != self._record:
                self._write(canonical_json(record))
                self._record = record
            return record

    def _write(self, data: bytes) -> None:
        """Write the record; on a full disk the spare room is given up for it."""
        path = self._root / STATE_FILE
        try:
            self._disk.write(path, data)
        except DiskFullError:
            spare = self._root / SPARE_FILE
            if not spare.exists():
                raise
            spare.unlink()
            self._disk.write(path, data)

    def reserve(self, layers: Collection[Descriptor], *, wanted: Iterable[Descriptor]) -> None:
        """Make sure that there is room for these files before the first byte is fetched.

        Args:
            layers: What is fetched next.
            wanted: Everything that the update may still use; what is here of it stays.

        Raises:
            DiskFullError: There is not; the numbers are in the message.
        """
        self._wanted = tuple(wanted)
        self.collect()
        missing = sum(self.blobs.missing_bytes(d.digest, d.size) for d in layers)
        staged = 0 if links_work(self._root) else sum(d.size for d in layers)
        needed = missing + staged
        free = shutil.disk_usage(self._root).free - self._limits.reserve_bytes
        if needed and needed > free:
            raise DiskFullError(
                f"the update needs {needed} bytes, {max(free, 0)} are free beside the reserve of "
                f"{self._limits.reserve_bytes}"
            )
        budget = self._limits.max_bytes
        if budget and needed and (used := self.used_bytes()) + needed > budget:
            raise DiskFullError(
                f"the update needs {needed} bytes, the store holds {used} of at most {budget}"
            )

    def stage(self, number: int, documents: Documents, files: dict[str, Descriptor]) -> Path:
        """Build the folder of a release from blobs that are all here.

        Raises:
            DiskFullError: There is no room.
        """
        blobs = {path: self.blobs.path(layer.digest) for path, layer in files.items()}
        return self.versions.build(number, documents, blobs)

    def keep_spare(self) -> None:
        """Hold some room, so that a full disk can still be written into the record."""
        spare = self._root / SPARE_FILE
        if spare.exists():
            return
        try:
            with spare.open("xb") as file:
                os.posix_fallocate(file.fileno(), 0, SPARE_BYTES)
        except OSError as exc:
            spare.unlink(missing_ok=True)
            _LOG.warning("no room is held for the record: %s", exc.strerror)

    def collect(self) -> None:
        """Remove whatever neither a kept version nor the update in progress needs."""
        update = self.record.update
        staged = {update.release.number} if update and update.release else set()
        self._collect(self._wanted, staged)

    @property
    def compare_bytes(self) -> int:
        """Most bytes of other variants that may be fetched to be compared with the first."""
        return self._limits.compare_bytes

    def measured(self, hardware: str) -> dict[str, float]:
        """Return what the last bench of this device measured: milliseconds by precision."""
        try:
            return speeds(parse_bench((self._root / BENCH_FILE).read_bytes()), hardware)
        except (OSError, ContractError):
            return {}

    def forget_download(self) -> None:
        """Remove what was fetched and staged for an update that has ended or has to end."""
        self._wanted = ()
        self._collect((), set())

    def _collect(self, wanted: Iterable[Descriptor], staged: set[int]) -> None:
        kept = self.record.kept()
        wanted_digests = {d.digest for d in wanted}
        digests = set(wanted_digests)
        engines = set()
        for version in kept:
            try:
                layers = self.versions.layers(version).values()
                digests |= {d.digest for d in layers}
                engines.add(engine_key(d.digest for d in layers if d.media_type == WEIGHT_TYPE))
            except ContractError:
                _LOG.warning("version %d is damaged", version.number)
        self.versions.collect({version.number for version in kept} | staged)
        self.blobs.collect(digests, partials=wanted_digests)
        self._collect_engines(engines)
        self.keep_spare()

    def _collect_engines(self, keep: set[str]) -> None:
        folder = self._root / ENGINES
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.name not in keep:
                self._disk.remove(path)

    def used_bytes(self) -> int:
        """Return what the store occupies; a file with several links counts once."""
        seen: dict[tuple[int, int], int] = {}
        for folder, _names, files in os.walk(self._root):
            for name in files:
                if name == SPARE_FILE:
                    continue
                status = (Path(folder) / name).lstat()
                seen[status.st_dev, status.st_ino] = status.st_size
        return sum(seen.values())

    def _recover(self) -> None:
        for path in self._root.glob(f"*{TMP_SUFFIX}"):
            self._disk.remove(path)
        self._record = read_record(self._root)
        self.keep_spare()
        self.change(lambda record: recover(self._without_damaged(record)))
        # What was fetched for a forgotten update stays: the same order comes again.
        self.versions.collect({version.number for version in self.record.kept()})

    def _without_damaged(self, record: Record) -> Record:
        whole = tuple(v for v in record.kept() if self.versions.is_whole(v))
        if whole == record.kept():
            return record
        _LOG.error(
            "of %d versions %d are damaged", len(record.kept()), len(record.kept()) - len(whole)
        )
        active = whole[0] if whole else None
        switched = record.update is not None and record.update.phase.is_switched
        update = None if switched and active != record.active else record.update
        return replace(record, active=active, previous=whole[1:], update=update)


def read_record(root: Path) -> Record:
    """Read the record of a store without opening it.

    Raises:
        StoreError: It is there and cannot be read.
    """
    path = root / STATE_FILE
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Record()
    except OSError as exc:
        raise StoreError(f"'{path}' cannot be read: {exc.strerror}") from exc
    try:
        return decode_json(data, Record, what=f"'{path}'", max_bytes=MAX_RECORD_BYTES)
    except ContractError as exc:
        raise StoreError(str(exc)) from exc


def _locked(lock: BinaryIO) -> bool:
    """Lock the store's file; False if another process keeps it.

    A process that an agent was just starting has the agent's files until it runs its own program;
    if the agent was killed at that instant, the lock is free a moment later.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_S)
        else:
            return True
