"""The same nodes and controllers as clients of a real kube-apiserver, where one is given."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from node_support import NodeSite, ended, why_no_containers

from edgectl_gke_edge.emulator.kube.real import RealServer, find_programs

SERVERS, ETCD = find_programs()

pytestmark = pytest.mark.slow


@pytest.fixture(params=SERVERS or (None,), ids=lambda path: path.name if path else "none")
def real_site(request: pytest.FixtureRequest) -> Iterator[NodeSite]:
    if request.param is None or ETCD is None:
        pytest.skip("TEST_ASSET_KUBE_APISERVER and TEST_ASSET_ETCD are not set")
    if why_not := why_no_containers():
        pytest.skip(f"this machine runs no containers: {why_not}")
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as name:
        folder = Path(name)
        site = NodeSite(folder, RealServer(folder / "real", request.param, ETCD))
        try:
            site.start()
            site.begin("real")
            yield site
        finally:
            site.stop()


def workload(version: str, kind: str, name: str, spec: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}


def test_pods_run_and_workloads_come_and_go_with_their_namespace(real_site: NodeSite) -> None:
    site = real_site
    pod = site.once("p", "echo hi; echo said > /dev/termination-log")
    assert ended(pod)["message"] == "said\n"
    assert site.log("p") == "hi\n"
    forever = site.spec(site.container("sleep 600"))
    pods = {"selector": {"matchLabels": {"app": "x"}}}
    labels = {"metadata": {"labels": {"app": "x"}}}
    on_label = {**forever, "nodeSelector": {"site.test/on": "1"}}
    daemonset = {**pods, "template": {**labels, "spec": on_label}}
    site.create("daemonsets", workload("apps/v1", "DaemonSet", "d", daemonset))
    site.patch("nodes", "n1", {"metadata": {"labels": {"site.test/on": "1"}}})
    deployment = {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "y"}},
        "template": {"metadata": {"labels": {"app": "y"}}, "spec": forever},
    }
    site.create("deployments", workload("apps/v1", "Deployment", "w", deployment))
    once = {"spec": site.spec(site.container("true"), restartPolicy="Never")}
    job = {"template": once, "ttlSecondsAfterFinished": 1}
    site.create("jobs", workload("batch/v1", "Job", "j", job))

    def status(kind: str, name: str, key: str) -> int:
        return int(site.get(kind, name)["status"].get(key, 0))

    site.until(lambda: status("daemonsets", "d", "numberReady") == 1, "no DaemonSet's pod")
    site.until(lambda: status("deployments", "w", "availableReplicas") == 2, "no Deployment")
    site.until(lambda: site.find("jobs", "j") is None, "the Job stays")
    site.delete("deployments", "w", propagationPolicy="Foreground")
    site.until(lambda: len(site.list("pods")) == 2, "pods of the Deployment stay")
    site.until(lambda: site.find("deployments", "w") is None, "the Deployment stays")
    path = f"/api/v1/namespaces/{site.namespace}"
    site.call("DELETE", path)
    site.until(lambda: site.http.get(path).status_code == 404, "the namespace stays")
