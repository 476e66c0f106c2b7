"""Three clusters of three nodes, and what goes wrong in them: each from the command line."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from lightkube import Client, KubeConfig
from lightkube.resources.apps_v1 import DaemonSet
from lightkube.resources.core_v1 import Node, ResourceQuota, Service
from lightkube.types import PatchType

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
Until = Callable[..., None]
TRAINING = 'training: {image: "${TRAIN_IMAGE}"}'


@contextlib.contextmanager
def client(site: Any, cluster: str) -> Iterator[Client]:
    """Give somebody else's way to a cluster."""
    with Client(config=KubeConfig.from_file(site.info["kubeconfig"]).get(cluster)) as found:
        yield found


def test_one_command_brings_the_example_from_training_to_nine_nodes_that_answer(
    site: Any, tmp_path: Path
) -> None:
    example(site.folder)
    with site.clusters(3, 3):
        site.env["TRAIN_IMAGE"] = site.info["images"]["library/python"]
        said = site.run("run", "--provider", "gke", "--poll", "0.5")
        assert "lots: healthy - 9 of 9 devices are healthy" in said
        rows = site.rows()
        assert len(rows) == 9
        assert {(r["state"], r["active"]) for r in rows.values()} == {("healthy", 1)}
        digests = {r["digest"] for r in rows.values()}
        for address in site.nodes.values():
            with urllib.request.urlopen(f"http://{address}:8080/v2/health/ready") as answer:
                assert answer.status == 200
        site.run("journal", "verify")
    # The same project, trained on this machine for the team's own machines: the same package.
    other = tmp_path / "other"
    other.mkdir()
    example(other, trainer="selfhosted")
    site.folder = other
    site.run("train")
    site.run("register")
    assert {json.loads(site.run("-o", "json", "package"))["digest"]} == digests


