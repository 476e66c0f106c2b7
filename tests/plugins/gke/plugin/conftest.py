"""Two clusters and a registry in this process, and kubelets that do what a test says, at once.

API servers and registry are real servers of the emulator: lightkube speaks TLS to them and is
refused as anywhere. What a DaemonSet's controller and a kubelet would do is done by ``act``: pods
are made for labelled nodes, and their status says what the test wants.
"""

from __future__ import annotations

import datetime as dt
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from lightkube import ApiError, Client, KubeConfig
from lightkube.resources.apps_v1 import DaemonSet, Deployment
from lightkube.resources.core_v1 import Node, NodeStatus, Pod, PodStatus
from lightkube.types import PatchType

from edgectl import api
from edgectl.api import DeviceReport, Provider, State
from edgectl.emulation.registry import RegistryServer
from edgectl.package.keys import SigningKey, ensure_key
from edgectl_gke_edge import names
from edgectl_gke_edge._sdk import wire
from edgectl_gke_edge._sdk.account import close_accounts
from edgectl_gke_edge.emulator.kube.server import KubeServer

CLUSTERS = ("lot-1", "lot-2")
RUNTIME_DIGEST = "sha256:" + "b" * 64
RESTRICTED_IMAGE = "registry.invalid/edge-runtime@" + RUNTIME_DIGEST


def stamp(ago_s: float = 0.0) -> str:
    """Return a time as Kubernetes writes it."""
    then = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=ago_s)
    return then.strftime("%Y-%m-%dT%H:%M:%SZ")


class Site:
    """The clusters, with nodes and what their kubelets do.

    Attributes:
        fails: What becomes of a release's pods, release number to a report of ``prepare``.
        stuck: Releases whose pods wait for their image.
        quiet: Whether nothing happens on nodes for now.
    """

    def __init__(self, folder: Path) -> None:
        self.servers = {name: KubeServer(folder / name, name=name).start() for name in CLUSTERS}
        self.registry = RegistryServer(folder / "registry").start()
        self.clients = {
            name: Client(config=KubeConfig.from_dict(yaml.safe_load(server.kubeconfig())))
            for name, server in self.servers.items()
        }
        self.kubeconfig = folder / "kubeconfig"
        self.write_kubeconfig(self.kubeconfig)
        self.fails: dict[int, DeviceReport] = {}
        self.stuck: set[int] = set()
        self.quiet = False

    def write_kubeconfig(self, path: Path, tokens: dict[str, str] | None = None) -> None:
        merged: dict[str, Any] = {"clusters": [], "users": [], "contexts": []}
        for name, server in self.servers.items():
            one = yaml.safe_load(server.kubeconfig(token=(tokens or {}).get(name)))
            user = f"{name}-user"
            merged["clusters"].append({"name": name, "cluster": one["clusters"][0]["cluster"]})
            merged["users"].append({"name": user, "user": one["users"][0]["user"]})
            merged["contexts"].append({"name": name, "context": {"cluster": name, "user": user}})
        path.write_text(yaml.safe_dump(merged))

    def add_node(self, cluster: str, name: str, labels: dict[str, str]) -> None:
        node = Node.from_dict({"metadata": {"name": name, "labels": labels}})
        client = self.clients[cluster]
        client.create(node)
        self.set_ready(cluster, name, ready=True)

    def set_ready(self, cluster: str, name: str, *, ready: bool, ago_s: float = 3600) -> None:
        condition = {
            "type": "Ready",
            "status": "True" if ready else "Unknown",
            "reason": "KubeletReady" if ready else "NodeStatusUnknown",
            "lastTransitionTime": stamp(ago_s),
            "lastHeartbeatTime": stamp(),
        }
        status = {
            "conditions": [condition],
            "nodeInfo": {"architecture": "amd64"},
            "capacity": {"cpu": "4", "memory": "8Gi"},
        }

        self.clients[cluster].patch(
            NodeStatus, name, {"status": status}, patch_type=PatchType.MERGE
        )

    def act(self, application: str) -> None:
        """Do once what controllers and kubelets would do for an application."""
        if self.quiet:
            return
        for name, client in self.clients.items():
            if name in {n for n, server in self.servers.items() if server._connections.cut_off}:
                continue
            self._act(client, names.namespace_of(application, None), application)

    def _act(self, client: Client, namespace: str, application: str) -> None:
        nodes = list(client.list(Node))
        for deployment in client.list(Deployment, namespace=namespace):
            for number in range(deployment.spec.replicas):
                self._pod(client, namespace, deployment, f"{deployment.metadata.name}-{number}", "")
        sets = list(client.list(DaemonSet, namespace=namespace))
        wanted = set()
        for one in sets:
            selector = one.spec.template.spec.nodeSelector
            for node in nodes:
                labels = node.metadata.labels or {}
                if all(labels.get(k) == v for k, v in selector.items()):
                    pod = f"{one.metadata.name}-{node.metadata.name}"
                    wanted.add(pod)
                    self._pod(client, namespace, one, pod, node.metadata.name)
        for pod in client.list(Pod, namespace=namespace):
            if pod.spec.nodeName and pod.metadata.name not in wanted:
                client.delete(Pod, pod.metadata.name, namespace=namespace, grace_period=0)

    def _pod(self, client: Client, namespace: str, owner: Any, name: str, node: str) -> None:
        template = owner.spec.template
        release = int(template.metadata.labels[names.RELEASE])
        document = {
            "metadata": {
                "name": f"{name}-{release}",
                "namespace": namespace,
                "labels": template.metadata.labels,
                "annotations": template.metadata.annotations,
            },
            "spec": {**template.spec.to_dict(), **({"nodeName": node} if node else {})},
        }
        document["metadata"]["name"] = name if node else f"{name}-r{release}"
        try:
            client.create(Pod.from_dict(document))
        except ApiError as exc:
            if exc.status.code != 409:
                raise
            return
        status = PodStatus.from_dict(
            {"metadata": {"name": document["metadata"]["name"]}, "status": self.status(release)}
        )
        client.patch(
            PodStatus,
            document["metadata"]["name"],
            {"status": status.to_dict()["status"]},
            namespace=namespace,
            patch_type=PatchType.MERGE,
        )

    def status(self, release: int) -> dict[str, Any]:
        """Return the status of a release's pod."""
        if release in self.stuck:
            waiting = {"reason": "ImagePullBackOff", "message": "Back-off pulling: not found"}
            return {
                "phase": "Pending",
                "initContainerStatuses": [container("prepare", {"waiting": waiting})],
            }
        failure = self.fails.get(release)
        report = failure or DeviceReport(release=release, state=State.VERIFYING, variant="fp32")
        ended = {
            "exitCode": 10 if failure else 0,
            "reason": "Error" if failure else "Completed",
            "message": msgspec.json.encode(report).decode(),
            "finishedAt": stamp(),
            "startedAt": stamp(),
        }
        if failure:
            waiting = {"reason": "CrashLoopBackOff", "message": "back-off 10s"}
            state = {"waiting": waiting}
            last = {"terminated": ended}
            return {
                "phase": "Pending",
                "initContainerStatuses": [container("prepare", state, last, restarts=1)],
            }
        return {
            "phase": "Running",
            "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": stamp(3600)},
            ],
            "initContainerStatuses": [container("prepare", {"terminated": ended})],
            "containerStatuses": [
                container("runtime", {"running": {"startedAt": stamp()}}, ready=True)
            ],
        }

    def close(self) -> None:
        for client in self.clients.values():
            client.close()
        for server in self.servers.values():
            server.close()
        self.registry.stop()


