"""What queries see: the twins as documents, a little behind the registry."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from edgectl_azure_iot_edge.emulator.hub.documents import twin_document
from edgectl_azure_iot_edge.emulator.hub.registry import Registry

Documents = list[dict[str, Any]]


class Index:
    """Documents of devices and of modules, made anew when something changed.

    Args:
        registry: Whose twins.
        lag_s: How old they may be.
        clock: Monotonic seconds.
    """

    def __init__(
        self, registry: Registry, lag_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._registry = registry
        self._lag_s = lag_s
        self._clock = clock
        self._lock = threading.Lock()
        self._made: dict[str, tuple[int, float, Documents]] = {}

    def documents(self, collection: str) -> Documents:
        """Return the documents of ``devices`` or ``devices.modules``; they may not be changed."""
        with self._lock:
            revision, made_at, documents = self._made.get(collection, (-1, float("-inf"), []))
            now = self._clock()
            if revision == self._registry.revision or now - made_at < self._lag_s:
                return documents
            with self._registry.lock:
                revision = self._registry.revision
                documents = [
                    twin_document(entry.identity, entry.twin)
                    for entry in self._registry.entries(modules=collection == "devices.modules")
                ]
            self._made[collection] = (revision, now, documents)
            return documents
