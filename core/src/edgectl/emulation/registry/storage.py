"""A registry's content in a folder: blobs once, and per repository what it may give of them.

A blob of one repository is not there for another until it was mounted or sent, as with a real
registry that guards repositories from each other. Names appear whole: content is written aside
and renamed, so a killed registry leaves nothing half.
"""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

from edgectl.emulation.registry.errors import RefusedError
from edgectl.emulation.registry.manifests import Facts, read_manifest

_BLOCK_BYTES = 1 << 20


class Storage:
    """What a registry keeps.

    Args:
        folder: Made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self._blobs = folder / "blobs"
        self._repositories = folder / "repositories"
        self.incoming = folder / "incoming"
        self._lock = threading.Lock()
        for path in (self._blobs, self._repositories, self.incoming):
            path.mkdir(parents=True, exist_ok=True)
        for leftover in self.incoming.iterdir():
            leftover.unlink()

    def names(self) -> list[str]:
        """Return all repositories, sorted."""
        found = {path.parent for path in self._repositories.rglob("_*")}
        return sorted(str(path.relative_to(self._repositories)) for path in found)

    def has(self, repository: str) -> bool:
        """Say whether anything was ever stored in a repository."""
        return any(self._place(repository, kind).exists() for kind in ("layers", "manifests"))

    def blob(self, repository: str, digest: str) -> Path:
        """Return where a blob lies.

        Raises:
            RefusedError: ``BLOB_UNKNOWN``.
        """
        if not self._place(repository, "layers", digest[7:]).exists():
            raise RefusedError("BLOB_UNKNOWN", f"blob unknown to registry: {digest}")
        return self._blobs / digest[7:]

    def adopt(self, repository: str, content: Path, digest: str) -> None:
        """Take a file as a blob of a repository.

        Raises:
            RefusedError: ``DIGEST_INVALID``: it has other content; it is removed.
        """
        found = file_digest(content)
        if found != digest:
            content.unlink()
            said = f"provided digest did not match uploaded content: {digest} is not {found}"
            raise RefusedError("DIGEST_INVALID", said)
        content.replace(self._blobs / digest[7:])
        self._mark(self._place(repository, "layers", digest[7:]), "")

    def mount(self, repository: str, digest: str, source: str) -> bool:
        """Let a repository have a blob of another; say whether that has it."""
        if not self._place(source, "layers", digest[7:]).exists():
            return False
        self._mark(self._place(repository, "layers", digest[7:]), "")
        return True

    def delete_blob(self, repository: str, digest: str) -> None:
        """Take a blob from a repository.

        Raises:
            RefusedError: ``BLOB_UNKNOWN``.
        """
        self.blob(repository, digest)
        self._place(repository, "layers", digest[7:]).unlink()

    def tags(self, repository: str) -> list[str]:
        """Return a repository's tags in lexical order, capitals first as bytes are.

        Raises:
            RefusedError: ``NAME_UNKNOWN``.
        """
        if not self.has(repository):
            raise RefusedError(
                "NAME_UNKNOWN", f"repository name not known to registry: {repository}"
            )
        return sorted(path.name for path in self._list(repository, "tags"))

    def resolve(self, repository: str, tag: str) -> str:
        """Return the digest that has a tag.

        Raises:
            RefusedError: ``MANIFEST_UNKNOWN``.
        """
        try:
            return self._place(repository, "tags", tag).read_text()
        except FileNotFoundError:
            raise RefusedError("MANIFEST_UNKNOWN", f"manifest unknown: tag {tag}") from None

    def manifest(self, repository: str, digest: str) -> tuple[bytes, str]:
        """Return a manifest and its media type.

        Raises:
            RefusedError: ``MANIFEST_UNKNOWN``.
        """
        try:
            kind = self._place(repository, "manifests", digest[7:]).read_text()
        except FileNotFoundError:
            raise RefusedError("MANIFEST_UNKNOWN", f"manifest unknown: {digest}") from None
        return (self._blobs / digest[7:]).read_bytes(), kind

    def put_manifest(self, repository: str, data: bytes, facts: Facts, tag: str = "") -> str:
        """Keep a manifest whose parts are all there, and return its digest.

        What it refers to (``subject``) need not be there.

        Raises:
            RefusedError: ``MANIFEST_BLOB_UNKNOWN`` or ``SIZE_INVALID``.
        """
        self._check_parts(repository, facts)
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        with self._lock:
            self._write(self._blobs / digest[7:], data)
            self._mark(self._place(repository, "manifests", digest[7:]), facts.media_type)
            if facts.subject:
                self._mark(self._place(repository, "referrers", facts.subject[7:], digest[7:]), "")
            if tag:
                self._mark(self._place(repository, "tags", tag), digest)
        return digest

    def delete_manifest(self, repository: str, digest: str) -> None:
        """Remove a manifest with the tags that it has.

        Raises:
            RefusedError: ``MANIFEST_UNKNOWN``.
        """
        data, kind = self.manifest(repository, digest)
        facts = read_manifest(data, kind)
        with self._lock:
            self._place(repository, "manifests", digest[7:]).unlink(missing_ok=True)
            if facts.subject:
                place = self._place(repository, "referrers", facts.subject[7:], digest[7:])
                place.unlink(missing_ok=True)
            for tag in self._list(repository, "tags"):
                if tag.read_text() == digest:
                    tag.unlink()

    def delete_tag(self, repository: str, tag: str) -> None:
        """Remove a tag; the manifest stays.

        Raises:
            RefusedError: ``MANIFEST_UNKNOWN``.
        """
        self.resolve(repository, tag)
        self._place(repository, "tags", tag).unlink(missing_ok=True)

    def referrers(self, repository: str, digest: str) -> list[str]:
        """Return the digests of the manifests whose subject a manifest is, sorted."""
        found = self._list(repository, "referrers", digest[7:])
        return sorted(f"sha256:{path.name}" for path in found)

    def _check_parts(self, repository: str, facts: Facts) -> None:
        for digest, size in facts.blobs.items():
            if not self._place(repository, "layers", digest[7:]).exists():
                raise RefusedError("MANIFEST_BLOB_UNKNOWN", f"blob unknown to registry: {digest}")
            if (found := (self._blobs / digest[7:]).stat().st_size) != size:
                raise RefusedError("SIZE_INVALID", f"{digest} has {found} bytes, not {size}")
        for digest in facts.manifests:
            if not self._place(repository, "manifests", digest[7:]).exists():
                raise RefusedError("MANIFEST_BLOB_UNKNOWN", f"manifest unknown: {digest}")

    def _place(self, repository: str, kind: str, *names: str) -> Path:
        return self._repositories.joinpath(repository, f"_{kind}", *names)

    def _list(self, repository: str, kind: str, *names: str) -> list[Path]:
        folder = self._place(repository, kind, *names)
        return list(folder.iterdir()) if folder.is_dir() else []

    def _mark(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._write(path, text.encode())

    def _write(self, path: Path, data: bytes) -> None:
        aside = self.incoming / f"write.{os.urandom(8).hex()}"
        aside.write_bytes(data)
        aside.replace(path)


def file_digest(path: Path) -> str:
    """Return the digest of a file's content."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