def container(
    name: str,
    state: dict[str, Any],
    last: dict[str, Any] | None = None,
    *,
    ready: bool = False,
    restarts: int = 0,
) -> dict[str, Any]:
    """Return a container's status."""
    return {
        "name": name,
        "image": "x",
        "imageID": "",
        "ready": ready,
        "restartCount": restarts,
        "state": state,
        "lastState": last or {},
    }


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two clusters for all tests; each makes nodes of its own in them."""
    made = Site(tmp_path_factory.mktemp("clusters"))
    yield made
    made.close()


@pytest.fixture(autouse=True)
def healthy(site: Site) -> Iterator[None]:
    """Whatever a test breaks is whole again after it."""
    yield
    close_accounts()
    site.fails.clear()
    site.stuck.clear()
    site.quiet = False
    for server in site.servers.values():
        server.mend()
        server.allow_again()
        server.faults.overloaded = server.faults.failing = 0


@pytest.fixture
def unique() -> str:
    """A word that no other test uses."""
    return secrets.token_hex(4)


class Requests(Counter[tuple[str, str]]):
    """What was asked of API servers: (method, path) to times."""

    def writes(self) -> list[tuple[str, str]]:
        return sorted(key for key in self if key[0] not in {"GET", "HEAD"})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Requests:
    """Count what the plugin asks of API servers."""
    found = Requests()
    send = wire.Wire.handle_request

    def counting(self: wire.Wire, request: Any) -> Any:
        found[request.method, request.url.path] += 1
        return send(self, request)

    monkeypatch.setattr(wire.Wire, "handle_request", counting)
    return found


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SigningKey:
    """The publisher's key; its public half lies where the settings say."""
    made = ensure_key(tmp_path / "publisher.pem")
    monkeypatch.setenv("EDGECTL_SIGNING_KEY", str(tmp_path / "publisher.pem"))
    return made


@pytest.fixture
def open_plugin(site: Site, tmp_path: Path, key: SigningKey) -> Callable[..., Provider]:
    """Open the provider by name, as the command line does, with other settings than the usual."""
    del key

    def opened(**config: Any) -> Provider:
        context = api.ProviderContext(
            project_dir=tmp_path, state_dir=tmp_path / ".edgectl", progress=lambda _: None
        )
        settings = {
            "registry": f"{site.registry.host}/edge",
            "kubeconfig": str(site.kubeconfig),
            "publisher_key": "publisher.pub",
            "runtime": {"image": RESTRICTED_IMAGE},
            "collector": {"files": "telemetry/*.json"},
            **config,
        }
        return api.open_provider("gke", settings, context)

    return opened


@pytest.fixture
def provider(open_plugin: Callable[..., Provider]) -> Provider:
    """The provider as it is usually opened."""
    return open_plugin()


@pytest.fixture
def target(site: Site, unique: str) -> Iterator[api.Target]:
    """Three nodes in two clusters."""
    label = f"kit-{unique}"
    placed = [("lot-1", f"a-{unique}"), ("lot-1", f"b-{unique}"), ("lot-2", f"a-{unique}")]
    for cluster, node in placed:
        site.add_node(cluster, node, {"fleet": label})
    yield api.Target(
        name=label,
        provider="gke",
        selector={"nodes": {"fleet": label}},
        hardware="x86-64-cpu",
    )
    for server in site.servers.values():
        server.mend()
    for cluster, node in placed:
        site.clients[cluster].delete(Node, node)
