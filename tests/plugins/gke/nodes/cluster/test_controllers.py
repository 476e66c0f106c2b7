"""The controllers over an API server: workloads come up, change, and go."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from node_support import NodeSite, Obj, condition

from edgectl_gke_edge.emulator.nodes.controllers.deployment import REVISION


def workload(kind: str, name: str, spec: Obj, version: str = "apps/v1") -> Obj:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}


def template(
    site: NodeSite, script: str = "sleep 600", *, probe: Obj | None = None, **more: Any
) -> Obj:
    probes = {} if probe is None else {"readinessProbe": probe}
    return {
        "metadata": {"labels": {"app": "x"}},
        "spec": site.spec(site.container(script, **probes), **more),
    }


def daemonset(site: NodeSite, script: str = "sleep 600", **more: Any) -> Obj:
    return workload(
        "DaemonSet",
        "d",
        {
            "selector": {"matchLabels": {"app": "x"}},
            "template": template(site, script, nodeSelector={"site.test/on": site.namespace}),
            **more,
        },
    )


def give(site: NodeSite, node: str, value: str | None) -> None:
    site.patch("nodes", node, {"metadata": {"labels": {"site.test/on": value}}})


def nodes_of(site: NodeSite) -> list[str]:
    return sorted(pod["spec"].get("nodeName", "") for pod in site.list("pods"))


def test_a_daemonset_follows_the_label_of_nodes(site: NodeSite) -> None:
    site.create("daemonsets", daemonset(site))
    give(site, "n1", site.namespace)
    give(site, "n2", site.namespace)
    site.until(lambda: site.get("daemonsets", "d")["status"].get("numberReady") == 2, "not ready")
    assert nodes_of(site) == ["n1", "n2"]
    give(site, "n2", None)
    site.until(lambda: nodes_of(site) == ["n1"], "the pod stays")
    status = site.get("daemonsets", "d")["status"]
    assert (status["desiredNumberScheduled"], status["numberMisscheduled"]) == (1, 0)


@pytest.mark.slow
def test_a_daemonset_with_surge_has_the_new_pod_ready_before_the_old_one_goes(
    site: NodeSite,
) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    site.create("daemonsets", daemonset(site, updateStrategy=strategy))
    give(site, "n1", site.namespace)
    site.until(lambda: site.get("daemonsets", "d")["status"].get("numberReady") == 1, "not ready")
    site.patch("daemonsets", "d", {"spec": {"template": template(site, "sleep 601")}})
    seen: set[int] = set()

    def is_done() -> bool:
        pods = site.list("pods")
        ready = sum(condition(p, "Ready") == "True" for p in pods)
        seen.add(ready)
        status = site.get("daemonsets", "d")["status"]
        new = [p for p in pods if p["spec"]["containers"][0]["command"][2] == "sleep 601"]
        return len(pods) == 1 and bool(new) and status["updatedNumberScheduled"] == 1

    site.until(is_done, "the update does not end")
    assert 0 not in seen


def deployment(site: NodeSite, script: str = "sleep 600", **more: Any) -> Obj:
    return workload(
        "Deployment",
        "w",
        {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "x"}},
            "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": template(site, script),
            **more,
        },
    )


def until_complete(site: NodeSite, script: str) -> None:
    def look() -> bool:
        status = site.get("deployments", "w")["status"]
        pods = [p for p in site.list("pods") if "deletionTimestamp" not in p["metadata"]]
        scripts = {p["spec"]["containers"][0]["command"][2] for p in pods}
        return status.get("availableReplicas") == 2 and scripts == {script} and len(pods) == 2

    site.until(look, f"not complete: {script}")


def test_a_deployment_keeps_its_pods_while_it_changes_and_goes_back_to_a_kept_revision(
    site: NodeSite,
) -> None:
    site.create("deployments", deployment(site))
    until_complete(site, "sleep 600")
    for script in ("sleep 601", "sleep 600"):
        site.patch("deployments", "w", {"spec": {"template": template(site, script)}})
        until_complete(site, script)
    sets = site.list("replicasets")
    assert len(sets) == 2
    revisions = {
        one["spec"]["template"]["spec"]["containers"][0]["command"][2]: one["metadata"][
            "annotations"
        ][REVISION]
        for one in sets
    }
    assert revisions == {"sleep 600": "3", "sleep 601": "2"}
    assert site.get("deployments", "w")["metadata"]["annotations"][REVISION] == "3"


@pytest.mark.slow
def test_a_deployment_whose_new_pods_do_not_come_up_says_so_and_keeps_the_old_ones(
    site: NodeSite,
) -> None:
    site.create("deployments", deployment(site, progressDeadlineSeconds=2))
    until_complete(site, "sleep 600")
    site.patch(
        "deployments",
        "w",
        {"spec": {"template": template(site, probe={"exec": {"command": ["false"]}})}},
    )

    def has_timed_out() -> bool:
        conditions = site.get("deployments", "w")["status"]["conditions"]
        return any(c["reason"] == "ProgressDeadlineExceeded" for c in conditions)

    site.until(has_timed_out, "it goes on waiting")
    assert site.get("deployments", "w")["status"]["availableReplicas"] == 2


def job(site: NodeSite, script: str, **more: Any) -> Obj:
    spec = {"template": template(site, script, restartPolicy="Never"), **more}
    return workload("Job", "j", spec, "batch/v1")


def test_a_job_that_ends_well_is_complete_and_removed_after_its_time(site: NodeSite) -> None:
    site.create("jobs", job(site, "true", ttlSecondsAfterFinished=1))

    def is_complete() -> bool:
        found = site.find("jobs", "j")
        return found is None or condition(found, "Complete") == "True"

    site.until(is_complete, "it does not end")
    site.until(lambda: site.find("jobs", "j") is None, "it stays")
    site.until(lambda: not site.list("pods"), "its pods stay")


@pytest.mark.slow
def test_a_job_is_tried_again_so_often_and_then_failed(site: NodeSite) -> None:
    site.create("jobs", job(site, "exit 1", backoffLimit=1))
    site.until(lambda: condition(site.get("jobs", "j"), "Failed") == "True", "it goes on")
    found = site.get("jobs", "j")
    reasons = {c["type"]: c.get("reason") for c in found["status"]["conditions"]}
    assert reasons["Failed"] == "BackoffLimitExceeded"
    assert found["status"]["failed"] == 2


def said(address: str, port: int) -> bytes:
    """Return what somebody says to whoever connects; nothing where nobody is."""
    try:
        with socket.create_connection((address, port), timeout=5) as connection:
            return connection.recv(100)
    except OSError:
        return b""


@pytest.mark.slow
def test_a_service_leads_to_ready_pods_of_the_node_that_is_asked(site: NodeSite) -> None:
    port = 8300
    script = (
        "exec python3 -c 'import socketserver as s, os\n"
        "class H(s.BaseRequestHandler):\n"
        '    def handle(self): self.request.sendall(os.environ["HOSTNAME"].encode())\n'
        's.ThreadingTCPServer((os.environ["IP"], 8080), H).serve_forever()\''
    )
    env = [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    main = site.container(
        script, env=env, readinessProbe={"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    )
    site.pod("p", site.spec(main, nodeName="n1"), {"app": "served"})
    service = {
        "selector": {"app": "served"},
        "ports": [{"port": port, "targetPort": 8080}],
        "internalTrafficPolicy": "Local",
    }
    site.create("services", workload("Service", "s", service, "v1"))
    address = site.until_ready("p")["status"]["podIP"]

    def endpoints() -> list[Obj]:
        return [e for s in site.list("endpointslices") for e in s.get("endpoints") or ()]

    site.until(lambda: [e["conditions"]["ready"] for e in endpoints()] == [True], "no endpoint")
    assert endpoints()[0]["addresses"] == [address]

    site.until(lambda: said(f"{site.block.network}.1.1", port) == b"p", "it does not answer")
    assert said(f"{site.block.network}.2.1", port) == b""
    site.delete("services", "s")


@pytest.mark.slow
def test_a_pod_that_fits_nowhere_waits_and_says_why(site: NodeSite) -> None:
    resources = {"resources": {"requests": {"cpu": "1000"}}}
    site.pod("p", site.spec(site.container("true", **resources)))

    def why() -> str:
        conditions = site.get("pods", "p")["status"].get("conditions", ())
        return next((c["message"] for c in conditions if c["type"] == "PodScheduled"), "")

    assert "Insufficient cpu" in site.until(why, "nothing is told")


@pytest.mark.slow
def test_pods_whose_owner_is_gone_go_too(site: NodeSite) -> None:
    site.create("deployments", deployment(site))
    until_complete(site, "sleep 600")
    site.delete("deployments", "w", propagationPolicy="Background")
    site.until(lambda: not site.list("pods"), "pods are left")
    assert not site.list("replicasets")


@pytest.mark.slow
def test_a_crowd_pretends_that_its_pods_run_and_leave_a_report(site: NodeSite) -> None:
    spec = template(site, nodeSelector={"crowd": "yes"})
    spec["spec"]["initContainers"] = [site.container("true") | {"name": "prepare"}]
    spec["metadata"]["labels"] |= {"edgectl.dev/release": "4"}
    body = {"selector": {"matchLabels": {"app": "x"}}, "template": spec}
    site.create("daemonsets", workload("DaemonSet", "d", body))
    site.until(lambda: site.get("daemonsets", "d")["status"].get("numberReady") == 30, "not ready")
    told = site.list("pods")[0]["status"]["initContainerStatuses"][0]["state"]["terminated"]
    assert '"release": 4' in told["message"]
