"""``edgectl emulate gke``."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import click
from msgspec.structs import replace

from edgectl.api import Project, load_project
from edgectl.emulation import run_until_told, tell
from edgectl_gke_edge.emulator.control import Control
from edgectl_gke_edge.emulator.fleet import KUBERNETES, Fleet, FleetInfo
from edgectl_gke_edge.emulator.wanted import clusters_of, devices_of, labels_of, targets_of

_DISTRIBUTION = "edgectl-gke-edge"


@click.command("gke")
@click.option(
    "-p",
    "--project",
    type=click.Path(path_type=Path),
    default=None,
    metavar="PATH",
    help="A project whose targets say how clusters are called and nodes labelled.",
)
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".edgectl/emulator-gke"),
    show_default=True,
    help="Where registry, clusters, nodes and logs are kept.",
)
@click.option(
    "--clusters",
    "cluster_count",
    default=3,
    show_default=True,
    type=click.IntRange(1, 50),
    help="Clusters, unless the project names them.",
)
@click.option(
    "--nodes",
    "node_count",
    default=3,
    show_default=True,
    type=click.IntRange(0, 100),
    help="Nodes in each cluster.",
)
@click.option(
    "--devices",
    "device_count",
    default=None,
    type=click.IntRange(0, 200),
    help="Nodes a target of the project, instead of --clusters and --nodes; each is labelled as "
    "its target asks. The project is that of this folder, if --project does not say otherwise.",
)
@click.option(
    "--crowd",
    default=0,
    type=click.IntRange(0, 5000),
    help="More nodes in each cluster that only pretend to run pods.",
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="KEY=VALUE",
    help="A label of every node; may be given several times.",
)
@click.option(
    "--distributed-cloud",
    "edge_count",
    default=1,
    show_default=True,
    type=click.IntRange(min=0),
    help="How many of the clusters Google knows as Distributed Cloud's; the last ones.",
)
@click.option(
    "--kubernetes",
    default=KUBERNETES,
    show_default=True,
    metavar="VERSION",
    help="Version of the API servers; image volumes come with 1.35.",
)
@click.option("--registry-port", default=0, help="Port of the registry; 0 takes a free one.")
@click.option(
    "--info",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write addresses and settings as JSON once all is up.",
)
@click.option("--stop-on-eof", is_flag=True, help="End when standard input ends.")
def emulate(
    *,
    project: Path | None,
    folder: Path,
    cluster_count: int,
    node_count: int,
    device_count: int | None,
    crowd: int,
    labels: tuple[str, ...],
    edge_count: int,
    kubernetes: str,
    registry_port: int,
    info: Path | None,
    stop_on_eof: bool,
) -> None:
    """Start clusters with virtual nodes whose pods really run, a registry, and Google's APIs.

    Every cluster has a Kubernetes API server of its own. Serves until Ctrl-C, and prints the
    settings that a project file takes.
    """
    loaded = _project(project, needed=device_count is not None)
    targets = targets_of(loaded)
    if device_count is None:
        wanted, asked = clusters_of(targets, cluster_count, node_count), labels_of(targets)
    else:
        wanted, asked = devices_of(targets, device_count), {}
    first_edge = len(wanted) - edge_count
    wanted = tuple(
        replace(
            one,
            crowd=crowd,
            version=kubernetes,
            source="edge" if number >= first_edge else "gke",
        )
        for number, one in enumerate(wanted)
    )
    given = dict(_label(text) for text in labels)
    fleet = Fleet(folder, labels={**asked, **given}, registry_port=registry_port)
    control = Control(fleet)

    def start() -> None:
        running = fleet.start(wanted, metadata.version(_DISTRIBUTION))
        running = replace(running, control=control.start())
        tell(running, _notes(running), info)

    try:
        run_until_told(fleet, start, stop_on_eof=stop_on_eof)
    finally:
        control.stop()


def _notes(running: FleetInfo) -> Iterator[str]:
    yield f"registry with the runtime's image: {running.registry}"
    yield f"control: {running.control}"
    for cluster in running.clusters:
        yield f"cluster {cluster.name} ({cluster.location}): {cluster.server}"
        for node in cluster.nodes:
            yield f"  {node.device}: services answer at {node.address}"


def _project(project: Path | None, *, needed: bool) -> Project | None:
    if project is None and not needed:
        return None
    return load_project(project or Path())


def _label(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise click.BadParameter(f"'{text}' is not KEY=VALUE", param_hint="--label")
    return key, value
