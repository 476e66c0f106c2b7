"""Where the memory provider keeps its fleet: in one object, or in a file that processes share.

With a file, every change happens under a lock and replaces the file as a whole, so a reader never
sees half of it, and a process that was killed has either made its change or not.
"""

from __future__ import annotations

import contextlib
import fcntl
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec

from edgectl.codec import decode_json
from edgectl.errors import ProviderError
from edgectl.testing.memory_fleet import FleetState

Stamp = tuple[int, int, int]


class FleetStore:
    """Holds the fleet's state for the threads and processes that share it.

    Args:
        path: The file to share, or None for this object alone.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._state = FleetState()
        self._stamp: Stamp | None = None

    @contextlib.contextmanager
    def reading(self) -> Iterator[FleetState]:
        """Give the present state; it must not be changed.

        Raises:
            ProviderError: The file cannot be read.
        """
        with self._lock:
            self._load()
            yield self._state

    @contextlib.contextmanager
    def changing(self) -> Iterator[FleetState]:
        """Give the state to change; the file is replaced when the block ends well.

        Without a file nothing brings a half-made change back: check first, then change.

        Raises:
            ProviderError: The file cannot be read or written.
        """
        with self._lock, self._file_lock():
            self._load()
            try:
                yield self._state
                self._save()
            except BaseException:
                self._stamp = None  # The next reader takes the file as it is.
                raise

    @contextlib.contextmanager
    def _file_lock(self) -> Iterator[None]:
        if self._path is None:
            yield
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lock = self._path.with_name(self._path.name + ".lock").open("ab")
        except OSError as exc:
            raise self._broken("locked", exc.strerror) from exc
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _load(self) -> None:
        if self._path is None:
            return
        try:
            status = self._path.stat()
            stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                self._state = decode_json(self._path.read_bytes(), FleetState)
                self._stamp = stamp
        except FileNotFoundError:
            self._state, self._stamp = FleetState(), None
        except OSError as exc:
            raise self._broken("read", exc.strerror) from exc
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise self._broken("read", exc) from exc

    def _save(self) -> None:
        if self._path is None:
            return
        fresh = self._path.with_name(self._path.name + ".new")
        try:
            fresh.write_bytes(msgspec.json.encode(self._state, enc_hook=str))
            fresh.replace(self._path)
            status = self._path.stat()
        except OSError as exc:
            raise self._broken("written", exc.strerror) from exc
        self._stamp = (status.st_ino, status.st_mtime_ns, status.st_size)

    def _broken(self, verb: str, why: object) -> ProviderError:
        return ProviderError(f"the memory provider's file '{self._path}' cannot be {verb}: {why}")
