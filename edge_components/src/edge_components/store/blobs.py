"""Files by digest: ``blobs/sha256/<hex>``, and ``<hex>.partial`` while one is being fetched.

A file has its digest's name only after all of its bytes were hashed and are on the disk. A
partial file may be continued after a power cut: it is hashed again from the start.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from edge_components.contract.digest import digest_hex
from edge_components.store.disk import Disk, DiskFullError, is_full

PARTIAL = ".partial"
_CHUNK = 1 << 20


class WrongContentError(Exception):
    """The bytes do not have the digest or the size that they should have."""


class Partial:
    """A file on its way into the store; use as a context manager.

    Attributes:
        offset: Bytes that are here already.
        size: Bytes that it must have in the end.
    """

    def __init__(self, path: Path, final: Path, *, size: int, disk: Disk) -> None:
        self._path = path
        self._final = final
        self._disk = disk
        self._hash = hashlib.sha256()
        self._file: BinaryIO | None = None
        self.size = size
        self.offset = 0

    def __enter__(self) -> Self:
        self._file = self._path.open("a+b")
        self._file.seek(0)
        while chunk := self._file.read(_CHUNK):
            self._hash.update(chunk)
            self.offset += len(chunk)
        if self.offset > self.size:
            self.restart()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def _open_file(self) -> BinaryIO:
        if self._file is None:
            raise RuntimeError("the partial file is not open")
        return self._file

    def write(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            WrongContentError: There are more bytes than there may be.
            DiskFullError: There is no room; the partial file is gone.
        """
        if self.offset + len(data) > self.size:
            raise WrongContentError(f"'{self._final.name}' has more than {self.size} bytes")
        try:
            self._open_file.write(data)
            self._open_file.flush()
        except OSError as exc:
            if not is_full(exc):
                raise
            self._path.unlink(missing_ok=True)
            raise DiskFullError(f"no room for '{self._final.name}'") from exc
        self._hash.update(data)
        self.offset += len(data)

    def restart(self) -> None:
        """Throw away what is here and begin at the first byte."""
        self._open_file.truncate(0)
        self._hash = hashlib.sha256()
        self.offset = 0

    def finish(self) -> None:
        """Give the file its name, if its bytes have the digest.

        Raises:
            WrongContentError: They do not; the partial file is empty again.
            DiskFullError: There is no room.
        """
        if self.offset != self.size or self._hash.hexdigest() != self._final.name:
            found = f"{self.offset} bytes with sha256 {self._hash.hexdigest()}"
            self.restart()
            raise WrongContentError(f"'{self._final.name}' came as {found}")
        self._disk.step(f"blob {self._final.name[:8]}: complete")
        try:
            os.fsync(self._open_file.fileno())
        except OSError as exc:
            if is_full(exc):
                self._path.unlink(missing_ok=True)
                raise DiskFullError(f"no room for '{self._final.name}'") from exc
            raise
        self._path.chmod(0o444)
        self._disk.rename(self._path, self._final)


class Blobs:
    """The folder of files by digest."""

    def __init__(self, root: Path, disk: Disk) -> None:
        self._root = root
        self._disk = disk
        root.mkdir(parents=True, exist_ok=True)

    def path(self, digest: str) -> Path:
        """Return where the file of that digest lies, or would."""
        return self._root / digest_hex(digest)

    def has(self, digest: str, size: int) -> bool:
        """Return whether the whole file is here."""
        try:
            return self.path(digest).stat().st_size == size
        except OSError:
            return False

    def missing_bytes(self, digest: str, size: int) -> int:
        """Return how many bytes are still to be fetched."""
        if self.has(digest, size):
            return 0
        try:
            present = self._partial_path(digest).stat().st_size
        except OSError:
            present = 0
        return max(size - present, 0)

    def partial(self, digest: str, size: int) -> Partial:
        """Return the file that is to be filled; it continues what an earlier try left."""
        return Partial(self._partial_path(digest), self.path(digest), size=size, disk=self._disk)

    def discard(self, digest: str) -> None:
        """Remove the file and what was fetched of it."""
        self._disk.remove(self.path(digest))
        self._partial_path(digest).unlink(missing_ok=True)

    def collect(self, keep: set[str], *, partials: set[str]) -> None:
        """Remove every file but those of ``keep``, and partial ones but those of ``partials``."""
        names = {digest_hex(d) for d in keep} | {digest_hex(d) + PARTIAL for d in partials}
        for path in sorted(self._root.iterdir()):
            if path.name not in names:
                self._disk.remove(path)

    def _partial_path(self, digest: str) -> Path:
        path = self.path(digest)
        return path.with_name(path.name + PARTIAL)
