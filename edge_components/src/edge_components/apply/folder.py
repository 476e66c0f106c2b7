"""A package that was delivered as a folder: its documents under given names, its files by digest.

Nothing in the folder is believed. Documents are bounded before they are read, a file is copied
into the store and only the store's digest check gives it a name.
"""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec

from edge_components.contract.digest import digest_hex
from edge_components.contract.package import (
    MAX_DOCUMENT_BYTES,
    MAX_MANIFEST_BYTES,
    SIGNATURE_FILE,
    Descriptor,
)
from edge_components.contract.release import MANIFEST_FILE, MAX_RELEASE_BYTES, RELEASE_FILE
from edge_components.contract.state import Reason
from edge_components.store.blobs import Partial
from edge_components.update.errors import CalledOffError, RefusedError
from edge_components.update.link import Link

_CHUNK = 1 << 20


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """Where a release and its package lie.

    Attributes:
        folder: The folder; a file of the package has its sha256 in hex for a name.
        release: Name of the file with the release's envelope.
        manifest: Name of the file with the package's manifest.
        signature: Name of the file with the package's Sigstore bundle.
    """

    folder: Path
    release: str = RELEASE_FILE
    manifest: str = MANIFEST_FILE
    signature: str = SIGNATURE_FILE


class FolderSource:
    """A ``Source`` that reads what was delivered."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery

    def release(self, stop: threading.Event) -> bytes:
        """Return the release's envelope; raises ``RefusedError``."""
        return self._document(self._delivery.release, 2 * MAX_RELEASE_BYTES, stop)

    def manifest(self, digest: str, stop: threading.Event) -> bytes:
        """Return what claims to be the manifest; the caller checks ``digest``."""
        return self._document(self._delivery.manifest, MAX_MANIFEST_BYTES, stop)

    def signature(self, stop: threading.Event) -> bytes:
        """Return the package's Sigstore bundle; raises ``RefusedError``."""
        return self._document(self._delivery.signature, MAX_DOCUMENT_BYTES, stop)

    def keep_to(self, link: Link) -> None:
        """Do nothing: what was delivered crosses no network any more."""

    def fetch(self, layer: Descriptor, partial: Partial, stop: threading.Event) -> None:
        """Copy the file from where the store has come to; the caller checks the digest."""
        path = self._delivery.folder / digest_hex(layer.digest)
        try:
            with path.open("rb") as file:
                file.seek(partial.offset)
                while data := file.read(min(_CHUNK, layer.size + 1 - partial.offset)):
                    if stop.is_set():
                        raise CalledOffError
                    partial.write(data)
        except FileNotFoundError as exc:
            raise _missing(path.name) from exc

    def _document(self, name: str, max_bytes: int, stop: threading.Event) -> bytes:
        if stop.is_set():
            raise CalledOffError
        try:
            with (self._delivery.folder / name).open("rb") as file:
                data = file.read(max_bytes + 1)
        except FileNotFoundError as exc:
            raise _missing(name) from exc
        if len(data) > max_bytes:
            raise RefusedError(
                Reason.BAD_PACKAGE, f"'{name}' has more than the {max_bytes} bytes allowed"
            )
        return data


def _missing(name: str) -> RefusedError:
    return RefusedError(Reason.DOWNLOAD_FAILED, f"'{name}' was not delivered")