def example(folder: Path, trainer: str = "gke") -> None:
    """Lay out the project of the examples, with a target on provider gke."""
    source = Path(__file__).parents[4] / "examples" / "plates"
    for file in source.iterdir():
        if file.is_file():
            shutil.copy(file, folder / file.name)
    spec = yaml.safe_load((folder / "edgectl.yaml").read_text())
    spec["train"]["provider"] = trainer
    spec["device"] = {"soak": "0.5s"}
    lots = {"provider": "gke", "hardware": "x86-64-cpu", "selector": {"nodes": {"fleet": "tiny"}}}
    spec["targets"] = {"lots": lots}
    spec["rollout"] |= {"soak": "0s"}
    spec["providers"] = {
        "gke": {
            "registry": "${GKE_REGISTRY}",
            "kubeconfig": "${GKE_KUBECONFIG}",
            "training": {"image": "${TRAIN_IMAGE}"},
        }
    }
    (folder / "edgectl.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))


def test_a_cluster_that_is_cut_off_stops_nobody_and_a_rerun_finishes_it(
    site: Any, until: Until
) -> None:
    site.waves, site.grace = "[50%, 100%]", "8s"
    site.more = "{unreachable_after_s: 5, timeout_s: 5}".strip("{}").replace(", ", "\n    ")
    site.write()
    with site.clusters(3, 1):
        site.build("1", 1.0)
        site.run("deploy", "--poll", "0.5")
        site.build("2", 2.0)
        process = site.start("deploy", "--poll", "0.5")
        with process:
            until(lambda: any(r["release"] == 2 for r in site.rows().values()))
            site.steer("POST", "clusters/cluster-3/cut")
            stdout, stderr = process.communicate(timeout=240)
        assert process.returncode == 3, (stdout, stderr)
        assert "2 of 3 devices are healthy" in stdout
        assert "cluster-3/node-1: unreachable" in stdout
        rows = site.rows()
        assert rows["cluster-3/node-1"]["state"] == "unreachable"
        assert {tuple(site.answer(d)) for d in rows if "cluster-3" not in d} == {(2, 2, 2, 2)}

        site.steer("POST", "clusters/cluster-3/mend")
        assert "3 of 3 devices are healthy" in site.run("deploy", "--poll", "0.5")
        assert site.answers() == {(2, 2, 2, 2)}


def test_a_killed_operator_leaves_nodes_that_answer_and_the_next_command_goes_on(
    site: Any, until: Until
) -> None:
    with site.clusters(1, 2):
        site.build("1", 1.0)
        process = site.start("deploy", "--poll", "0.5")
        with process:
            until(lambda: any(r["release"] == 1 for r in site.rows().values()))
            process.send_signal(signal.SIGKILL)
        # The lease of who was killed runs out; until then the command is refused.
        until(lambda: "devices are healthy" in site.attempt("deploy", "--poll", "0.5").stdout, 200)
        assert site.answers() == {(1, 1, 1, 1)}
        assert {row["active"] for row in site.rows().values()} == {1}


def test_rolling_back_by_hand_brings_the_version_before_back(site: Any) -> None:
    with site.clusters(1, 2):
        good = site.build("1", 1.0)
        site.run("deploy", "--poll", "0.5")
        newer = site.build("2", 3.0)
        site.run("deploy", "--poll", "0.5")
        assert {r["digest"] for r in site.rows().values()} == {newer}
        assert site.answers() == {(3, 3, 3, 3)}
        site.run("rollback", "--poll", "0.5")
        assert {r["digest"] for r in site.rows().values()} == {good}
        assert site.answers() == {(1, 1, 1, 1)}
        # One pod a node is left: each release before was let go.
        with client(site, "cluster-1") as others:
            nodes = list(others.list(Node))
        labels = [key for node in nodes for key in node.metadata.labels if "tiny.r" in key]
        assert labels == ["edgectl.dev/tiny.r3"] * 2


def test_a_rollout_is_paused_resumed_and_aborted_from_another_command(
    site: Any, until: Until
) -> None:
    with site.clusters(1, 2):
        site.build("1", 1.0)
        site.run("deploy", "--poll", "0.5")
        site.build("2", 2.0)
        process = site.start("deploy", "--poll", "0.5")
        with process:
            until(lambda: any(r["release"] == 2 for r in site.rows().values()))
            site.run("pause")
            until(lambda: sum(r["active"] == 2 for r in site.rows().values()) <= 1)
            site.run("abort")
            stdout, stderr = process.communicate(timeout=120)
        assert process.returncode == 4, (stdout, stderr)
        assert "aborted" in stdout


def test_what_pods_tell_a_collector_is_read_back(site: Any, until: Until) -> None:
    site.more = 'collector: {endpoint: "${GKE_COLLECTOR}", files: "${GKE_TELEMETRY}"}'
    site.write()
    with site.clusters(1, 2):
        site.build("1", 1.0)
        site.run("deploy", "--poll", "0.5")
        assert site.answers() == {(1, 1, 1, 1)}

        def told() -> bool:
            rows = json.loads(site.run("-o", "json", "telemetry", "--kind", "prediction"))
            return {row["device"] for row in rows} == set(site.nodes)

        until(told)


@pytest.mark.parametrize(
    "more", ["delivery: init", "delivery: init\n    node_cache: /var/cache/edgectl"]
)
def test_a_cluster_without_image_volumes_has_pods_fetch_the_package(site: Any, more: str) -> None:
    site.more = more
    site.write()
    with site.clusters(1, 1):
        good = site.build("1", 1.0)
        assert "1 of 1 devices are healthy" in site.run("deploy", "--poll", "0.5")
        assert {r["digest"] for r in site.rows().values()} == {good}
        assert site.answers() == {(1, 1, 1, 1)}


def test_a_cluster_can_be_the_device_and_a_bad_release_leaves_it_as_it_was(site: Any) -> None:
    site.more = "workload: deployment"
    site.write()
    with site.clusters(1, 2):
        good = site.build("1", 1.0)
        assert "1 of 1 devices are healthy" in site.run("deploy", "--poll", "0.5")
        assert {(d, r["digest"]) for d, r in site.rows().items()} == {("cluster-1", good)}
        site.write("2", 2.0)
        site.run("train")
        site.run("register", "--provider", "selfhosted")
        site.spoil_golden()
        site.run("package")
        assert "golden-failed" in site.run("deploy", "--poll", "0.5", code=6)
        assert {(d, r["digest"]) for d, r in site.rows().items()} == {("cluster-1", good)}


def test_a_rollout_that_was_paused_goes_on_when_it_is_resumed(site: Any, until: Until) -> None:
    site.waves = "[1, 100%]"
    site.write()
    with site.clusters(1, 2):
        site.build("1", 1.0)
        process = site.start("deploy", "--poll", "0.5")
        with process:
            until(lambda: any(r["release"] == 1 for r in site.rows().values()))
            site.run("pause")
            site.run("resume")
            stdout, stderr = process.communicate(timeout=240)
        assert process.returncode == 0, (stdout, stderr)
        assert "2 of 2 devices are healthy" in stdout


def test_the_same_clusters_are_reached_through_google_s_apis(site: Any) -> None:
    site.source = "project: ${GKE_PROJECT}"
    site.write()
    with site.clusters(2, 1):
        site.env["KUBECONFIG"] = ""
        site.run("doctor")
        site.build("1", 1.0)
        assert "2 of 2 devices are healthy" in site.run("deploy", "--poll", "0.5")
        assert site.answers() == {(1, 1, 1, 1)}
        site.steer("POST", "clusters/cluster-2/cut")
        assert site.rows()["cluster-2/node-1"]["state"] == "unreachable"
        site.steer("POST", "clusters/cluster-2/mend")


def test_manifests_in_git_are_the_ones_that_a_deploy_applies(site: Any) -> None:
    with site.clusters(1, 1):
        site.build("1", 1.0)
        site.run("plan", "--write", "manifests")
        files = sorted((site.folder / "manifests/all/cluster-1").glob("*.yaml"))
        written = [yaml.safe_load(file.read_text()) for file in files]
        kinds = [document["kind"] for document in written]
        assert kinds[-2:] == ["DaemonSet", "Kustomization"]
        site.run("deploy", "--poll", "0.5")
        wanted = next(d for d in written if d["kind"] == "DaemonSet")
        with client(site, "cluster-1") as others:
            found = others.get(DaemonSet, wanted["metadata"]["name"], namespace="edgectl-tiny")
        assert found.metadata.annotations.items() >= wanted["metadata"]["annotations"].items()


def test_what_another_field_manager_owns_stops_the_plan_and_is_named(site: Any) -> None:
    with site.clusters(1, 1):
        site.build("1", 1.0)
        site.run("deploy", "--poll", "0.5")
        patch = {"spec": {"ports": [{"port": 8080, "name": "http", "targetPort": 9999}]}}
        with client(site, "cluster-1") as others:
            others.patch(
                Service,
                "tiny",
                {"apiVersion": "v1", "kind": "Service", **patch},
                namespace="edgectl-tiny",
                patch_type=PatchType.APPLY,
                field_manager="another-team",
                force=True,
            )
        site.build("2", 2.0)
        done = site.attempt("plan")
        assert done.returncode == 1
        assert "another field manager owns it" in done.stderr
        assert '"another-team"' in done.stderr


def test_an_image_that_cannot_be_pulled_is_told_and_the_version_before_answers(
    site: Any,
) -> None:
    with site.clusters(1, 1):
        good = site.build("1", 1.0)
        site.run("deploy", "--poll", "0.5")
        site.build("2", 2.0)
        site.more = "progress_deadline_s: 10"
        site.write("2", 2.0)
        site.steer("POST", "pulls", cluster="cluster-1", word="/tiny@")
        said = site.run("deploy", "--poll", "0.5", code=6)
        assert "download-failed" in said
        site.steer("DELETE", "pulls")
        assert {r["digest"] for r in site.rows().values()} == {good}
        assert site.answers() == {(1, 1, 1, 1)}


def test_a_node_that_falls_silent_is_unreachable(site: Any, until: Until) -> None:
    site.more = "unreachable_after_s: 2"
    site.write()
    with site.clusters(1, 2):
        site.build("1", 1.0)
        site.run("deploy", "--poll", "0.5")
        site.steer("POST", "nodes/cluster-1/node-2/silence")
        until(lambda: site.rows()["cluster-1/node-2"]["state"] == "unreachable")
        assert site.rows()["cluster-1/node-1"]["state"] == "healthy"
        site.steer("POST", "nodes/cluster-1/node-2/wake")
        until(lambda: site.rows()["cluster-1/node-2"]["state"] == "healthy")


def test_a_training_beyond_the_quota_is_told_before_it_waits(site: Any) -> None:
    site.trainer, site.more = "gke", TRAINING
    site.write()
    with site.clusters(1, 1):
        site.env["TRAIN_IMAGE"] = site.info["images"]["library/python"]
        site.run("train")
        quota = {"metadata": {"name": "small"}, "spec": {"hard": {"requests.cpu": "100m"}}}
        with client(site, "cluster-1") as others:
            others.create(ResourceQuota.from_dict(quota), namespace="edgectl-tiny")
        done = site.attempt("train")
        assert done.returncode == 1
        assert "quota 'small' of cluster 'cluster-1' is exceeded" in done.stderr


def test_rights_that_are_missing_are_named_with_verb_and_resource(site: Any) -> None:
    with site.clusters(1, 1):
        site.build("1", 1.0)
        site.steer("POST", "denials", cluster="cluster-1", verb="patch", resource="nodes")
        done = site.attempt("doctor")
        assert "patch nodes" in done.stdout
        done = site.attempt("deploy", "--poll", "0.5")
        assert done.returncode == 1
        assert (
            "`patch` of `nodes` is not allowed in cluster 'cluster-1'" in done.stdout + done.stderr
        )
        site.steer("DELETE", "denials")
        assert "1 of 1 devices are healthy" in site.run("deploy", "--poll", "0.5")


def test_an_end_of_the_token_is_told(site: Any) -> None:
    with site.clusters(1, 1):
        site.build("1", 1.0)
        file = Path(site.info["kubeconfig"])
        config = yaml.safe_load(file.read_text())
        for user in config["users"]:
            user["user"]["token"] = "ended"
        other = site.folder / "ended"
        other.write_text(yaml.safe_dump(config))
        done = site.attempt("deploy", env={"GKE_KUBECONFIG": str(other)})
        assert done.returncode == 1
        assert "does not take the credentials" in done.stderr
        assert json.dumps("ended")[1:-1] not in done.stdout
