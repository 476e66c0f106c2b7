"""What our server does beyond a bare kube-apiserver: collection, restarts, faults, nodes."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from lightkube import Client
from lightkube.core.exceptions import ApiError
from lightkube.models.core_v1 import Container, ContainerPort, PodSpec, ResourceQuotaSpec
from lightkube.models.meta_v1 import ObjectMeta, OwnerReference
from lightkube.resources.core_v1 import ConfigMap, Namespace, Node, Pod, ResourceQuota
from lightkube.types import CascadeType

from edgectl_gke_edge.emulator.kube.certificates import Authority
from edgectl_gke_edge.emulator.kube.server import KubeServer

WAIT_S = 20.0


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.01)


def gone(client: Client, kind: Any, name: str, namespace: str | None = None) -> bool:
    try:
        client.get(kind, name, namespace=namespace) if namespace else client.get(kind, name)
    except ApiError as exc:
        return exc.status.code == 404
    return False


def owned(name: str, namespace: str, owner: ConfigMap) -> ConfigMap:
    assert owner.metadata is not None
    reference = OwnerReference(
        apiVersion="v1",
        kind="ConfigMap",
        name=owner.metadata.name or "",
        uid=owner.metadata.uid or "",
    )
    metadata = ObjectMeta(name=name, namespace=namespace, ownerReferences=[reference])
    return ConfigMap(metadata=metadata)


def made(client: Client, name: str, namespace: str, **more: Any) -> ConfigMap:
    return client.create(ConfigMap(metadata=ObjectMeta(name=name, namespace=namespace, **more)))


@pytest.fixture
def collecting(server: Any) -> None:
    if not server.collects:
        pytest.skip("no kube-controller-manager lies beside the real API server")


# Collection


@pytest.mark.usefixtures("collecting")
@pytest.mark.parametrize("how", [CascadeType.BACKGROUND, CascadeType.FOREGROUND])
def test_what_an_object_owns_goes_with_it(client: Client, namespace: str, how: CascadeType) -> None:
    owner = made(client, "owner", namespace)
    client.create(owned("owned", namespace, owner))
    client.delete(ConfigMap, "owner", namespace=namespace, cascade=how)
    until(lambda: gone(client, ConfigMap, "owned", namespace))
    until(lambda: gone(client, ConfigMap, "owner", namespace))


@pytest.mark.usefixtures("collecting")
def test_orphans_stay_without_their_owner(client: Client, namespace: str) -> None:
    owner = made(client, "owner", namespace)
    client.create(owned("owned", namespace, owner))
    client.delete(ConfigMap, "owner", namespace=namespace, cascade=CascadeType.ORPHAN)
    until(lambda: gone(client, ConfigMap, "owner", namespace))
    left = client.get(ConfigMap, "owned", namespace=namespace)
    assert left.metadata is not None
    assert not left.metadata.ownerReferences


@pytest.mark.usefixtures("collecting")
def test_an_object_whose_owner_never_was_is_collected(client: Client, namespace: str) -> None:
    never = ConfigMap(metadata=ObjectMeta(name="never", uid="11111111-2222"))
    client.create(owned("owned", namespace, never))
    until(lambda: gone(client, ConfigMap, "owned", namespace))


@pytest.mark.usefixtures("collecting")
def test_a_namespace_is_emptied_and_goes_and_takes_nothing_new_meanwhile(
    client: Client, namespace: str
) -> None:
    made(client, "kept", namespace, finalizers=["example.com/keep"])
    client.delete(Namespace, namespace)
    with pytest.raises(ApiError, match="because it is being terminated"):
        made(client, "late", namespace)
    patch = {"metadata": {"finalizers": None}}
    client.patch(ConfigMap, "kept", patch, namespace=namespace)
    until(lambda: gone(client, Namespace, namespace))


def test_a_quota_counts_what_goes_as_well(own_client: Client, own_namespace: str) -> None:
    quota = ResourceQuota(
        metadata=ObjectMeta(name="q", namespace=own_namespace),
        spec=ResourceQuotaSpec(hard={"configmaps": "2"}),
    )
    own_client.create(quota)
    made(own_client, "one", own_namespace)
    with pytest.raises(ApiError, match="exceeded quota: q, requested: configmaps=1"):
        made(own_client, "two", own_namespace)
    own_client.delete(ConfigMap, "one", namespace=own_namespace)
    made(own_client, "two", own_namespace)


# The server itself


def test_everything_is_there_after_a_restart(
    tmp_path: Path, connect: Callable[[str], Client]
) -> None:
    with KubeServer(tmp_path) as first:
        text = first.kubeconfig()
        before = made(connect(text), "one", "default")
    with KubeServer(tmp_path) as second:
        after = connect(text).get(ConfigMap, "one", namespace="default")
        assert second.kubeconfig() == text
        changed = connect(text).patch(ConfigMap, "one", {"data": {"a": "b"}}, namespace="default")
    assert after == before
    assert before.metadata is not None
    assert changed.metadata is not None
    assert int(changed.metadata.resourceVersion or 0) > int(before.metadata.resourceVersion or 0)


def test_a_cluster_that_is_cut_off_answers_nobody_until_it_is_mended(
    tmp_path: Path, connect: Callable[[str], Client]
) -> None:
    with KubeServer(tmp_path) as server:
        client = connect(server.kubeconfig())
        list(client.list(Namespace))
        server.cut()
        with pytest.raises(httpx2.HTTPError):
            list(client.list(Namespace))
        server.mend()
        assert list(client.list(Namespace))


def test_a_server_stops_while_somebody_watches(
    tmp_path: Path, connect: Callable[[str], Client]
) -> None:
    server = KubeServer(tmp_path).start()
    client = connect(server.kubeconfig())
    watch = iter(client.watch(Namespace))
    next(watch)
    server.close()
    with pytest.raises(httpx2.HTTPError):
        list(watch)


def test_an_overloaded_server_says_when_to_come_again(own: KubeServer, own_client: Client) -> None:
    own.faults.overloaded = 1
    with pytest.raises(ApiError) as refused:
        list(own_client.list(Namespace))
    assert refused.value.status.code == 429
    assert list(own_client.list(Namespace))


def test_discovery_names_what_is_served(own: KubeServer) -> None:
    with api(own) as client:
        listed = client.get("/apis/apps/v1").json()
        groups = client.get("/apis").json()["groups"]
        version = client.get("/version").json()
    names = {r["name"] for r in listed["resources"]}
    assert {"daemonsets", "daemonsets/status", "deployments/scale"} <= names
    assert "apps" in {g["name"] for g in groups}
    assert version["gitVersion"].startswith("v1.")


def api(server: KubeServer) -> httpx.Client:
    context = ssl.create_default_context(cadata=server.ca)
    headers = {"Authorization": f"Bearer {server.token}"}
    return httpx.Client(base_url=server.url, verify=context, headers=headers, timeout=30)


# The way to nodes


class Kubelet(BaseHTTPRequestHandler):
    """A node and a pod in one: answers with what it was asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer(b"")

    def do_POST(self) -> None:
        self.answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def answer(self, body: bytes) -> None:
        told = {"path": self.path, "body": body.decode(), "token": "Authorization" in self.headers}
        data = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: Any) -> None:
        del arguments


