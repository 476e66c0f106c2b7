"""What stands in a cluster: golden files of whole manifests, and the rules they keep."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from edge_components.contract.device import parse_device_config
from edgectl_gke_edge import names
from edgectl_gke_edge.config import CollectorConfig, GkeConfig, RuntimeConfig
from edgectl_gke_edge.pod import PodOrder, is_replacing, parse_bytes
from edgectl_gke_edge.render import (
    as_files,
    content_digest,
    release_documents,
    shared_documents,
)

GOLDEN = Path(__file__).parent / "golden"
REGISTRY = "us-docker.pkg.dev/my-project/edge"
PUBLISHER = "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n"
CONFIG = GkeConfig(registry=REGISTRY, project="my-project")
ORDER = PodOrder(
    application="parking-plates",
    cluster="lot-1",
    hardware="x86-64-cpu",
    release=7,
    package="sha256:" + "a" * 64,
    version="1.4.0",
    soak_s=3.0,
    runtime_image=f"{REGISTRY}/edge-runtime@sha256:" + "b" * 64,
    repository=f"{REGISTRY}/parking-plates",
    release_digest="sha256:" + "c" * 64,
    volume_image=f"{REGISTRY}/parking-plates@sha256:" + "d" * 64,
)
FETCHING = msgspec.structs.replace(ORDER, volume_image="")
CASES: dict[str, tuple[GkeConfig, PodOrder]] = {
    "daemonset-image": (CONFIG, ORDER),
    "daemonset-fetch-cache-gpu": (
        GkeConfig(
            registry=REGISTRY,
            project="my-project",
            namespace="plates",
            node_cache="/var/lib/edgectl",
            collector=CollectorConfig(endpoint="http://collector.telemetry:4318/v1/logs"),
            runtime=RuntimeConfig(
                pull_secrets=("registry-login",),
                priority_class="edge",
                tolerations=({"key": "edge", "operator": "Exists", "effect": "NoSchedule"},),
                host_paths={"/var/lib/plates": "/srv/plates"},
                egress_ports=(8883,),
            ),
        ),
        msgspec.structs.replace(FETCHING, hardware="jetson-orin"),
    ),
    "deployment": (
        GkeConfig(registry=REGISTRY, project="my-project", workload="deployment"),
        FETCHING,
    ),
}


def documents(case: str) -> list[dict[str, Any]]:
    config, order = CASES[case]
    return shared_documents(config, order.application, PUBLISHER) + release_documents(config, order)


def pod(case: str) -> dict[str, Any]:
    spec: dict[str, Any] = documents(case)[-1]["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("case", sorted(CASES))
def test_manifests_are_the_golden_ones(case: str) -> None:
    """`WRITE_GOLDEN=1` writes them anew; the diff is for a reviewer."""
    files = as_files(documents(case))
    folder = GOLDEN / case
    if os.environ.get("WRITE_GOLDEN"):
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        for name, text in files.items():
            (folder / name).write_text(text)
    assert {path.name: path.read_text() for path in folder.iterdir()} == files


@pytest.mark.parametrize("case", sorted(CASES))
def test_kustomize_would_take_every_file_that_is_written(case: str) -> None:
    files = as_files(documents(case))
    listed = yaml.safe_load(files["kustomization.yaml"])["resources"]
    assert set(listed) == files.keys() - {"kustomization.yaml"}
    assert all(yaml.safe_load(files[name])["kind"] for name in listed)


@pytest.mark.parametrize("case", sorted(CASES))
def test_every_object_can_be_found_again_by_our_labels(case: str) -> None:
    for document in documents(case):
        labels = document["metadata"]["labels"]
        assert labels[names.MANAGED_BY] == "edgectl"
        assert labels[names.APPLICATION] == "parking-plates"
        assert document["metadata"]["annotations"][names.APPLICATION] == "parking-plates"


@pytest.mark.parametrize("case", sorted(CASES))
def test_every_container_keeps_to_the_restricted_standard(case: str) -> None:
    spec = pod(case)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    for container in (*spec["initContainers"], *spec["containers"]):
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["requests"].keys() >= {"cpu", "memory"}


def test_the_namespace_is_restricted_unless_a_folder_of_the_node_is_asked_for() -> None:
    def level(config: GkeConfig) -> str:
        namespace = shared_documents(config, "plates", PUBLISHER)[0]
        found: str = namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        return found

    assert level(CONFIG) == "restricted"
    for changed in ({"node_cache": "/var/lib/edgectl"}, {"publisher_key_path": "/etc/keys"}):
        assert level(msgspec.structs.replace(CONFIG, **changed)) == "privileged"


def test_a_namespace_that_the_settings_name_is_left_to_the_team() -> None:
    kinds = [document["kind"] for document in documents("daemonset-fetch-cache-gpu")]
    assert "Namespace" not in kinds


def test_a_cluster_that_trusts_a_key_already_gets_no_other() -> None:
    kinds = [document["kind"] for document in shared_documents(CONFIG, "plates", "")]
    assert "ConfigMap" not in kinds


def test_a_node_gets_a_release_by_a_label_whose_value_is_its_hardware() -> None:
    key = names.release_key("parking-plates", 7)
    assert pod("daemonset-image")["nodeSelector"] == {key: "x86-64-cpu"}
    assert "nodeSelector" not in pod("deployment")


def test_two_releases_can_stand_on_a_node_side_by_side() -> None:
    config, order = CASES["daemonset-image"]
    later = msgspec.structs.replace(order, release=8)
    first, second = (release_documents(config, one)[-1] for one in (order, later))
    assert first["metadata"]["name"] != second["metadata"]["name"]
    assert first["spec"]["selector"] != second["spec"]["selector"]
    ports = pod("daemonset-image")["containers"][0]["ports"]
    assert all("hostPort" not in port for port in ports)


def test_the_device_says_cluster_and_node_or_the_cluster_alone() -> None:
    def device(case: str) -> str:
        env = {entry["name"]: entry for entry in pod(case)["containers"][0]["env"]}
        value: str = env["EDGE_POD_DEVICE"]["value"]
        return value

    assert device("daemonset-image") == "lot-1/$(NODE_NAME)"
    assert device("deployment") == "lot-1"


def test_a_release_of_other_hardware_or_cluster_has_a_configuration_of_its_own() -> None:
    config, order = CASES["daemonset-image"]
    told = release_documents(config, order)[0]["data"]["device.toml"]
    read = parse_device_config(told)
    assert (read.device.application, read.device.hardware) == ("parking-plates", "x86-64-cpu")
    other = msgspec.structs.replace(order, hardware="jetson-orin")
    assert release_documents(config, other)[0]["metadata"]["name"] != order.name


def test_the_content_digest_changes_with_the_content_and_with_nothing_else() -> None:
    config, order = CASES["daemonset-image"]
    same = [release_documents(config, order)[-1] for _ in range(2)]
    assert content_digest(same[0]) == same[1]["metadata"]["annotations"][names.CONTENT]
    other = release_documents(config, msgspec.structs.replace(order, soak_s=4.0))[-1]
    assert content_digest(other) != content_digest(same[0])


def test_pods_that_need_a_gpu_cannot_overlap() -> None:
    assert is_replacing(CONFIG, "jetson-orin")
    assert not is_replacing(CONFIG, "x86-64-cpu")
    assert not is_replacing(msgspec.structs.replace(CONFIG, handover="overlap"), "jetson-orin")
    without = msgspec.structs.replace(CONFIG, runtime=RuntimeConfig(gpu_resource=""))
    assert not is_replacing(without, "jetson-orin")


def test_only_the_ports_of_registry_and_collector_are_let_out_beside_dns() -> None:
    case = "daemonset-fetch-cache-gpu"
    policy = next(d for d in documents(case) if d["kind"] == "NetworkPolicy")
    ports = {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}
    assert ports == {53, 443, 4318, 8883}


@pytest.mark.parametrize(
    ("quantity", "count"),
    [("512", 512), ("256Mi", 256 << 20), ("1.5Gi", 3 << 29), ("2G", 2 * 10**9), ("4k", 4000)],
)
def test_memory_quantities_are_read_as_kubernetes_reads_them(quantity: str, count: int) -> None:
    assert parse_bytes(quantity) == count
