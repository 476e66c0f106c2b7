"""Which clusters and nodes are started for a project; pure.

Either clusters as a project names them, all with the same nodes; or, as the other emulators take
it, some devices a target: then each target's nodes carry what its selector asks for, and no more.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from edgectl.api import Project, Target
from edgectl_gke_edge.emulator.fleet import VirtualCluster
from edgectl_gke_edge.selector import Selector, read_selector

LOCATION = "us-central1"


def targets_of(project: Project | None) -> list[Target]:
    """Return the targets of provider gke, by name."""
    if project is None:
        return []
    specs = sorted(project.spec.targets.items())
    return [project.target(name) for name, spec in specs if spec.provider == "gke"]


def clusters_of(targets: Iterable[Target], count: int, nodes: int) -> tuple[VirtualCluster, ...]:
    """Return the clusters that targets name, or else so many numbered ones."""
    names: list[str] = []
    labels: dict[str, str] = {}
    locations: list[str] = []
    for target in targets:
        selector = read_selector(target)
        labels |= selector.labels
        locations += [one for one in selector.locations if one not in locations]
        names += [one for one in selector.names if one not in names]
    names = names or [f"cluster-{number}" for number in range(1, count + 1)]
    return tuple(
        VirtualCluster(
            name=name,
            nodes=tuple(f"node-{number}" for number in range(1, nodes + 1)),
            labels=labels,
            location=locations[index % len(locations)] if locations else LOCATION,
        )
        for index, name in enumerate(names)
    )


def labels_of(targets: Iterable[Target]) -> dict[str, str]:
    """Return the node labels that targets ask for."""
    found: dict[str, str] = {}
    for target in targets:
        found |= read_selector(target).nodes
    return found


def devices_of(targets: Iterable[Target], count: int) -> tuple[VirtualCluster, ...]:
    """Return clusters with so many nodes a target, called after it.

    The nodes of a target are spread over the clusters that it names. Targets that name none share
    a cluster, where they ask for clusters of the same labels and place.
    """
    found: dict[str, VirtualCluster] = {}
    numbered: list[tuple[dict[str, str], str]] = []
    for target in targets:
        selector = read_selector(target)
        location = next(iter(selector.locations), LOCATION)
        names = selector.names or (_numbered(numbered, selector, location),)
        for name in names:
            empty = VirtualCluster(name=name, nodes=(), labels=selector.labels, location=location)
            found.setdefault(name, empty)
        for number in range(count):
            name = names[number % len(names)]
            node = f"{target.name}-{number + 1}"
            found[name] = replace(
                found[name],
                nodes=(*found[name].nodes, node),
                node_labels={**found[name].node_labels, node: selector.nodes},
            )
    return tuple(found.values())


def _numbered(known: list[tuple[dict[str, str], str]], selector: Selector, location: str) -> str:
    """Return the name of the cluster for such labels and place; a new one where there is none."""
    place = (selector.labels, location)
    if place not in known:
        known.append(place)
    return f"cluster-{known.index(place) + 1}"
