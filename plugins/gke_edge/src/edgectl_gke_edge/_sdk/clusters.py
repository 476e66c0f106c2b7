"""Which clusters there are, and how each is reached.

From a kubeconfig file, each context is a cluster by its own name. From Google, ordinary GKE
clusters, those of Distributed Cloud, and other members of the fleet are listed; a name stands for
one cluster, because devices are called by it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import yaml
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.core.exceptions import ConfigError

from edgectl.api import PlanError, ProjectError, Target
from edgectl_gke_edge._sdk.wire import Token
from edgectl_gke_edge.config import GkeConfig
from edgectl_gke_edge.selector import Selector


class Access:
    """How an API server is reached.

    Attributes:
        config: Server, authorities and user.
        token: Where the bearer token comes from; None takes what ``config`` says.
    """

    def __init__(self, config: SingleConfig, token: Token | None = None) -> None:
        self.config = config
        self.token = token


class Cluster:
    """A cluster that can be worked with.

    Attributes:
        name: Its name, by which its devices are called.
        location: Its region or zone, or "".
        labels: Its labels.
        kind: What it is, for people.
        lost: Why it is known not to be reachable, or "".
    """

    def __init__(
        self,
        name: str,
        access: Callable[[], Access],
        *,
        location: str = "",
        labels: dict[str, str] | None = None,
        kind: str = "context",
        lost: str = "",
    ) -> None:
        self.name = name
        self.access = access
        self.location = location
        self.labels = labels or {}
        self.kind = kind
        self.lost = lost


def clusters_of(config: GkeConfig, project_dir: Path) -> list[Cluster]:
    """Return all clusters of the settings, by name.

    Raises:
        ProjectError: The kubeconfig file cannot be used.
        PlanError: A name stands for two clusters.
    """
    if config.kubeconfig is not None:
        found = _contexts(project_dir / Path(config.kubeconfig).expanduser())
    else:
        # Only whoever has clusters at Google pays for Google's libraries.
        from edgectl_gke_edge._sdk.google import google_clusters  # noqa: PLC0415 - see above

        found = google_clusters(config)
    _check_unique(found)
    return sorted(found, key=lambda cluster: cluster.name)


def selected(clusters: Iterable[Cluster], selector: Selector, target: Target) -> list[Cluster]:
    """Return the clusters that a selector takes.

    Raises:
        ProjectError: The selector names one that is not there, or asks for labels that contexts
            do not have.
    """
    known = list(clusters)
    missing = [name for name in selector.names if name not in {c.name for c in known}]
    if missing:
        there = ", ".join(f"'{cluster.name}'" for cluster in known[:10]) or "none"
        raise ProjectError(
            f"targets.{target.name}.selector.clusters: there is no cluster '{missing[0]}'",
            hint=f"known clusters: {there}",
        )
    if (selector.labels or selector.locations) and any(c.kind == "context" for c in known):
        raise ProjectError(
            f"targets.{target.name}.selector: contexts of a kubeconfig file have neither labels "
            "nor locations",
            hint="name them: {clusters: [a, b]}; nodes can have labels: {nodes: {edge: camera}}",
        )
    return [c for c in known if selector.takes_cluster(c.name, c.location, c.labels)]


def _contexts(path: Path) -> list[Cluster]:
    try:
        read = KubeConfig.from_file(path)
    except (ConfigError, OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as exc:
        raise ProjectError(
            f"providers.gke.kubeconfig: '{path}' cannot be used: {exc}",
            hint="it is a file as `kubectl config view` shows; each context is a cluster",
        ) from exc
    return [Cluster(name, _context(read, name)) for name in read.contexts]


def _context(read: KubeConfig, name: str) -> Callable[[], Access]:
    def access() -> Access:
        try:
            config = read.get(name)
        except (ConfigError, KeyError) as exc:
            raise ProjectError(f"the kubeconfig's context '{name}' is not whole: {exc}") from exc
        if config is None:
            raise ProjectError(f"the kubeconfig's context '{name}' is empty")
        return Access(config)

    return access


def _check_unique(clusters: list[Cluster]) -> None:
    often = [name for name, count in Counter(c.name for c in clusters).items() if count > 1]
    if often:
        places = ", ".join(c.location or c.kind for c in clusters if c.name == often[0])
        raise PlanError(
            f"two clusters are named '{often[0]}' ({places}): a device could not be told from "
            "another",
            hint="narrow `locations` of providers.gke, or give the clusters names of their own",
        )