@pytest.fixture
def kubelet(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """Start a kubelet with TLS and a pod without; return both ports."""
    pair = Authority(tmp_path / "pki", "node").server(["127.0.0.1"])
    (tmp_path / "crt").write_text(pair.certificate)
    (tmp_path / "key").write_text(pair.key)
    secure, plain = (ThreadingHTTPServer(("127.0.0.1", 0), Kubelet) for _ in range(2))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    secure.socket = context.wrap_socket(secure.socket, server_side=True)
    for server in (secure, plain):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield secure.server_port, plain.server_port
    for server in (secure, plain):
        server.shutdown()
        server.server_close()


@pytest.fixture
def pod(own_client: Client, own_namespace: str, kubelet: tuple[int, int]) -> Pod:
    """A pod that runs on a node."""
    own_client.apply(Node(metadata=ObjectMeta(name="node-1")))
    status = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet[0]}},
    }
    own_client.patch(Node.Status, "node-1", {"status": status})
    spec = PodSpec(
        nodeName="node-1",
        containers=[
            Container(name="main", image="i:1", ports=[ContainerPort(containerPort=kubelet[1])])
        ],
    )
    own_client.create(Pod(metadata=ObjectMeta(name="p", namespace=own_namespace), spec=spec))
    patch = {"status": {"podIP": "127.0.0.1", "phase": "Running"}}
    return own_client.patch(Pod.Status, "p", patch, namespace=own_namespace)


def test_a_log_comes_from_the_nodes_kubelet(
    own_client: Client, own_namespace: str, pod: Pod
) -> None:
    del pod
    log = "".join(own_client.log("p", namespace=own_namespace, tail_lines=5))
    told = json.loads(log)
    path, _, query = told["path"].partition("?")
    assert path == f"/containerLogs/{own_namespace}/p/main"
    assert "tailLines=5" in query.split("&")


def test_a_request_goes_through_to_a_pods_port_without_the_callers_token(
    own: KubeServer, own_namespace: str, pod: Pod
) -> None:
    del pod
    with api(own) as client:
        path = f"/api/v1/namespaces/{own_namespace}/pods/p/proxy/v2/status?full=1"
        answer = client.post(path, content=b"hello")
    assert answer.json() == {"path": "/v2/status?full=1", "body": "hello", "token": False}


def test_a_pod_on_a_silent_node_is_unavailable(
    own: KubeServer, own_client: Client, own_namespace: str, pod: Pod
) -> None:
    del pod
    status = {"daemonEndpoints": {"kubeletEndpoint": {"Port": 1}}}
    own_client.patch(Node.Status, "node-1", {"status": status})
    with pytest.raises(ApiError) as refused:
        list(own_client.log("p", namespace=own_namespace))
    assert refused.value.status.code == 503


def test_a_pod_on_a_node_ends_when_its_kubelet_says_so(
    own_client: Client, own_namespace: str, pod: Pod
) -> None:
    del pod
    own_client.delete(Pod, "p", namespace=own_namespace, grace_period=7)
    ending = own_client.get(Pod, "p", namespace=own_namespace)
    assert ending.metadata is not None
    assert ending.metadata.deletionGracePeriodSeconds == 7
    own_client.delete(Pod, "p", namespace=own_namespace, grace_period=0)
    assert gone(own_client, Pod, "p", own_namespace)
