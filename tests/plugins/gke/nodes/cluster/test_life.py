"""Probes, ends, restarts of the node, and nodes that fall silent."""

from __future__ import annotations

import httpx
import pytest
from node_support import NODES, NodeSite, condition, ended, state

from edgectl_gke_edge.emulator.images import push_image
from edgectl_gke_edge.emulator.nodes.orders import Orders

SERVE = """
exec python3 -c '
import http.server, os
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if not os.path.exists("/v/bad") else 500)
        self.end_headers()
        self.wfile.write(os.environ["HOSTNAME"].encode())
    def log_message(self, *a): pass
http.server.HTTPServer((os.environ["IP"], 8080), H).serve_forever()'
"""
IP = {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
PROBE = {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1}


def server(site: NodeSite, **more: object) -> dict[str, object]:
    return site.container(
        SERVE,
        env=[IP],
        ports=[{"name": "http", "containerPort": 8080}],
        volumeMounts=[{"name": "v", "mountPath": "/v"}],
        **more,
    )


VOLUMES = [{"name": "v", "emptyDir": {}}]


def test_two_pods_answer_on_the_same_port_at_their_own_addresses(site: NodeSite) -> None:
    for name in ("a", "b"):
        site.pod(name, site.spec(server(site, readinessProbe=PROBE), volumes=VOLUMES))
    addresses = [site.until_ready(name)["status"]["podIP"] for name in ("a", "b")]
    assert len(set(addresses)) == 2
    assert [httpx.get(f"http://{ip}:8080/").text for ip in addresses] == ["a", "b"]


@pytest.mark.slow
def test_a_pod_that_fails_its_readiness_probe_takes_no_traffic_and_comes_back(
    site: NodeSite,
) -> None:
    probe = {"exec": {"command": ["sh", "-c", "test ! -e /v/bad"]}, "periodSeconds": 1}
    probe |= {"failureThreshold": 1}
    main = site.container(
        "touch /v/bad; sleep 2; rm /v/bad; sleep 600",
        readinessProbe=probe,
        volumeMounts=[{"name": "v", "mountPath": "/v"}],
    )
    site.pod("p", site.spec(main, volumes=VOLUMES))
    site.until(lambda: site.events("Unhealthy"), "the probe says nothing")
    assert condition(site.get("pods", "p"), "Ready") == "False"
    site.until_ready("p")


@pytest.mark.slow
def test_a_container_that_fails_its_liveness_probe_is_started_again(site: NodeSite) -> None:
    probe = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}
    site.pod("p", site.spec(site.container("exec sleep 600", livenessProbe=probe)))
    site.until(lambda: state(site.get("pods", "p"))["restartCount"] > 0, "it is not started again")
    assert any("failed liveness probe" in text for text in site.events("Killing"))


@pytest.mark.slow
def test_a_pod_that_is_deleted_ends_by_its_hook_and_its_own_end_before_it_is_gone(
    site: NodeSite,
) -> None:
    mounts = {"volumeMounts": [{"name": "h", "mountPath": "/h"}]}
    script = (
        "trap 'echo term >> /h/said; exit 0' TERM; echo up > /h/said; while :; do sleep 0.1; done"
    )
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "echo hook >> /h/said"]}}}
    volumes = [{"name": "h", "hostPath": {"path": "/data", "type": "DirectoryOrCreate"}}]
    site.pod("p", site.spec(site.container(script, lifecycle=hook, **mounts), volumes=volumes))
    node = site.until_ready("p")["spec"]["nodeName"]
    said = site.nodes_folder / node / "host/data/said"
    site.until(lambda: said.exists() and said.read_text() == "up\n", "it does not begin")
    site.delete("pods", "p")
    site.until(lambda: site.find("pods", "p") is None, "it stays")
    assert said.read_text() == "up\nhook\nterm\n"


def test_containers_live_through_a_kill_of_the_node_and_what_ended_meanwhile_is_told(
    site: NodeSite,
) -> None:
    site.pod("stays", site.spec(server(site, readinessProbe=PROBE), volumes=VOLUMES))
    mount = {"volumeMounts": [{"name": "h", "mountPath": "/h"}]}
    ends = site.container("while [ ! -e /h/go ]; do sleep 0.1; done; exit 4", **mount)
    volumes = [{"name": "h", "hostPath": {"path": "/ends", "type": "DirectoryOrCreate"}}]
    site.pod("ends", site.spec(ends, restartPolicy="Never", volumes=volumes))
    stays = site.until_ready("stays")
    node = site.until_phase("ends", "Running")["spec"]["nodeName"]
    site.kill_nodes()
    (site.nodes_folder / node / "host/ends/go").touch()
    address = stays["status"]["podIP"]
    site.until(
        lambda: httpx.get(f"http://{address}:8080/").text == "stays", "it ended with its node"
    )
    site.run_nodes()
    assert ended(site.until_phase("ends", "Failed"))["exitCode"] == 4
    now = site.until_ready("stays")
    assert state(now)["containerID"] == state(stays)["containerID"]
    assert state(now)["restartCount"] == 0
    assert now["status"]["podIP"] == address


@pytest.mark.slow
def test_a_pod_that_was_deleted_while_its_node_was_down_is_ended_by_it_later(
    site: NodeSite,
) -> None:
    site.pod("p", site.spec(server(site), volumes=VOLUMES))
    address = site.until_ready("p")["status"]["podIP"]
    site.kill_nodes()
    site.delete("pods", "p", gracePeriodSeconds=0)
    site.run_nodes()

    def is_silent() -> bool:
        try:
            httpx.get(f"http://{address}:8080/")
        except httpx.HTTPError:
            return True
        return False

    site.until(is_silent, "its container runs on")


@pytest.mark.slow
def test_a_node_that_falls_silent_is_not_ready_and_its_pods_take_no_traffic(
    site: NodeSite,
) -> None:
    site.pod("p", site.spec(server(site), volumes=VOLUMES))
    node = site.until_ready("p")["spec"]["nodeName"]
    site.order(Orders(silent=(node,)))
    site.until(lambda: condition(site.get("nodes", node), "Ready") == "Unknown", "it is well")
    site.until(lambda: condition(site.get("pods", "p"), "Ready") == "False", "the pod is ready")
    taints = {taint["key"] for taint in site.get("nodes", node)["spec"]["taints"]}
    assert "node.kubernetes.io/unreachable" in taints
    site.order(Orders())
    site.until_ready("p")
    site.until(lambda: not site.get("nodes", node)["spec"].get("taints"), "it stays tainted")


@pytest.mark.slow
def test_a_node_that_is_told_to_pull_nothing_says_so_and_pulls_when_it_may(
    site: NodeSite,
) -> None:
    digest = push_image(site.registry.host, "test/unpulled", "1", {"more": "json.tool"})
    site.order(Orders(no_pulls={"*": ("test/unpulled",)}))
    image = {"image": f"{site.registry.host}/test/unpulled@{digest}"}
    site.pod("p", site.spec(site.container("sleep 600") | image))

    def waits() -> bool:
        waiting = state(site.get("pods", "p"))["state"].get("waiting", {})
        return waiting.get("reason") in ("ErrImagePull", "ImagePullBackOff")

    site.until(waits, "it is pulled")
    site.order(Orders())
    site.until_ready("p")
    assert site.get("pods", "p")["spec"]["nodeName"] in NODES
