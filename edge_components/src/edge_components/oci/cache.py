"""Files by digest that several processes share: each one is fetched once, by whoever comes first.

``blobs/sha256/<hex>`` holds what is whole, ``<hex>.partial`` what was begun, ``locks/<hex>`` who
works on it. The lock is the kernel's, so it ends with its process; what a killed process fetched is
continued by the next one. A file is hashed before it is handed out, because a disk forgets.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from edge_components.contract.digest import digest_hex
from edge_components.contract.state import Reason
from edge_components.store.blobs import PARTIAL, Blobs, Partial, WrongContentError
from edge_components.store.disk import Disk
from edge_components.update.errors import CalledOffError, RefusedError

_LOG = logging.getLogger(__name__)
_FETCHES = 3
_LOOK_S = 0.05


def has_digest(path: Path, digest: str) -> bool:
    """Return whether the file can be read and its bytes have that digest."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == digest_hex(digest)
    except OSError:
        return False


class Cache:
    """A folder of files by digest.

    Args:
        root: The folder.
        disk: Durable file operations, if they are to be observed.
    """

    def __init__(self, root: Path, disk: Disk | None = None) -> None:
        self._disk = disk or Disk()
        self._locks = root / "locks"
        self._root = root / "blobs" / "sha256"
        self._locks.mkdir(parents=True, exist_ok=True)
        self._blobs = Blobs(self._root, self._disk)

    def find(self, digest: str) -> Path | None:
        """Return the whole file of that digest, or None; its bytes were just hashed."""
        path = self._blobs.path(digest)
        if not path.exists():
            return None
        if not has_digest(path, digest):
            _LOG.error("'%s' was damaged on the disk", path.name)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # for trim: it was used now
        return path

    def obtain(
        self, digest: str, size: int, fill: Callable[[Partial], None], stop: threading.Event
    ) -> Path:
        """Return the file, fetched if nobody has done so before.

        Args:
            digest: Which.
            size: Its bytes.
            fill: Brings a partial file to its size.
            stop: Ends the wait for another process.

        Raises:
            RefusedError: ``digest-mismatch``: what comes is something else.
            DiskFullError: There is no room.
            CalledOffError: ``stop`` was set.
        """
        with self._locked(digest, stop):
            if (path := self.find(digest)) is not None:
                return path
            self._blobs.path(digest).unlink(missing_ok=True)
            return self._fetch(digest, size, fill)

    def add(self, digest: str, data: bytes, stop: threading.Event) -> None:
        """Keep bytes that have that digest; raises as ``obtain`` does."""

        def fill(partial: Partial) -> None:
            partial.restart()
            partial.write(data)

        self.obtain(digest, len(data), fill, stop)

    def missing_bytes(self, digest: str, size: int) -> int:
        """Return how many bytes of a file are still to be fetched."""
        return self._blobs.missing_bytes(digest, size)

    def trim(self, max_bytes: int, keep: set[str]) -> None:
        """Remove what was not used for longest until the cache holds ``max_bytes`` at most.

        Args:
            max_bytes: What it may hold.
            keep: Digests that stay in any case.
        """
        kept = {digest_hex(digest) for digest in keep}
        files = sorted(_listed(self._root), key=lambda item: item[1])
        held = sum(size for _path, _used, size in files)
        for path, _used, size in files:
            if held <= max_bytes:
                return
            if path.name.removesuffix(PARTIAL) not in kept and self._remove(path):
                held -= size

    def remove(self, digest: str) -> None:
        """Remove a file, unless somebody works on it."""
        self._remove(self._blobs.path(digest))

    def _remove(self, path: Path) -> bool:
        """Remove a file that nobody works on."""
        with (self._locks / path.name.removesuffix(PARTIAL)).open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return False
            path.unlink(missing_ok=True)
            return True

    def _fetch(self, digest: str, size: int, fill: Callable[[Partial], None]) -> Path:
        detail = ""
        for attempt in range(1, _FETCHES + 1):
            try:
                with self._blobs.partial(digest, size) as partial:
                    if partial.offset < size:
                        fill(partial)
                    partial.finish()
            except WrongContentError as exc:
                detail = str(exc)
                _LOG.warning("attempt %d of %d: %s", attempt, _FETCHES, detail)
            else:
                return self._blobs.path(digest)
        self._blobs.discard(digest)
        raise RefusedError(Reason.DIGEST_MISMATCH, detail)

    @contextlib.contextmanager
    def _locked(self, digest: str, stop: threading.Event) -> Iterator[None]:
        with (self._locks / digest_hex(digest)).open("ab") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if stop.wait(_LOOK_S):
                        raise CalledOffError from None
            yield


def _listed(folder: Path) -> Iterator[tuple[Path, float, int]]:
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            yield path, status.st_mtime, status.st_size
