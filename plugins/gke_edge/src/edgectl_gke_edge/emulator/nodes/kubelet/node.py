"""One virtual node: it registers, keeps its lease, and runs the pods that are bound to it."""

from __future__ import annotations

import asyncio
import logging
import platform
import shutil
from collections.abc import Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from edgectl_gke_edge.emulator.nodes.api import Api, ApiError, Obj, path_of
from edgectl_gke_edge.emulator.nodes.informer import Informer, key_of
from edgectl_gke_edge.emulator.nodes.kubelet.backoff import BackOff
from edgectl_gke_edge.emulator.nodes.kubelet.environment import decoded
from edgectl_gke_edge.emulator.nodes.kubelet.events import Events
from edgectl_gke_edge.emulator.nodes.kubelet.images import Image, ImageStore, Logins, PullError
from edgectl_gke_edge.emulator.nodes.kubelet.network import Addresses, NodeNetwork
from edgectl_gke_edge.emulator.nodes.kubelet.registration import (
    NodeSettings,
    lease,
    node_document,
    node_status,
)
from edgectl_gke_edge.emulator.nodes.kubelet.runtime import end_all
from edgectl_gke_edge.emulator.nodes.kubelet.worker import Worker
from edgectl_gke_edge.emulator.nodes.podfacts import is_going, is_over

_LOG = logging.getLogger(__name__)
_LEASES = "kube-node-lease"
_AGAIN_S = 1.0


