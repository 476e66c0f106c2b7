"""Who owns what, and what is on its way out: known without going over all objects."""

from __future__ import annotations

from collections import Counter

from edgectl_gke_edge.emulator.kube.errors import Json
from edgectl_gke_edge.emulator.kube.store import Event, Store


class Ties:
    """What holds the objects of a store together, kept while they come and go.

    Args:
        store: The objects.
    """

    def __init__(self, store: Store) -> None:
        self._present: set[str] = set()
        self._ending: set[str] = set()
        self._owned: Counter[str] = Counter()
        for _, obj in store.everything():
            self._add(obj)
        store.listen(self._follow)

    def is_orphan(self, obj: Json) -> bool:
        """Whether an object names owners, and none of them is there."""
        owners = _owners(obj)
        return bool(owners) and not self._present.intersection(owners)

    def holds(self, obj: Json) -> bool:
        """Whether the end of an object is waited for, or others end with it."""
        metadata = obj["metadata"]
        if metadata.get("finalizers") or self._owned[metadata["uid"]]:
            return True
        return not self._ending.isdisjoint(_owners(obj))

    def _follow(self, event: Event) -> None:
        if event.before is not None:
            self._take(event.before)
        if event.type != "DELETED":
            self._add(event.object)

    def _add(self, obj: Json) -> None:
        metadata = obj["metadata"]
        self._present.add(metadata["uid"])
        if metadata.get("deletionTimestamp"):
            self._ending.add(metadata["uid"])
        self._owned.update(_owners(obj))

    def _take(self, obj: Json) -> None:
        uid = obj["metadata"]["uid"]
        self._present.discard(uid)
        self._ending.discard(uid)
        for owner in _owners(obj):
            self._owned[owner] -= 1
            if not self._owned[owner]:
                del self._owned[owner]


def _owners(obj: Json) -> list[str]:
    return [owner["uid"] for owner in obj["metadata"].get("ownerReferences") or ()]
