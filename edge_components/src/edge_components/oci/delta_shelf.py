"""A cache that processes share as the place where old files lie and deltas are put."""

from __future__ import annotations

import threading
from pathlib import Path

from edge_components.contract.package import Descriptor
from edge_components.oci.cache import Cache
from edge_components.update.deltas import Fill


class CacheShelf:
    """A ``Shelf`` in a cache.

    Args:
        cache: The cache; a file is hashed before it is handed out.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def find(self, digest: str) -> Path | None:
        """Return the whole file of that digest, or None."""
        return self._cache.find(digest)

    def missing(self, layer: Descriptor) -> int:
        """Return how many bytes of a file are still to be fetched."""
        return self._cache.missing_bytes(layer.digest, layer.size)

    def bring(self, delta: Descriptor, fill: Fill, stop: threading.Event) -> Path:
        """Return the delta, fetched by this process or another one."""
        return self._cache.obtain(delta.digest, delta.size, fill, stop)

    def drop(self, digest: str) -> None:
        """Remove a file and what was fetched of it, unless another process works on it."""
        self._cache.remove(digest)
