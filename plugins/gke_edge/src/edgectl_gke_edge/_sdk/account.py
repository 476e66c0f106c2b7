"""The clusters of one provider configuration, as all hooks and threads of a command share them.

Clusters are worked on side by side, with a bound. One that cannot be reached never stops the
others, and is not tried again for a moment, so that looking at the rest stays quick.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from edgectl.api import Target, UnreachableError
from edgectl_gke_edge._sdk import kinds
from edgectl_gke_edge._sdk.clusters import Cluster, clusters_of, selected
from edgectl_gke_edge._sdk.kube import Asked, Document, Kube
from edgectl_gke_edge._sdk.mirror import Mirror, Named
from edgectl_gke_edge.config import GkeConfig
from edgectl_gke_edge.names import namespace_of
from edgectl_gke_edge.selector import Selector, read_selector

R = TypeVar("R")
T = TypeVar("T")
N = TypeVar("N", bound=Named)
MAX_AT_ONCE = 16
LISTED_FOR_S = 60.0
DOWN_FOR_S = 5.0


class Answer(Generic[R]):
    """What a cluster answered: a value, or why it could not be reached.

    Attributes:
        lost: None where there is a value.
    """

    def __init__(
        self, cluster: Cluster, value: R | None = None, lost: UnreachableError | None = None
    ) -> None:
        self.cluster = cluster
        self.lost = lost
        self._value = value

    @property
    def value(self) -> R:
        """The value; raises the error where the cluster could not be reached."""
        if self.lost is not None:
            raise self.lost
        return self._value  # type: ignore[return-value]  # None is a value where R allows it


class Account:
    """All clusters of the settings.

    Args:
        config: The provider's settings.
        project_dir: What relative paths in them are relative to.
    """

    def __init__(self, config: GkeConfig, project_dir: Path) -> None:
        self.config = config
        self.project_dir = project_dir
        self._lock = threading.RLock()
        self._clusters: tuple[float, list[Cluster]] | None = None
        self._kubes: dict[str, Kube] = {}
        self._down: dict[str, tuple[float, UnreachableError]] = {}
        self._notes: dict[Hashable, object] = {}
        self._mirrors: dict[tuple[Any, ...], Mirror[Any]] = {}

    def clusters(self) -> list[Cluster]:
        """Return all clusters, by name; listed anew every minute."""
        with self._lock:
            if self._clusters is None or time.monotonic() >= self._clusters[0]:
                found = clusters_of(self.config, self.project_dir)
                self._clusters = (time.monotonic() + LISTED_FOR_S, found)
            return self._clusters[1]

    def of(self, target: Target) -> tuple[Selector, list[Cluster]]:
        """Return a target's selector, and the clusters that it takes."""
        selector = read_selector(target)
        return selector, selected(self.clusters(), selector, target)

    def cluster(self, name: str) -> Cluster | None:
        """Return a cluster by name, or None."""
        return next((c for c in self.clusters() if c.name == name), None)

    def kube(self, cluster: Cluster) -> Kube:
        """Return a cluster's API.

        Raises:
            UnreachableError: It is known not to answer now.
        """
        if cluster.lost:
            raise UnreachableError(
                f"cluster '{cluster.name}' cannot be reached: {cluster.lost}",
                hint="it goes on with what it has; run the command again when it is back",
                vendor_code="DISCONNECTED",
            )
        with self._lock:
            down = self._down.get(cluster.name)
            if down is not None and time.monotonic() < down[0]:
                raise down[1]
            kube = self._kubes.get(cluster.name)
        if kube is not None:
            return kube
        access = cluster.access()
        made = Kube(
            cluster.name, access.config, token=access.token, timeout_s=self.config.timeout_s
        )
        with self._lock:
            return self._kubes.setdefault(cluster.name, made)

    def namespace(self, application: str) -> str:
        """Return an application's namespace."""
        return namespace_of(application, self.config.namespace)

    def each(
        self, clusters: Iterable[Cluster], do: Callable[[Cluster, Kube], R]
    ) -> list[Answer[R]]:
        """Do something in several clusters at the same time; those out of reach are told as such.

        Raises:
            EdgectlError: A cluster refused; the others have been worked on all the same.
        """

        def one(cluster: Cluster) -> Answer[R]:
            try:
                return Answer(cluster, do(cluster, self.kube(cluster)))
            except UnreachableError as exc:
                self._note_down(cluster, exc)
                return Answer(cluster, lost=exc)

        return self.at_once(one, clusters)

    def at_once(self, do: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Do something with several things at the same time; the results are in their order."""
        todo = list(items)
        if len(todo) <= 1:
            return [do(item) for item in todo]
        with ThreadPoolExecutor(max_workers=min(MAX_AT_ONCE, len(todo))) as pool:
            return list(pool.map(do, todo))

    def mirror(self, kube: Kube, asked: Asked, read: Callable[[Document], N]) -> Mirror[N]:
        """Return what is known of objects in a cluster, shared by all who look for the same."""
        labels = tuple(sorted((asked.labels or {}).items()))
        key = (kube.cluster, asked.kind, asked.namespace, labels)
        with self._lock:
            made: Mirror[N] = self._mirrors.setdefault(key, Mirror(kube, asked, read))
        return made

    def mark(self, kube: Kube, what: str, node: str, metadata: Document) -> None:
        """Change labels and annotations of a node."""
        document = kube.merge(what, kinds.Node, node, {"metadata": metadata})
        with self._lock:
            mirrors = list(self._mirrors.items())
        for (cluster, kind, *_), mirror in mirrors:
            if (cluster, kind) == (kube.cluster, kinds.Node):
                mirror.note(document)

    def remember(self, key: Hashable, read: Callable[[], R]) -> R:
        """Return what never changes once it was read."""
        with self._lock:
            if key in self._notes:
                found: R = self._notes[key]  # type: ignore[assignment]  # read under the same key
                return found
        value = read()
        with self._lock:
            self._notes[key] = value
        return value

    def keep(self, key: Hashable, value: object) -> None:
        """Keep what was seen last, for when it cannot be seen."""
        with self._lock:
            self._notes[key] = value

    def kept(self, key: Hashable) -> object:
        """Return what was kept, or None."""
        with self._lock:
            return self._notes.get(key)

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            kubes = list(self._kubes.values())
            self._kubes.clear()
            self._mirrors.clear()
        for kube in kubes:
            kube.close()

    def _note_down(self, cluster: Cluster, error: UnreachableError) -> None:
        with self._lock:
            known = self._down.get(cluster.name)
            if known is None or time.monotonic() >= known[0]:
                self._down[cluster.name] = (time.monotonic() + DOWN_FOR_S, error)


_SHARED: dict[bytes, Account] = {}
_SHARED_LOCK = threading.Lock()


def close_accounts() -> None:
    """Close every connection and forget what is known; for whoever opens many configurations."""
    with _SHARED_LOCK:
        accounts = list(_SHARED.values())
        _SHARED.clear()
    for account in accounts:
        account.close()


def shared_account(config: GkeConfig, project_dir: Path) -> Account:
    """Return the account of a configuration; threads and hooks of a process share it."""
    key = msgspec.json.encode((config, str(project_dir)))
    with _SHARED_LOCK:
        if key not in _SHARED:
            _SHARED[key] = Account(config, project_dir)
        return _SHARED[key]
