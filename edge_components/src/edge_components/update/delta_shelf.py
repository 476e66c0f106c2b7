"""The device's store as the place where old files lie and deltas are put."""

from __future__ import annotations

import threading
from pathlib import Path

from edge_components.contract.package import Descriptor
from edge_components.store.store import Store
from edge_components.update.deltas import Fill


class StoreShelf:
    """A ``Shelf`` in the device's store.

    Args:
        store: The store; what lies in it was hashed when it came.
    """

    def __init__(self, store: Store) -> None:
        self._blobs = store.blobs

    def find(self, digest: str) -> Path | None:
        """Return the file of that digest, or None."""
        path = self._blobs.path(digest)
        return path if path.is_file() else None

    def missing(self, layer: Descriptor) -> int:
        """Return how many bytes of a file are still to be fetched."""
        return self._blobs.missing_bytes(layer.digest, layer.size)

    def bring(self, delta: Descriptor, fill: Fill, stop: threading.Event) -> Path:
        """Return the delta; what an earlier run fetched of it is continued."""
        del stop
        if not self._blobs.has(delta.digest, delta.size):
            with self._blobs.partial(delta.digest, delta.size) as partial:
                if partial.offset < delta.size:
                    fill(partial)
                partial.finish()
        return self._blobs.path(delta.digest)

    def drop(self, digest: str) -> None:
        """Remove a file and what was fetched of it."""
        self._blobs.discard(digest)
