"""What a cluster has of a kind: listed once, and after that only what has changed.

A rollout looks at its clusters every few seconds for as long as it takes, and ten thousand pods
are a hundred megabytes each time. So the first look lists, and later ones watch from the version
that the look before has seen. A version that the server has forgotten is listed anew. Source: the
Kubernetes API concepts, "Efficient detection of changes".
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, NamedTuple, Protocol, TypeVar

from edgectl_gke_edge._sdk.kube import Asked, Change, Document, ForgottenError, Kube


class Named(Protocol):
    """What is made of a document."""

    @property
    def name(self) -> str:
        """The object's name."""


T = TypeVar("T", bound=Named)


class _Kept(NamedTuple, Generic[T]):
    version: str
    value: T


class Mirror(Generic[T]):
    """The objects of one kind in one cluster, as last seen.

    Args:
        kube: The cluster.
        asked: Which objects.
        read: Makes of a document what is kept of it.
    """

    def __init__(self, kube: Kube, asked: Asked, read: Callable[[Document], T]) -> None:
        self._kube = kube
        self._asked = asked
        self._read = read
        self._lock = threading.Lock()
        self._version = ""
        self._kept: dict[str, _Kept[T]] = {}

    def look(self) -> list[T]:
        """Return what there is now.

        Raises:
            EdgectlError: The cluster does not answer, or refuses.
        """
        with self._lock:
            if self._version:
                try:
                    self._follow()
                except ForgottenError:
                    self._version = ""
            if not self._version:
                self._list()
            return [kept.value for kept in self._kept.values()]

    def note(self, document: Document) -> None:
        """Take note of an object that was just written, whenever the server will tell of it."""
        metadata = document["metadata"]
        name, labels = metadata["name"], metadata.get("labels") or {}
        is_asked = all(labels.get(key) == v for key, v in (self._asked.labels or {}).items())
        with self._lock:
            if is_asked != (name in self._kept):
                self._version = ""  # it comes or goes: list anew
            elif is_asked:
                self._keep(document)

    def _list(self) -> None:
        listed, version = self._kube.snapshot(self._asked, self._reading)
        self._kept = {kept.value.name: kept for kept in listed}
        self._version = version

    def _follow(self) -> None:
        for change in self._kube.changes(self._asked, self._version):
            self._take(change)

    def _take(self, change: Change) -> None:
        metadata = change.object["metadata"]
        if change.type == "DELETED":
            self._kept.pop(metadata["name"], None)
        elif change.type != "BOOKMARK":
            self._keep(change.object)
        self._version = metadata["resourceVersion"]

    def _keep(self, document: Document) -> None:
        """Keep an object, unless what is kept of it is younger: writes are known before news."""
        metadata = document["metadata"]
        before = self._kept.get(metadata["name"])
        if before is None or not _is_older(metadata["resourceVersion"], before.version):
            self._kept[metadata["name"]] = self._reading(document)

    def _reading(self, document: Document) -> _Kept[T]:
        return _Kept(document["metadata"]["resourceVersion"], self._read(document))


def _is_older(version: str, than: str) -> bool:
    """Compare versions of one object; those that are no numbers cannot be."""
    numbers = version.isdecimal() and than.isdecimal()
    return numbers and int(version) < int(than)
