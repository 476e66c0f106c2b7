"""Which clusters and nodes `edgectl emulate gke` starts for a project."""

from __future__ import annotations

from typing import Any

from edgectl.api import Target
from edgectl_gke_edge.emulator.wanted import devices_of


def target(name: str, **selector: Any) -> Target:
    return Target(name=name, provider="gke", selector=selector)


def test_each_target_has_nodes_of_its_own_that_carry_what_it_asks_for() -> None:
    (cluster,) = devices_of(
        [target("lots", nodes={"edge": "camera"}), target("roads", nodes={"edge": "counter"})], 2
    )
    assert cluster.nodes == ("lots-1", "lots-2", "roads-1", "roads-2")
    assert cluster.node_labels["lots-2"] == {"edge": "camera"}
    assert cluster.node_labels["roads-1"] == {"edge": "counter"}


def test_nodes_are_spread_over_the_clusters_that_a_target_names() -> None:
    found = devices_of([target("lots", clusters=["east", "west", "north"])], 2)
    assert {one.name: one.nodes for one in found} == {
        "east": ("lots-1",),
        "west": ("lots-2",),
        "north": (),
    }


def test_targets_that_ask_for_other_clusters_do_not_share_one() -> None:
    found = devices_of(
        [
            target("lots", clusters={"site": "dc"}),
            target("roads", locations=["europe-west1"]),
            target("shops", clusters={"site": "dc"}),
        ],
        1,
    )
    assert [(one.name, one.nodes, one.labels, one.location) for one in found] == [
        ("cluster-1", ("lots-1", "shops-1"), {"site": "dc"}, "us-central1"),
        ("cluster-2", ("roads-1",), {}, "europe-west1"),
    ]


def test_a_project_without_targets_on_gke_has_no_cluster() -> None:
    assert devices_of([], 2) == ()
