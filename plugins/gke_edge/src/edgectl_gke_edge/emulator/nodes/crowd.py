"""Nodes that only pretend: many of them in one process, for tests of rates and sizes.

They register, keep their leases and tell of pods what a node would, without any container. A pod's
init containers end well, or as its annotation ``edgectl.dev/emulator-fails`` says: the text is the
termination message of one that ended with 10.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time

from edgectl_gke_edge.emulator.nodes.api import Api, ApiError, Obj
from edgectl_gke_edge.emulator.nodes.informer import Informer, key_of
from edgectl_gke_edge.emulator.nodes.kubelet.registration import NodeSettings, lease, node_document
from edgectl_gke_edge.emulator.nodes.kubelet.status import Ended, Facts, Whole, pod_status
from edgectl_gke_edge.emulator.nodes.podfacts import is_going, is_over, timestamp

FAILS = "edgectl.dev/emulator-fails"
_LOG = logging.getLogger(__name__)
_AGAIN_S = 1.0
_AT_ONCE = 16
_LEASES = "kube-node-lease"


class Crowd:
    """Pretending nodes of one cluster.

    Args:
        api: The API server.
        pods: All pods.
        members: The nodes.
    """

    def __init__(self, api: Api, pods: Informer, members: tuple[NodeSettings, ...]) -> None:
        self._api = api
        self._pods = pods
        self._members = {member.name: member for member in members}
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self.registered = asyncio.Event()
        pods.on_change(self._on_pod)

    async def run(self) -> None:
        """Be so many nodes until cancelled."""
        gate = asyncio.Semaphore(_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            await asyncio.gather(*(self._register(one, gate) for one in self._members.values()))
            self.registered.set()
            for _ in range(_AT_ONCE):
                group.create_task(self._work())
            for pod in list(self._pods.items.values()):
                self._on_pod(None, pod)
            group.create_task(self._keep_leases(gate))

    async def _register(self, member: NodeSettings, gate: asyncio.Semaphore) -> None:
        document = node_document(member, {"ip": "127.0.0.1", "port": 0, "machine": "x86_64"})
        while True:
            try:
                async with gate:
                    # First the lease: a node that has none for long is lost, and stays so.
                    await self._create("leases", _LEASES, lease(member))
                    await self._create("nodes", "", document)
            except ApiError as exc:
                _LOG.info("node '%s' is not registered: %s", member.name, exc)
                await asyncio.sleep(_AGAIN_S)
            else:
                return

    async def _create(self, kind: str, namespace: str, document: Obj) -> None:
        try:
            await self._api.create(kind, namespace, document)
        except ApiError as exc:
            if exc.code != 409:
                raise

    async def _keep_leases(self, gate: asyncio.Semaphore) -> None:
        async def renew(member: NodeSettings) -> None:
            async with gate:
                try:
                    body = {"spec": lease(member)["spec"]}
                    await self._api.patch("leases", _LEASES, member.name, body)
                except ApiError as exc:
                    _LOG.info("node '%s' does not renew its lease: %s", member.name, exc)

        while True:
            first = next(iter(self._members.values()))
            await asyncio.sleep(first.lease_s / 4)
            await asyncio.gather(*(renew(one) for one in self._members.values()))

    def _on_pod(self, before: Obj | None, pod: Obj | None) -> None:
        del before
        if pod is None or pod["spec"].get("nodeName") not in self._members:
            return
        if is_going(pod) or not (pod.get("status") or {}).get("startTime"):
            self._queue.put_nowait(key_of(pod))

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            pod = self._pods.get(key)
            if pod is None or (is_over(pod) and not is_going(pod)):
                continue
            meta = pod["metadata"]
            try:
                if is_going(pod):
                    await self._api.delete("pods", pod, grace_s=0)
                else:
                    body = {"metadata": {"uid": meta["uid"]}, "status": pretended_status(pod)}
                    self._pods.put(
                        await self._api.patch(
                            "pods", meta["namespace"], meta["name"], body, "status"
                        )
                    )
            except ApiError as exc:
                if exc.code not in (404, 409):
                    _LOG.info("pod '%s': %s", key, exc)
                    asyncio.get_running_loop().call_later(_AGAIN_S, self._queue.put_nowait, key)


def pretended_status(pod: Obj) -> Obj:
    """Return the status of a pod whose containers did what they should, or as it is annotated."""
    spec, now = pod["spec"], time.time()
    message = (pod["metadata"].get("annotations") or {}).get(FAILS, "")
    facts = []
    for one in spec.get("initContainers") or ():
        ended = Ended(
            code=10 if message else 0,
            reason="Error" if message else "Completed",
            message=message or prepared_message(pod),
            started=now,
            at=now,
        )
        facts.append(Facts(name=one["name"], image=one["image"], ended=ended, is_init=True))
    for one in spec["containers"]:
        main = Facts(name=one["name"], image=one["image"])
        if message:
            main.waiting = "PodInitializing"
        else:
            main.running_since, main.started, main.ready = now, True, True
        facts.append(main)
    whole = Whole(host_ip="127.0.0.1", pod_ip="127.0.0.1", start_time=timestamp())
    return pod_status(pod, facts, whole)


def prepared_message(pod: Obj) -> str:
    """Return what ``edge-pod prepare`` would leave for the release on the pod's label."""
    labels = pod["metadata"].get("labels") or {}
    annotations = pod["metadata"].get("annotations") or {}
    release = labels.get("edgectl.dev/release", "")
    if not release.isdecimal():
        return ""
    report = {
        "application": annotations.get("edgectl.dev/application", ""),
        "release": int(release),
        "package": annotations.get("edgectl.dev/package", ""),
        "state": "verifying",
        "detail": "prepared; the runtime has not started",
        "variant": "fp32",
        "provider": "CPUExecutionProvider",
        "hardware": labels.get("edgectl.dev/hardware", ""),
        "agent": "edge-pod/0",
    }
    return json.dumps(report)
