"""A cluster whose nodes are one process that a test may kill, and short words for what it does."""

from __future__ import annotations

import functools
import itertools
import re
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec

from edgectl.emulation.registry import RegistryServer
from edgectl_gke_edge.emulator.addresses import Block
from edgectl_gke_edge.emulator.images import push_image
from edgectl_gke_edge.emulator.kube.server import KubeServer
from edgectl_gke_edge.emulator.nodes.api import Access, path_of
from edgectl_gke_edge.emulator.nodes.cluster import READY_FILE, ClusterSettings
from edgectl_gke_edge.emulator.nodes.kubelet.backoff import BackOff
from edgectl_gke_edge.emulator.nodes.kubelet.registration import NodeSettings
from edgectl_gke_edge.emulator.nodes.kubelet.runtime import can_isolate, end_all
from edgectl_gke_edge.emulator.nodes.orders import Orders, write_orders

Obj = dict[str, Any]
NODES = ("n1", "n2")
WAIT_S = 15.0


@functools.cache
def why_no_containers() -> str:
    with tempfile.TemporaryDirectory() as folder:
        return can_isolate(Path(folder))


class NodeSite:
    """The cluster; ``begin`` gives each test a namespace and labels of its own."""

    def __init__(self, folder: Path, server: Any = None) -> None:
        self.folder = folder
        self.nodes_folder = folder / "nodes"
        self.registry = RegistryServer(folder / "registry", name="localhost").start()
        own = KubeServer(folder / "api", name="c1", version="v1.35.2")
        self.server: Any = (server or own).start()
        self.block = Block()
        self.process: subprocess.Popen[bytes] | None = None
        self.image = ""
        self.crowd = 0 if server is not None else 30
        self.namespace = ""
        self._number = itertools.count()
        (folder / "ca.pem").write_text(self.server.ca)
        self.http = httpx.Client(
            base_url=self.server.url,
            headers={"Authorization": f"Bearer {self.server.token}"},
            verify=ssl.create_default_context(cafile=str(folder / "ca.pem")),
            trust_env=False,
        )

    def start(self) -> None:
        digest = push_image(self.registry.host, "test/tool", "1", {})
        self.image = f"{self.registry.host}/test/tool@{digest}"
        settings = ClusterSettings(
            access=Access(
                server=self.server.url,
                token=self.server.token,
                ca_file=str(self.folder / "ca.pem"),
            ),
            folder=str(self.nodes_folder),
            nodes=tuple(NodeSettings(name=name, lease_s=2.0) for name in NODES),
            network=self.block.network,
            backoff=BackOff(first_s=0.2, most_s=1.0),
            node_grace_s=3.0,
            crowd=self.crowd,
            crowd_labels={"crowd": "yes"},
        )
        (self.folder / "nodes.json").write_bytes(msgspec.json.encode(settings))
        self.run_nodes()

    def run_nodes(self) -> None:
        (self.nodes_folder / READY_FILE).unlink(missing_ok=True)
        with (self.folder / "nodes.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "edgectl_gke_edge.emulator.nodes"),
                    str(self.folder / "nodes.json"),
                ],
                stdout=log,
                stderr=log,
            )
        self.until((self.nodes_folder / READY_FILE).exists, "the nodes are not ready")

    def kill_nodes(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
        end_all(self.nodes_folder)
        self.http.close()
        self.server.close()
        self.registry.stop()
        self.block.release()

    def begin(self, test: str) -> None:
        name = re.sub("[^a-z0-9]+", "-", test.lower())[:40].strip("-")
        self.namespace = f"t{next(self._number)}-{name}"[:60].strip("-")
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}
        self.call("POST", path_of("namespaces"), body)

    def end(self) -> None:
        self.order(Orders())
        for kind in ("deployments", "daemonsets", "replicasets", "jobs"):
            for obj in self.list(kind):
                self.delete(kind, obj["metadata"]["name"])
        for pod in self.list("pods"):
            self.delete("pods", pod["metadata"]["name"], gracePeriodSeconds=1)
        self.until(lambda: not self.list("pods"), "pods are left")

    def order(self, orders: Orders) -> None:
        write_orders(self.nodes_folder, orders)

    # -- the API

    def call(self, method: str, path: str, body: object = None, **params: Any) -> Obj:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        content = None if body is None else msgspec.json.encode(body)
        response = self.http.request(
            method, path, content=content, params=params, headers={"Content-Type": kind}
        )
        assert not response.is_error, (method, path, response.status_code, response.text)
        found: Obj = response.json()
        return found

    def create(self, kind: str, body: Obj) -> Obj:
        return self.call("POST", path_of(kind, self.namespace), body)

    def get(self, kind: str, name: str) -> Obj:
        return self.call("GET", path_of(kind, self.namespace, name))

    def find(self, kind: str, name: str) -> Obj | None:
        return next((o for o in self.list(kind) if o["metadata"]["name"] == name), None)

    def list(self, kind: str, **params: Any) -> list[Obj]:
        items: list[Obj] = self.call("GET", path_of(kind, self.namespace), **params)["items"]
        return items

    def patch(self, kind: str, name: str, body: Obj) -> Obj:
        return self.call("PATCH", path_of(kind, self.namespace, name), body)

    def delete(self, kind: str, name: str, **body: Any) -> None:
        path = path_of(kind, self.namespace, name)
        self.http.request("DELETE", path, content=msgspec.json.encode(body))

    def log(self, pod: str, **params: Any) -> str:
        path = path_of("pods", self.namespace, pod, "log")
        return self.http.get(path, params=params).text

    def events(self, reason: str) -> list[str]:
        return [e["message"] for e in self.list("events") if e["reason"] == reason]

    # -- pods

    def container(self, script: str, **more: Any) -> Obj:
        return {"name": "main", "image": self.image, "command": ["sh", "-c", script], **more}

    def spec(self, *containers: Obj, **more: Any) -> Obj:
        return {
            "terminationGracePeriodSeconds": 2,
            "containers": list(containers),
            **more,
        }

    def pod(self, name: str, spec: Obj, labels: dict[str, str] | None = None) -> Obj:
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": labels or {}},
            "spec": spec,
        }
        return self.create("pods", body)

    def once(self, name: str, script: str, **more: Any) -> Obj:
        """Run a script to its end in a pod; return the pod."""
        pod = more.pop("container", {})
        spec = self.spec(self.container(script, **pod), restartPolicy="Never", **more)
        self.pod(name, spec)
        return self.until_phase(name, "Succeeded", "Failed")

    def until(self, condition: Callable[[], Any], what: str, wait_s: float = WAIT_S) -> Any:
        deadline = time.monotonic() + wait_s
        while not (found := condition()):
            log = self.folder / "nodes.log"
            assert time.monotonic() < deadline, (what, log.read_text()[-3000:])
            time.sleep(0.05)
        return found

    def until_phase(self, name: str, *phases: str) -> Obj:
        def look() -> Obj | None:
            pod = self.get("pods", name)
            return pod if pod["status"].get("phase") in phases else None

        return self.until(look, f"pod {name} is in none of {phases}")

    def until_ready(self, name: str) -> Obj:
        def look() -> Obj | None:
            pod = self.get("pods", name)
            return pod if condition(pod, "Ready") == "True" else None

        return self.until(look, f"pod {name} is not ready")


def condition(obj: Obj, kind: str) -> str:
    found = [c for c in obj["status"].get("conditions", ()) if c["type"] == kind]
    return found[0]["status"] if found else ""


def state(pod: Obj, container: str = "main", *, init: bool = False) -> Obj:
    key = "initContainerStatuses" if init else "containerStatuses"
    nothing: Obj = {"state": {}, "restartCount": 0}
    return next((o for o in pod["status"].get(key, ()) if o["name"] == container), nothing)


def ended(pod: Obj, container: str = "main", *, init: bool = False) -> Obj:
    found: Obj = state(pod, container, init=init)["state"]["terminated"]
    return found
