"""Selectors, names, hardware, retries, versions, places and rights: the pure small parts."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from edgectl import api
from edgectl.api import LimitError, ProjectError, Target
from edgectl_gke_edge import names
from edgectl_gke_edge._sdk.package import takes_volume
from edgectl_gke_edge.config import GkeConfig
from edgectl_gke_edge.endpoints import address_of
from edgectl_gke_edge.hardware import hardware_of, is_device
from edgectl_gke_edge.limits import has_image_volumes
from edgectl_gke_edge.models import approval_tag, stage_tag, version_tag
from edgectl_gke_edge.repository import repository, runtime_image
from edgectl_gke_edge.retry import pause_before_retry
from edgectl_gke_edge.rights import RIGHTS, cluster_role
from edgectl_gke_edge.seen import Node, Taint
from edgectl_gke_edge.selector import read_selector

DOCS = Path(__file__).parents[4] / "docs" / "providers" / "gke.md"
CONFIG = GkeConfig(registry="us-docker.pkg.dev/p/edge", project="p")
PART = st.text("abcXYZ019", min_size=1, max_size=30)
APPLICATION = st.lists(PART, min_size=1, max_size=3).map("-".join) | PART.map("{0}.{0}_x".format)


def target(**selector: Any) -> Target:
    return Target(name="lots", provider="gke", selector=selector)


def test_a_selector_takes_clusters_by_name_or_label_and_nodes_by_label() -> None:
    by_name = read_selector(target(clusters=["a", "b"], nodes={"edge": "camera"}))
    assert by_name.takes_cluster("a", "us", {})
    assert not by_name.takes_cluster("c", "us", {})
    assert by_name.takes_node({"edge": "camera", "more": "x"})
    assert not by_name.takes_node({})
    by_label = read_selector(target(clusters={"site": "dc"}, locations=["us-east1"]))
    assert by_label.takes_cluster("x", "us-east1", {"site": "dc"})
    assert not by_label.takes_cluster("x", "us-west1", {"site": "dc"})


def test_an_empty_selector_takes_every_node_of_every_cluster() -> None:
    everything = read_selector(target())
    assert everything.takes_cluster("any", "where", {})
    assert everything.takes_node({})


@pytest.mark.parametrize(
    ("selector", "said"),
    [
        ({"tags": ["x"]}, "unknown key 'tags'"),
        ({"clusters": "a"}, "selector.clusters: expected"),
        ({"nodes": ["a"]}, "selector.nodes: expected"),
        ({"locations": "us"}, "selector.locations: expected"),
    ],
)
def test_a_selector_that_cannot_be_read_is_told_with_its_key(
    selector: dict[str, Any], said: str
) -> None:
    with pytest.raises(ProjectError, match=re.escape(said)):
        read_selector(target(**selector))


def test_a_label_that_kubernetes_does_not_take_is_refused() -> None:
    with pytest.raises(LimitError, match="cannot be the value"):
        read_selector(target(nodes={"edge": "a b"}))


@given(APPLICATION)
def test_a_slug_is_a_name_that_kubernetes_takes(name: str) -> None:
    found = names.slug(name)
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", found)
    assert len(found) <= names.MAX_SLUG
    assert len(names.workload_name(name, 123456, "jetson-agx-xavier")) <= 63


@given(APPLICATION, APPLICATION)
def test_two_applications_never_share_a_slug(first: str, second: str) -> None:
    assert (names.slug(first) == names.slug(second)) == (first == second)


@given(APPLICATION, st.lists(st.integers(1, 10**9), unique=True, max_size=5))
def test_releases_are_read_back_from_a_node_s_labels(name: str, numbers: list[int]) -> None:
    labels = {names.release_key(name, n): "x86-64-cpu" for n in numbers}
    for key in labels:
        names.check_label(key, "x86-64-cpu")
    found = names.releases_on({**labels, "edgectl.dev/other.r1": "x"}, name)
    wanted = sorted({*numbers, *([1] if names.slug(name) == "other" else [])})
    assert list(found) == wanted


@pytest.mark.parametrize(
    ("labels", "arch", "gpus", "wanted"),
    [
        ({names.HARDWARE: "jetson-orin"}, "amd64", 0, "jetson-orin"),
        ({}, "amd64", 0, "x86-64-cpu"),
        ({}, "amd64", 1, "nvidia-gpu"),
        ({}, "arm64", 0, "arm64-cpu"),
        ({"nvidia.com/gpu.product": "Orin-NX"}, "arm64", 1, "jetson-orin"),
        ({}, "s390x", 0, None),
    ],
)
def test_hardware_is_a_node_s_label_or_what_its_parts_make_likely(
    labels: dict[str, str], arch: str, gpus: int, wanted: str | None
) -> None:
    node = Node(name="n", labels=labels, arch=arch, gpus=gpus)
    assert hardware_of(node, None) == wanted


def test_the_target_s_hardware_counts_where_the_node_says_none() -> None:
    assert hardware_of(Node(name="n", arch="amd64"), "raspberry-pi-5") == "raspberry-pi-5"
    labelled = Node(name="n", labels={names.HARDWARE: "nvidia-gpu"})
    assert hardware_of(labelled, "raspberry-pi-5") == "nvidia-gpu"


@pytest.mark.parametrize(
    ("taint", "tolerations", "wanted"),
    [
        (Taint(key="node-role.kubernetes.io/control-plane", effect="NoSchedule"), (), False),
        (Taint(key="node.kubernetes.io/unreachable", effect="NoExecute"), (), True),
        (Taint(key="edge", effect="PreferNoSchedule"), (), True),
        (Taint(key="edge", effect="NoSchedule"), ({"key": "edge", "operator": "Exists"},), True),
        (
            Taint(key="edge", value="a", effect="NoSchedule"),
            ({"key": "edge", "value": "b"},),
            False,
        ),
        (Taint(key="edge", value="a", effect="NoSchedule"), ({"key": "edge", "value": "a"},), True),
        (Taint(key="edge", effect="NoExecute"), ({"operator": "Exists"},), True),
    ],
)
def test_a_node_whose_taints_keep_our_pods_away_is_no_device(
    taint: Taint, tolerations: tuple[dict[str, str | int], ...], wanted: bool
) -> None:
    assert is_device(Node(name="n", taints=(taint,)), tolerations) is wanted


@pytest.mark.parametrize(
    ("attempt", "method", "status", "after", "wanted"),
    [
        (1, "GET", 429, "7", 7.0),
        (1, "POST", 429, "1", 1.0),
        (1, "GET", 429, "3600", 30.0),
        (1, "GET", 503, "", 0.25),
        (2, "PATCH", 500, "", 0.5),
        (1, "POST", 500, "", None),
        (1, "GET", None, "", 0.25),
        (1, "POST", None, "", None),
        (1, "GET", 404, "", None),
        (4, "GET", 429, "1", None),
    ],
)
def test_what_is_the_same_twice_is_tried_again_and_no_faster_than_asked(
    attempt: int, method: str, status: int | None, after: str, wanted: float | None
) -> None:
    found = pause_before_retry(attempt, 4, method, status, after, jitter=lambda: 1.0)
    assert found == wanted


def test_image_volumes_come_by_default_from_135_and_on_demand_from_131() -> None:
    assert has_image_volumes((1, 35), by_default=True)
    assert not has_image_volumes((1, 34), by_default=True)
    assert has_image_volumes((1, 33), by_default=False)
    assert not has_image_volumes((1, 30), by_default=False)


def test_an_application_has_a_repository_of_its_name_and_the_runtime_one_of_its_own() -> None:
    assert repository(CONFIG, "parking-plates") == "us-docker.pkg.dev/p/edge/parking-plates"
    assert repository(CONFIG, "Plates").startswith("us-docker.pkg.dev/p/edge/plates-")
    assert runtime_image(CONFIG, "1.2.3") == "us-docker.pkg.dev/p/edge/edge-runtime:1.2.3"


@pytest.mark.parametrize("version", ["1.2.3", "1.0.0-rc.1+build.5", "x" * 200])
def test_versions_and_stages_become_tags_that_a_registry_takes(version: str) -> None:
    tags = (version_tag(version), approval_tag(version), stage_tag(version))
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", tag) for tag in tags)
    assert len(set(tags)) == 3


def test_an_emulator_s_address_comes_from_the_settings_or_the_environment() -> None:
    assert address_of(CONFIG, "container", {}) == ""
    both = {"EDGECTL_GKE_ENDPOINT": "localhost:1", "EDGECTL_GKE_HTTP_ENDPOINT": "localhost:2"}
    assert address_of(CONFIG, "gkehub", both) == "localhost:1"
    assert address_of(CONFIG, "connectgateway", both) == "localhost:2"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"registry": "https://x/y"}, "registry"),
        ({"project": ""}, "give `project`"),
        ({"namespace": "Not_One"}, "namespace"),
        ({"node_cache": "relative"}, "node_cache"),
        ({"replicas": 0}, "replicas"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"runtime": {"port": 80}}, "from 1024 on"),
        ({"runtime": {"memory": "lots"}}, "memory"),
        ({"collector": {"endpoint": "collector:4318"}}, "endpoint"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(changed: dict[str, Any], said: str) -> None:
    plain = {"registry": "us-docker.pkg.dev/p/edge", "project": "p", **changed}
    with pytest.raises(msgspec.ValidationError, match=re.escape(said)):
        msgspec.convert(plain, GkeConfig)


def settings(kind: type[msgspec.Struct], before: str = "") -> set[str]:
    found = set()
    for field in msgspec.structs.fields(kind):
        inner = field.type
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            found |= settings(inner, f"{before}{field.name}.")
        else:
            found.add(before + field.name)
    return found


def test_every_setting_is_explained_and_no_other() -> None:
    table = DOCS.read_text().split("## Settings")[1].split("\n## ")[0]
    named = re.findall(r"^\| `([a-z_.]+)` \|", table, re.MULTILINE)
    assert set(named) == settings(GkeConfig)
    assert len(named) == len(set(named))


def test_the_role_in_the_documentation_is_the_one_that_the_code_needs() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    roles = [yaml.safe_load(block) for block in blocks if "kind: ClusterRole\n" in block]
    assert cluster_role() in roles


def test_no_right_is_asked_for_twice_or_by_a_wildcard() -> None:
    resources = [(right.group, right.resource, right.training) for right in RIGHTS]
    assert len(set(resources)) == len(resources)
    assert not any("*" in (right.resource, *right.verbs) for right in RIGHTS)


class Cluster:
    """As much of an account and of a cluster's API as a delivery is decided by."""

    cluster = "lot-1"

    def __init__(self, delivery: str, version: tuple[int, int] = (1, 36)) -> None:
        self.config = SimpleNamespace(delivery=delivery)
        self._version = version

    def version(self) -> tuple[int, int]:
        return self._version

    def remember(self, key: object, ask: Callable[[], tuple[int, int]]) -> tuple[int, int]:
        del key
        return ask()


def released(network: api.NetworkSettings | None) -> api.ReleaseDocument:
    return api.ReleaseDocument(
        application="plates",
        number=7,
        version="1",
        package="sha256:" + "a" * 64,
        settings=api.DeviceSettings(network=network),
    )


def test_pods_whose_network_has_limits_fetch_by_themselves() -> None:
    limits = api.NetworkSettings(bandwidth=2_000_000)
    auto: Any = Cluster("auto")
    assert takes_volume(auto, auto, released(None))
    assert not takes_volume(auto, auto, released(limits))
    image: Any = Cluster("image")
    assert takes_volume(image, image, released(limits))  # refused when it is planned