class Node:
    """A virtual node.

    Args:
        api: The API server.
        pods: The pods of its cluster, or of itself alone.
        settings: What it says of itself.
        folder: Its own folder: images, pods, its disk.
        network: Its addresses.
        backoff: How long it waits before it tries again.
    """

    def __init__(
        self,
        api: Api,
        pods: Informer,
        settings: NodeSettings,
        folder: Path,
        *,
        network: NodeNetwork,
        backoff: BackOff | None = None,
    ) -> None:
        self.settings = settings
        self.folder = folder
        self.disk = folder / "host"
        self.ip = network.node_ip
        self.backoff = backoff or BackOff()
        self.images = ImageStore(folder / "images")
        self.kubelet_port = 0
        self.registered = asyncio.Event()
        self.heartbeat = asyncio.Event()
        self.heartbeat.set()
        self.no_pulls: set[str] = set()
        self._api = api
        self._pods = pods
        self._addresses = Addresses(network)
        self._events = Events(api, "kubelet", settings.name)
        self._workers: dict[str, Worker] = {}
        self._keyed: dict[tuple[str, str, str], Mapping[str, str]] = {}
        self._work: set[asyncio.Task[None]] = set()
        self.disk.mkdir(parents=True, exist_ok=True)
        pods.on_change(self._on_pod)

    @property
    def name(self) -> str:
        """The node's name."""
        return self.settings.name

    async def run(self) -> None:
        """Be a node until cancelled; the containers run on then."""
        await self._register()
        self._forget_strangers()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_lease())
                group.create_task(self._keep_status())
                for pod in list(self._pods.items.values()):
                    self._on_pod(None, pod)
                await asyncio.Event().wait()
        finally:
            await asyncio.gather(*(worker.detach() for worker in self._workers.values()))

    def worker(self, namespace: str, name: str) -> Worker | None:
        """Return who runs a pod here."""
        pod = self._pods.get(f"{namespace}/{name}")
        return None if pod is None else self._workers.get(pod["metadata"]["uid"])

    # -- worker.Host

    def address(self, uid: str, wanted: str) -> str:
        """Return the pod's address."""
        return self._addresses.take(uid, wanted)

    def event(self, pod: Obj, reason: str, message: str, *, warn: bool) -> None:
        """Write an event about a pod."""
        self._events.tell(pod, "Pod", reason, message, warn=warn)

    async def pull(self, text: str, policy: str, logins: Logins) -> tuple[Image, bool]:
        """Return an image; raises ``PullError``, also where a test said so."""
        here = self.images.find(text) is not None and policy != "Always"
        if not here and any(word in text for word in self.no_pulls):
            raise PullError(f'failed to pull and unpack image "{text}": the node was told to fail')
        return await self.images.obtain(text, policy, logins)

    async def read(self, kind: str, namespace: str, name: str) -> Obj | None:
        """Read a ConfigMap or Secret; None if there is none."""
        while True:
            try:
                return await self._api.get(kind, namespace, name)
            except ApiError as exc:
                if exc.code == 404:
                    return None
                _LOG.info("%s: %s", self.name, exc)
            await asyncio.sleep(_AGAIN_S)

    def config_map(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """Return a ConfigMap's data as ``load`` read it."""
        return self._keyed.get(("configmaps", namespace, name))

    def secret(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """Return a Secret's data as ``load`` read it."""
        return self._keyed.get(("secrets", namespace, name))

    async def load(self, pod: Obj) -> None:
        """Read every ConfigMap and Secret that the pod's environment names."""
        namespace = pod["metadata"]["namespace"]
        spec = pod["spec"]
        for container in [*(spec.get("initContainers") or ()), *spec["containers"]]:
            for kind, name in _named(container):
                found = await self.read(kind, namespace, name)
                key = (kind, namespace, name)
                self._keyed.pop(key, None)
                if found is not None:
                    data = decoded(found) if kind == "secrets" else found.get("data") or {}
                    self._keyed[key] = data

    async def token(self, pod: Obj, wanted: Obj) -> str:
        """Return a service account token."""
        meta = pod["metadata"]
        account = pod["spec"].get("serviceAccountName") or "default"
        path = path_of("serviceaccounts", meta["namespace"], account, "token")
        spec = {
            "audiences": [wanted["audience"]] if wanted.get("audience") else [],
            "expirationSeconds": wanted.get("expirationSeconds") or 3600,
        }
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        try:
            answer = await self._api.call("POST", path, body)
        except ApiError as exc:
            raise OSError(f"no token for service account '{account}': {exc}") from exc
        return str(answer["status"]["token"])

    async def logins(self, pod: Obj) -> Logins:
        """Return what the pod's pull secrets say."""
        secrets = []
        for entry in pod["spec"].get("imagePullSecrets") or ():
            found = await self.read("secrets", pod["metadata"]["namespace"], entry["name"])
            if found is not None:
                secrets.append(found)
        return Logins(secrets)

    # -- the node itself

    async def _register(self) -> None:
        while True:
            try:
                document = node_document(self.settings, self._place())
                try:
                    await self._api.create("nodes", "", document)
                except ApiError as exc:
                    if exc.code != 409:
                        raise
                await self._renew_lease()
                await self._tell_status()
            except ApiError as exc:
                _LOG.info("node '%s' is not registered: %s", self.name, exc)
                await asyncio.sleep(_AGAIN_S)
            else:
                self.registered.set()
                return

    def _place(self) -> Obj:
        return {"ip": self.ip, "port": self.kubelet_port, "machine": platform.machine()}

    async def _keep_lease(self) -> None:
        while True:
            await asyncio.sleep(self.settings.lease_s / 4)
            await self.heartbeat.wait()
            try:
                await self._renew_lease()
            except ApiError as exc:
                _LOG.info("node '%s' does not renew its lease: %s", self.name, exc)

    async def _renew_lease(self) -> None:
        document = lease(self.settings)
        try:
            await self._api.patch("leases", _LEASES, self.name, {"spec": document["spec"]})
        except ApiError as exc:
            if exc.code != 404:
                raise
            await self._make_lease(document)

    async def _make_lease(self, document: Obj) -> None:
        try:
            await self._api.create("leases", _LEASES, document)
        except ApiError as exc:
            if exc.code != 404:
                raise
            space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _LEASES}}
            await self._api.create("namespaces", "", space)
            await self._api.create("leases", _LEASES, document)

    async def _keep_status(self) -> None:
        while True:
            await asyncio.sleep(self.settings.lease_s / 4)
            await self.heartbeat.wait()
            try:
                await self._tell_status()
            except ApiError as exc:
                if exc.code == 404:
                    await self._register()
                _LOG.info("node '%s' does not tell its status: %s", self.name, exc)

    async def _tell_status(self) -> None:
        node = await self._api.get("nodes", "", self.name)
        status = node_status(self.settings, self._place(), node, self.images.list())
        if status != {key: (node.get("status") or {}).get(key) for key in status}:
            await self._api.patch("nodes", "", self.name, {"status": status}, "status")

    # -- pods

    def _on_pod(self, before: Obj | None, pod: Obj | None) -> None:
        seen = pod or before
        if seen is None or seen["spec"].get("nodeName") != self.name:
            return
        uid = seen["metadata"]["uid"]
        worker = self._workers.get(uid)
        if pod is None:
            if worker is not None:
                worker.end(0.5, partial(self._forget, worker))
            return
        if worker is None:
            if is_over(pod):
                if is_going(pod):
                    self._soon(self._delete(pod))
                return
            worker = self._workers[uid] = Worker(self, pod, self._publish)
            worker.start()
        worker.update(pod)
        if is_going(pod):
            grace = pod["metadata"].get("deletionGracePeriodSeconds")
            self._end(worker, 30.0 if grace is None else float(grace))
        elif is_over(pod) and worker.is_failed:
            worker.end(1.0, partial(self._release, worker))

    def _end(self, worker: Worker, grace_s: float) -> None:
        async def gone() -> None:
            await self._delete(worker.pod)
            await self._forget(worker)

        worker.end(grace_s, gone)

    async def _forget(self, worker: Worker) -> None:
        self._workers.pop(worker.uid, None)
        self._addresses.release(worker.uid)
        worker.remove()

    async def _release(self, worker: Worker) -> None:
        self._addresses.release(worker.uid)

    async def _delete(self, pod: Obj) -> None:
        while True:
            try:
                await self._api.delete("pods", pod, grace_s=0)
            except ApiError as exc:
                _LOG.info("pod '%s' is not removed: %s", pod["metadata"]["name"], exc)
                await asyncio.sleep(_AGAIN_S)
            else:
                return

    async def _publish(self, pod: Obj, status: Obj) -> None:
        meta = pod["metadata"]
        while True:
            await self.heartbeat.wait()
            current = self._pods.get(key_of(pod))
            if current is not None and current["metadata"]["uid"] != meta["uid"]:
                return
            body = {"metadata": {"uid": meta["uid"]}, "status": status}
            try:
                self._pods.put(
                    await self._api.patch("pods", meta["namespace"], meta["name"], body, "status")
                )
            except ApiError as exc:
                if exc.code in (404, 409, 422):
                    level = logging.DEBUG if exc.code == 404 else logging.INFO
                    _LOG.log(level, "the status of '%s' is not taken: %s", meta["name"], exc)
                    return
                await asyncio.sleep(_AGAIN_S)
            else:
                return

    def _forget_strangers(self) -> None:
        """Remove what is left of pods that ended while this node was not there."""
        known = {pod["metadata"]["uid"] for pod in self._pods.items.values()}
        pods = self.folder / "pods"
        for folder in pods.iterdir() if pods.is_dir() else ():
            if folder.name not in known:
                self._soon(self._end_stranger(folder))

    async def _end_stranger(self, folder: Path) -> None:
        end_all(folder)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)


def _named(container: Obj) -> list[tuple[str, str]]:
    found = []
    for entry in container.get("env") or ():
        source = entry.get("valueFrom") or {}
        for kind, key in (("configmaps", "configMapKeyRef"), ("secrets", "secretKeyRef")):
            if key in source:
                found.append((kind, source[key]["name"]))
    for source in container.get("envFrom") or ():
        for kind, key in (("configmaps", "configMapRef"), ("secrets", "secretRef")):
            if key in source:
                found.append((kind, source[key]["name"]))
    return found
