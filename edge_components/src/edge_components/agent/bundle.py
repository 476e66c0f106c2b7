"""A bundle as a source of the updater: its files are read where they lie in it.

A file of the package is copied once, into the store; nothing is unpacked beside it. Nothing that
the bundle says is believed: what is read has the digest that was asked for, or is refused.
"""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

from edge_components.contract.bundle import Contents, Span, attached, read_contents
from edge_components.contract.digest import sha256_digest
from edge_components.contract.errors import ContractError
from edge_components.contract.package import MAX_MANIFEST_BYTES, Descriptor
from edge_components.contract.release import MAX_RELEASE_BYTES, RELEASE_TYPE
from edge_components.contract.signature import BUNDLE_TYPE, MAX_SIGNATURE_BYTES
from edge_components.contract.state import Reason
from edge_components.store.blobs import Partial
from edge_components.update.errors import CalledOffError, RefusedError
from edge_components.update.link import Link

_CHUNK = 1 << 20


class BundleSource:
    """A ``Source`` that reads a bundle.

    Args:
        descriptor: The open file; the caller closes it.
        contents: What lies where in it.
    """

    def __init__(self, descriptor: int, contents: Contents) -> None:
        self._descriptor = descriptor
        self._contents = contents

    @classmethod
    def open(cls, descriptor: int) -> BundleSource:
        """Look into a bundle.

        Raises:
            ContractError: It is not one, or not whole.
            RefusedError: It cannot be read.
        """
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ContractError("bad-bundle", "it is not a plain file")
        contents = read_contents(lambda at, count: _read(descriptor, at, count), status.st_size)
        return cls(descriptor, contents)

    def release(self, stop: threading.Event) -> bytes:
        """Return the release's envelope."""
        return self._attached(
            self._contents.release, RELEASE_TYPE, stop, limit=2 * MAX_RELEASE_BYTES
        )

    def manifest(self, digest: str, stop: threading.Event) -> bytes:
        """Return the manifest with that digest."""
        return self._document(digest, MAX_MANIFEST_BYTES, stop)

    def signature(self, stop: threading.Event) -> bytes:
        """Return the package's Sigstore bundle."""
        if not self._contents.signature:
            raise RefusedError(Reason.BAD_SIGNATURE, "the bundle holds no signature of its package")
        return self._attached(
            self._contents.signature, BUNDLE_TYPE, stop, limit=MAX_SIGNATURE_BYTES
        )

    def keep_to(self, link: Link) -> None:
        """Do nothing: a bundle crosses no network."""

    def fetch(self, layer: Descriptor, partial: Partial, stop: threading.Event) -> None:
        """Copy the file from where the store has come to; the caller checks the digest."""
        place = self._place(layer.digest)
        if place.size != layer.size:
            raise RefusedError(
                Reason.BAD_PACKAGE, f"{layer.digest} has {place.size} bytes in the bundle"
            )
        while partial.offset < layer.size:
            if stop.is_set():
                raise CalledOffError
            missing = layer.size - partial.offset
            data = _read(self._descriptor, place.offset + partial.offset, min(_CHUNK, missing))
            if not data:
                raise RefusedError(Reason.DOWNLOAD_FAILED, "the bundle became shorter")
            partial.write(data)

    def _attached(self, digest: str, kind: str, stop: threading.Event, *, limit: int) -> bytes:
        manifest = self._document(digest, MAX_MANIFEST_BYTES, stop)
        return self._document(attached(manifest, digest, kind, limit=limit).digest, limit, stop)

    def _document(self, digest: str, limit: int, stop: threading.Event) -> bytes:
        if stop.is_set():
            raise CalledOffError
        place = self._place(digest)
        if place.size > limit:
            raise RefusedError(
                Reason.BAD_PACKAGE, f"{digest} has {place.size} bytes, at most {limit} may be"
            )
        data = _read(self._descriptor, place.offset, place.size)
        if sha256_digest(data) != digest:
            raise RefusedError(Reason.DIGEST_MISMATCH, f"{digest} is damaged in the bundle")
        return data

    def _place(self, digest: str) -> Span:
        place = self._contents.find(digest)
        if place is None:
            raise RefusedError(Reason.BAD_PACKAGE, f"the bundle does not hold {digest}")
        return place


def open_file(path: Path) -> int:
    """Open a bundle's file and return its descriptor; nothing of it is looked at yet.

    Raises:
        ContractError: It cannot be read.
    """
    try:
        # A pipe or a device must not make anybody wait; it is refused later.
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        raise ContractError("bad-bundle", f"'{path}' cannot be read: {exc.strerror}") from exc


def _read(descriptor: int, at: int, count: int) -> bytes:
    """Read up to ``count`` bytes; fewer only at the file's end.

    Raises:
        RefusedError: ``download-failed``: the medium does not give them.
    """
    parts: list[bytes] = []
    while count:
        try:
            part = os.pread(descriptor, count, at)
        except OSError as exc:
            raise RefusedError(
                Reason.DOWNLOAD_FAILED, f"the bundle cannot be read any more: {exc.strerror}"
            ) from exc
        if not part:
            break
        parts.append(part)
        at += len(part)
        count -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
