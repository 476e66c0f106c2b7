"""A target's selector: which clusters, and which of their nodes. No I/O.

``clusters`` names clusters, or says their labels; ``nodes`` says node labels; ``locations`` narrows
to regions and zones. An empty selector means every node of every cluster.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgectl.api import ProjectError, Record, Target
from edgectl_gke_edge.names import check_label

KEYS = ("clusters", "nodes", "locations")


class Selector(Record, frozen=True, kw_only=True):
    """What a selector says.

    Attributes:
        names: The clusters by name; empty for all that ``labels`` finds.
        labels: Labels of the clusters.
        nodes: Labels of the nodes.
        locations: Regions and zones; empty for all.
    """

    names: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    nodes: dict[str, str] = {}
    locations: tuple[str, ...] = ()

    def takes_cluster(self, name: str, location: str, labels: Mapping[str, str]) -> bool:
        """Whether a cluster is meant."""
        return (
            (not self.names or name in self.names)
            and (not self.locations or location in self.locations)
            and all(labels.get(key) == value for key, value in self.labels.items())
        )

    def takes_node(self, labels: Mapping[str, str]) -> bool:
        """Whether a node of such a cluster is meant."""
        return all(labels.get(key) == value for key, value in self.nodes.items())


def read_selector(target: Target) -> Selector:
    """Read a target's selector.

    Raises:
        ProjectError: A key is unknown, or a value is of the wrong kind.
        LimitError: A label is none that Kubernetes takes.
    """
    for key in target.selector:
        if key not in KEYS:
            raise ProjectError(
                f"targets.{target.name}.selector: unknown key '{key}'",
                hint=f"provider 'gke' knows {', '.join(KEYS)}",
            )
    clusters = target.selector.get("clusters", [])
    if isinstance(clusters, str):
        raise _wrong(target, "clusters", "a list of names, or labels")
    names = tuple(clusters) if isinstance(clusters, list) else ()
    labels = clusters if isinstance(clusters, dict) else {}
    nodes = target.selector.get("nodes", {})
    if not isinstance(nodes, dict):
        raise _wrong(target, "nodes", "labels, for example {edge: camera}")
    for key, value in nodes.items():
        check_label(key, value)
    locations = target.selector.get("locations", [])
    if not isinstance(locations, list):
        raise _wrong(target, "locations", "a list of regions and zones")
    return Selector(
        names=tuple(dict.fromkeys(names)),
        labels=dict(labels),
        nodes=dict(nodes),
        locations=tuple(dict.fromkeys(locations)),
    )


def _wrong(target: Target, key: str, expected: str) -> ProjectError:
    return ProjectError(f"targets.{target.name}.selector.{key}: expected {expected}")
