"""The bytes of artifacts, on disk by sha256.

``place`` makes a file durable (its bytes, its name, its folder) before anybody may record it. A
file that no record names is removed when the hub starts; while an upload is under way its digest
is pinned, so that a removal beside it cannot take the bytes away.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edgectl_selfhosted.hub.errors import Fault, HubError
from edgectl_selfhosted.hub.store.modules import NewArtifact


class ArtifactStore:
    """A folder of files named by their digest."""

    def __init__(self, root: Path) -> None:
        self._blobs = root / "sha256"
        self._incoming = root / "incoming"
        self._pinned: Counter[str] = Counter()
        self._lock = threading.Lock()
        for folder in (self._blobs, self._incoming):
            folder.mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        """Return where the bytes lie."""
        return self._blobs / sha256[:2] / sha256

    def receive(self, max_bytes: int) -> Receiver:
        """Begin an upload."""
        return Receiver(self._incoming / secrets.token_hex(16), max_bytes)

    @contextmanager
    def pinned(self, sha256: str) -> Iterator[None]:
        """Keep ``discard`` from removing a digest that is about to be recorded."""
        with self._lock:
            self._pinned[sha256] += 1
        try:
            yield
        finally:
            with self._lock:
                self._pinned[sha256] -= 1
                if not self._pinned[sha256]:
                    del self._pinned[sha256]

    def place(self, incoming: Path, sha256: str) -> None:
        """Give a received file its name; durable when this returns."""
        path = self.path(sha256)
        if not path.parent.exists():
            path.parent.mkdir(exist_ok=True)
            _sync_folder(self._blobs)
        incoming.replace(path)
        _sync_folder(path.parent)

    def discard(self, sha256: str, is_used: Callable[[str], bool]) -> None:
        """Remove bytes that no record names; call it where no record can be made meanwhile."""
        with self._lock:
            if sha256 not in self._pinned and not is_used(sha256):
                self.path(sha256).unlink(missing_ok=True)

    def sweep(self, is_used: Callable[[str], bool]) -> None:
        """Remove what a crash left behind; only before the hub listens."""
        for left in self._incoming.iterdir():
            left.unlink()
        for blob in self._blobs.glob("*/*"):
            if not is_used(blob.name):
                blob.unlink()


class Receiver:
    """An upload on its way to disk, hashed as it comes."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._size = 0
        self._hashes = (
            hashlib.md5(usedforsecurity=False),
            hashlib.sha1(usedforsecurity=False),
            hashlib.sha256(),
        )
        self._file = path.open("xb")

    def write(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            HubError: ``TOO_LARGE`` or ``STORAGE``.
        """
        self._size += len(data)
        if self._size > self._max_bytes:
            raise HubError(Fault.TOO_LARGE, f"an artifact has at most {self._max_bytes} bytes")
        for digest in self._hashes:
            digest.update(data)
        try:
            self._file.write(data)
        except OSError as exc:
            raise HubError(Fault.STORAGE, f"the artifact cannot be stored: {exc.strerror}") from exc

    def finish(self, filename: str) -> NewArtifact:
        """Bring the bytes to disk and say what they are.

        Raises:
            HubError: ``STORAGE``.
        """
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        except OSError as exc:
            raise HubError(Fault.STORAGE, f"the artifact cannot be stored: {exc.strerror}") from exc
        md5, sha1, sha256 = (digest.hexdigest() for digest in self._hashes)
        return NewArtifact(filename=filename, size=self._size, md5=md5, sha1=sha1, sha256=sha256)

    def drop(self) -> None:
        """Forget the upload, unless it was placed."""
        self._file.close()
        self.path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
