"""Nodes that fall silent: marked, tainted, and their pods evicted.

A node whose lease is not renewed gets conditions ``Unknown``, its pods are not ready, and pods
that do not tolerate it any longer are deleted. A pod on a node that does not answer stays
``Terminating`` until the node is back.
Source: kubernetes.io, "Nodes", "Taints and Tolerations".
"""

from __future__ import annotations

from edgectl_gke_edge.emulator.nodes.api import Api, ApiError, Obj
from edgectl_gke_edge.emulator.nodes.controllers.base import Controller
from edgectl_gke_edge.emulator.nodes.informer import Informer
from edgectl_gke_edge.emulator.nodes.kubelet.events import Events
from edgectl_gke_edge.emulator.nodes.podfacts import age_s, condition, is_going, timestamp
from edgectl_gke_edge.emulator.nodes.selection import tolerates

UNREACHABLE = "node.kubernetes.io/unreachable"
NOT_READY = "node.kubernetes.io/not-ready"
_TAINTS = (UNREACHABLE, NOT_READY)
_LOOK_S = 1.0


def silence_taints(status: str) -> list[Obj]:
    """Return the taints of a node whose condition Ready has this status."""
    if status == "True":
        return []
    key = UNREACHABLE if status == "Unknown" else NOT_READY
    return [{"key": key, "effect": effect} for effect in ("NoSchedule", "NoExecute")]


def eviction_in_s(pod: Obj, taint: Obj) -> float | None:
    """Return after how long a pod has to leave a tainted node; None for never."""
    tolerations = [one for one in pod["spec"].get("tolerations") or () if tolerates([one], taint)]
    if not tolerations:
        return 0.0
    limits = [one.get("tolerationSeconds") for one in tolerations]
    if any(limit is None for limit in limits):
        return None
    return float(min(limit for limit in limits if limit is not None))


class NodeLifecycle(Controller):
    """Watches over nodes.

    Args:
        api: The API server.
        nodes: All nodes.
        leases: All leases.
        pods: All pods.
        grace_s: How long a node may be silent.
        events: Where it says so.
    """

    def __init__(
        self,
        api: Api,
        nodes: Informer,
        leases: Informer,
        pods: Informer,
        *,
        grace_s: float,
        events: Events,
    ) -> None:
        super().__init__(api, "nodes", nodes)
        self._leases = leases
        self._pods = pods
        self._grace_s = grace_s
        self._events = events

    async def sync(self, key: str) -> float | None:
        """Look after one node."""
        node = self.objects.get(key)
        if node is None or is_going(node):
            return None
        lease = self._leases.get(f"kube-node-lease/{key}")
        renewed = ((lease or {}).get("spec") or {}).get("renewTime")
        created = node["metadata"].get("creationTimestamp")
        holds = ((lease or {}).get("spec") or {}).get("leaseDurationSeconds") or 0
        left_s = max(self._grace_s, holds) - age_s(renewed or created)
        silent = left_s < 0
        ready = condition(node, "Ready")
        status = "Unknown" if silent else (ready or {}).get("status", "Unknown")
        if silent and (ready is None or ready["status"] != "Unknown"):
            await self._mark(node)
            self._events.tell(
                node, "Node", "NodeNotReady", f"Node {key} status is now: NodeNotReady"
            )
        await self._taint(node, silence_taints(status) if ready is not None or silent else [])
        if not silent:
            return left_s + _LOOK_S
        await self._leave(node)
        return _LOOK_S

    async def _mark(self, node: Obj) -> None:
        now = timestamp()
        conditions = []
        for one in (node.get("status") or {}).get("conditions") or ():
            text = "Kubelet stopped posting node status."
            changed = {"status": "Unknown", "reason": "NodeStatusUnknown", "message": text}
            since = one["lastTransitionTime"] if one["status"] == "Unknown" else now
            conditions.append({**one, **changed, "lastTransitionTime": since})
        body = {"status": {"conditions": conditions}}
        name = node["metadata"]["name"]
        self.objects.put(await self.api.patch("nodes", "", name, body, "status"))

    async def _taint(self, node: Obj, wanted: list[Obj]) -> None:
        taints = (node.get("spec") or {}).get("taints") or []
        others = [one for one in taints if one["key"] not in _TAINTS]
        present = [one for one in taints if one["key"] in _TAINTS]
        if {(t["key"], t["effect"]) for t in present} == {(t["key"], t["effect"]) for t in wanted}:
            return
        now = timestamp()
        timed = [{**t, "timeAdded": now} if t["effect"] == "NoExecute" else t for t in wanted]
        body = {"spec": {"taints": [*others, *timed]}}
        name = node["metadata"]["name"]
        self.objects.put(await self.api.patch("nodes", "", name, body))

    async def _leave(self, node: Obj) -> None:
        name = node["metadata"]["name"]
        taints = (node.get("spec") or {}).get("taints") or []
        taint = next((t for t in taints if t["key"] == UNREACHABLE), None)
        for pod in list(self._pods.items.values()):
            if pod["spec"].get("nodeName") != name:
                continue
            await self._unready(pod)
            if taint is None or is_going(pod) or taint["effect"] != "NoExecute":
                continue
            after = eviction_in_s(pod, taint)
            if after is not None and age_s(taint.get("timeAdded")) >= after:
                await self.api.delete("pods", pod)

    async def _unready(self, pod: Obj) -> None:
        found = condition(pod, "Ready")
        if found is None or found["status"] != "True":
            return
        conditions = [
            {**one, "status": "False", "reason": "NodeNotReady", "lastTransitionTime": timestamp()}
            if one["type"] == "Ready"
            else one
            for one in pod["status"]["conditions"]
        ]
        meta = pod["metadata"]
        try:
            body = {"status": {"conditions": conditions}}
            self._pods.put(
                await self.api.patch("pods", meta["namespace"], meta["name"], body, "status")
            )
        except ApiError as exc:
            if exc.code not in (404, 409):
                raise
