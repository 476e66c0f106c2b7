"""The local store: an OCI image layout that other tools can read.

Rules kept here: a blob has the digest that is its name, and is read back only after that was
checked; nothing is opened through a link; ``index.json`` is replaced whole, by one writer at a
time, so a killed or concurrent writer loses no entry. Blobs are flushed to the disk before they
are named, and their names before the index that lists them.
Source: OCI image-spec 1.1, image-layout.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Self

from edge_components.contract.digest import check_digest, digest_hex, sha256_digest
from edge_components.contract.jsonio import canonical_json
from edge_components.contract.package import (
    MAX_MANIFEST_BYTES,
    MAX_PACKAGE_BYTES,
    Manifest,
    parse_manifest,
)
from edgectl.errors import PackageError
from edgectl.package.files import (
    Content,
    contract_errors,
    copy_hashed,
    create_exclusively,
    open_regular,
    read_regular,
    read_up_to,
    sync_folder,
    write_all,
    write_atomically,
)
from edgectl.package.index import MAX_INDEX_BYTES, Index, entry_of, parse_index

_LAYOUT_FILE = "oci-layout"
_INDEX_FILE = "index.json"
_LOCK_FILE = ".lock"
_INCOMING = ".incoming"
_VERSION = {"imageLayoutVersion": "1.0.0"}
PARTIAL_SUFFIX = ".part"
_PARTIAL_KEPT_S = 7 * 86_400
_LEFTOVER_KEPT_S = 3_600


class Layout:
    """An OCI image layout in a folder.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._blobs = self.path / "blobs" / "sha256"
        self.incoming = self.path / _INCOMING

    @classmethod
    def create(cls, path: Path) -> Self:
        """Open the layout in ``path`` for writing, and make it first if it is not there.

        What killed writers left in the incoming folder long ago is removed.

        Raises:
            PackageError: The folder holds something else, or cannot be written.
        """
        layout = cls(path)
        try:
            if not (layout.path / _LAYOUT_FILE).exists():
                layout._make()
        except OSError as exc:
            raise PackageError(f"the store '{path}' cannot be made: {exc.strerror}") from exc
        opened = cls.open(path)
        opened.sweep()
        return opened

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an existing layout.

        Raises:
            PackageError: It is not an OCI layout, or parts of it are links.
        """
        layout = cls(path)
        if not (layout.path / _LAYOUT_FILE).exists():
            raise PackageError(
                f"'{path}' is not a package store",
                hint="Build or pull a package into it first.",
            )
        with contract_errors(f"the store '{path}'"):
            data = read_regular(layout.path / _LAYOUT_FILE, max_bytes=4096)
        if b'"1.0.0"' not in data:
            raise PackageError(f"the store '{path}' has an unknown layout version")
        for folder in (layout._blobs.parent, layout._blobs):
            if folder.is_symlink() or not folder.is_dir():
                raise PackageError(f"the store '{path}' has no plain folder '{folder.name}'")
        if layout.incoming.is_symlink():
            raise PackageError(f"in the store '{path}' the folder '{_INCOMING}' is a link")
        return layout

    def add_bytes(self, data: bytes) -> Content:
        """Store a small blob."""
        content = Content(sha256_digest(data), len(data))
        if not self.intact(content.digest, content.size):
            with self._receive() as (file, keep):
                write_all(file)(memoryview(data))
                keep(content.digest)
        return content

    def add_file(self, path: Path) -> Content:
        """Store a copy of a file, which is read once.

        A blob that was there is replaced, so a damaged one is healed.

        Raises:
            PackageError: The file cannot be read, or the store cannot be written.
        """
        with open_regular(path.resolve()) as source, self._receive() as (file, keep):
            content = copy_hashed(source, write_all(file), limit=MAX_PACKAGE_BYTES)
            keep(content.digest)
        return content

    def adopt(self, partial: Path, digest: str) -> None:
        """Move a file of ``incoming`` that has that digest to its place.

        The caller has checked the digest and flushed the file.
        """
        partial.replace(self.blob_path(digest))

    def blob_path(self, digest: str) -> Path:
        """Return where a blob lies or would lie.

        Raises:
            PackageError: ``digest`` is not a sha256 digest.
        """
        with contract_errors("a blob"):
            return self._blobs / digest_hex(digest)

    def has(self, digest: str, size: int) -> bool:
        """Say whether a blob of that digest and size is stored; its content is not read."""
        path = self.blob_path(digest)
        return path.is_file() and not path.is_symlink() and path.stat().st_size == size

    def intact(self, digest: str, size: int) -> bool:
        """Say whether a blob is stored with the content that its digest names; it is read."""
        if not self.has(digest, size):
            return False
        with self.open_blob(digest, size=size) as file:
            return copy_hashed(file, lambda _part: None, limit=size) == Content(digest, size)

    def open_blob(self, digest: str, *, size: int) -> BinaryIO:
        """Open a blob for reading; the caller checks its digest while reading.

        Raises:
            PackageError: It is missing, a link, or has another size.
        """
        path = self.blob_path(digest)
        if not path.exists() and not path.is_symlink():
            raise PackageError(f"the store has no blob '{digest}'", hint="Pull the package again.")
        file = open_regular(path)
        found = os.fstat(file.fileno()).st_size
        if found != size:
            file.close()
            raise PackageError(f"the blob '{digest}' has {found} bytes in place of {size}")
        return file

    def read(self, digest: str, *, max_bytes: int) -> bytes:
        """Return a small blob after checking its digest.

        Raises:
            PackageError: It is missing, too large, a link, or its content was changed.
        """
        path = self.blob_path(digest)
        if not path.exists() and not path.is_symlink():
            raise PackageError(f"the store has no blob '{digest}'", hint="Pull the package again.")
        with open_regular(path) as file:
            data = read_up_to(file, max_bytes + 1)
        if len(data) > max_bytes:
            raise PackageError(f"the blob '{digest}' has more than {max_bytes} bytes")
        if sha256_digest(data) != digest:
            raise PackageError(f"the content of the blob '{digest}' was changed")
        return data

    def read_manifest(self, digest: str) -> Manifest:
        """Return a package's manifest, fully checked.

        Raises:
            PackageError: It is missing or breaks a rule.
        """
        with contract_errors(f"the package '{digest[:80]}'"):
            data = self.read(check_digest(digest), max_bytes=MAX_MANIFEST_BYTES)
            return parse_manifest(data, digest=digest)

    def index(self) -> Index:
        """Return the index as it is now.

        Raises:
            PackageError: It breaks a rule.
        """
        with contract_errors(f"the store '{self.path}'"):
            data = read_regular(self.path / _INDEX_FILE, max_bytes=MAX_INDEX_BYTES)
            return parse_index(data, what=_INDEX_FILE)

    def update_index(self, change: Callable[[Index], Index]) -> None:
        """Replace the index by ``change`` of it, alone among all writers."""
        with self._locked():
            before = self.index()
            after = change(before)
            if after != before:
                sync_folder(self._blobs)
                write_atomically(self.path / _INDEX_FILE, after.to_bytes())

    def add_manifest(self, manifest: Manifest, *, tag: str = "") -> Content:
        """Store a manifest and list it in the index, under ``tag`` if one is given."""
        content = self.add_bytes(manifest.to_bytes())
        entry = entry_of(content, manifest.artifact_type)
        self.update_index(lambda index: index.with_entry(entry.tagged(tag)))
        return content

    def resolve(self, tag: str) -> str:
        """Return the digest that has a tag.

        Raises:
            PackageError: No manifest has it.
        """
        entry = self.index().find(tag)
        if entry is None:
            raise PackageError(f"the store '{self.path}' has no package '{tag}'")
        return entry.digest

    def _make(self) -> None:
        if self.path.exists() and any(self.path.iterdir()) and not self._blobs.exists():
            raise PackageError(f"'{self.path}' is not empty and not a package store")
        self._blobs.mkdir(parents=True, exist_ok=True)
        with self._locked():
            if not (self.path / _INDEX_FILE).exists():
                write_atomically(self.path / _INDEX_FILE, Index().to_bytes())
            write_atomically(self.path / _LAYOUT_FILE, canonical_json(_VERSION))

    def sweep(self) -> None:
        """Remove what killed writers left long ago; a cut pull's part is kept for a week."""
        now = time.time()
        for path in self.incoming.glob("*"):
            kept_s = _PARTIAL_KEPT_S if path.suffix == PARTIAL_SUFFIX else _LEFTOVER_KEPT_S
            with contextlib.suppress(OSError):
                if now - path.lstat().st_mtime > kept_s:
                    path.unlink()

    @contextlib.contextmanager
    def _receive(self) -> Iterator[tuple[BinaryIO, Callable[[str], None]]]:
        """Give a new file, and a function that flushes and names it; unnamed, it is removed."""
        path = self.incoming / os.urandom(8).hex()

        def keep(digest: str) -> None:
            os.fsync(file.fileno())
            self.adopt(path, digest)

        try:
            self.incoming.mkdir(exist_ok=True)
            with create_exclusively(path) as file:
                yield file, keep
        except OSError as exc:
            raise PackageError(
                f"the store '{self.path}' cannot be written: {exc.strerror}",
                hint="Check the free disk space and the folder's permissions.",
            ) from exc
        finally:
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self.path / _LOCK_FILE, flags, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
