"""Binds pods to nodes: filters that a kube-scheduler has, and the emptiest node of what is left.

Source: kubernetes.io, "Kubernetes Scheduler", "Assigning Pods to Nodes".
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

from edgectl_gke_edge.emulator.nodes.api import Api, ApiError, Obj
from edgectl_gke_edge.emulator.nodes.controllers.base import Controller
from edgectl_gke_edge.emulator.nodes.informer import Informer
from edgectl_gke_edge.emulator.nodes.kubelet.events import Events
from edgectl_gke_edge.emulator.nodes.podfacts import (
    PRETENDS,
    is_going,
    is_over,
    owner,
    requests_of,
    timestamp,
)
from edgectl_gke_edge.emulator.nodes.quantities import parse_quantity
from edgectl_gke_edge.emulator.nodes.selection import labels_of, named_nodes, node_fits, untolerated

_AGAIN_S = 2.0
Used = dict[str, dict[str, Decimal]]


class Room:
    """What the pods on each node ask for, with their number as ``pods``."""

    def __init__(self) -> None:
        self.used: Used = {}

    def change(self, before: Obj | None, after: Obj | None) -> None:
        """Count a pod as it is now, no more as it was."""
        self._count(before, -1)
        self._count(after, 1)

    def _count(self, pod: Obj | None, times: int) -> None:
        if pod is None or not (node := pod["spec"].get("nodeName")) or is_over(pod):
            return
        sums = self.used.setdefault(node, {})
        for name, amount in {**requests_of(pod), "pods": Decimal(1)}.items():
            sums[name] = sums.get(name, Decimal(0)) + amount * times


def lacking(pod: Obj, node: Obj, used: dict[str, Decimal]) -> str:
    """Return a resource of which the node has too little for the pod, or ""."""
    has = (node.get("status") or {}).get("allocatable") or {}
    for name, amount in {**requests_of(pod), "pods": Decimal(1)}.items():
        if amount and used.get(name, Decimal(0)) + amount > parse_quantity(has.get(name, "0")):
            return name
    return ""


def why_not(pod: Obj, node: Obj, used: dict[str, Decimal]) -> str:
    """Return why a pod cannot go to a node, in the scheduler's words, or ""."""
    if (node.get("spec") or {}).get("unschedulable") and not _tolerates_cordon(pod):
        return "node(s) were unschedulable"
    if PRETENDS in labels_of(node) and (owner(pod) or {}).get("kind") != "DaemonSet":
        return "node(s) only pretend to run pods"
    if not node_fits(pod["spec"], node):
        return "node(s) didn't match Pod's node affinity/selector"
    taint = untolerated(pod["spec"], node, ("NoSchedule", "NoExecute"))
    if taint is not None:
        return f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value') or ''}}}"
    short = lacking(pod, node, used)
    return "Too many pods" if short == "pods" else f"Insufficient {short}" if short else ""


def choose(pod: Obj, nodes: list[Obj], used: Used) -> tuple[str, str]:
    """Return the node for a pod, or "" and why there is none."""
    reasons: Counter[str] = Counter()
    fitting = []
    for node in nodes:
        name = node["metadata"]["name"]
        why = why_not(pod, node, used.get(name, {}))
        if why:
            reasons[why] += 1
        else:
            fitting.append((used.get(name, {}).get("pods", Decimal(0)), name))
    if fitting:
        return min(fitting)[1], ""
    listed = ", ".join(f"{count} {why}" for why, count in sorted(reasons.items()))
    return "", f"0/{len(nodes)} nodes are available: {listed}."


def _tolerates_cordon(pod: Obj) -> bool:
    key = "node.kubernetes.io/unschedulable"
    spec = pod["spec"]
    cordon = {"spec": {"taints": [{"key": key, "effect": "NoSchedule"}]}}
    return untolerated(spec, cordon, ("NoSchedule",)) is None


class Scheduler(Controller):
    """Binds the pods that no node has yet.

    Args:
        api: The API server.
        pods: All pods.
        nodes: All nodes.
        events: Where it says why not.
    """

    def __init__(self, api: Api, pods: Informer, nodes: Informer, events: Events) -> None:
        super().__init__(api, "pods", pods)
        self._nodes = nodes
        self._events = events
        self._pending: set[str] = set()
        self._room = Room()
        pods.on_change(self._room.change)
        nodes.on_change(self._on_node)

    async def sync(self, key: str) -> float | None:
        """Bind one pod, or say why not."""
        pod = self.objects.get(key)
        self._pending.discard(key)
        if pod is None or pod["spec"].get("nodeName") or is_going(pod) or is_over(pod):
            return None
        if (pod["spec"].get("schedulerName") or "default-scheduler") != "default-scheduler":
            return None
        node, why = self._place(pod)
        if not node:
            self._pending.add(key)
            await self._tell(pod, why)
            return _AGAIN_S
        meta = pod["metadata"]
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]},
            "target": target,
        }
        try:
            await self.api.create("pods", meta["namespace"], binding, "binding", meta["name"])
        except ApiError as exc:
            if exc.code not in (404, 409):
                raise
            return None
        if self.objects.get(key) is pod:
            bound = {**pod, "spec": {**pod["spec"], "nodeName": node}}
            # Not put into the copy as the API server's word, only counted until that comes.
            self.objects.items[key] = bound
            self._room.change(pod, bound)
        text = f"Successfully assigned {key} to {node}"
        self._events.tell(pod, "Pod", "Scheduled", text)
        return None

    def _place(self, pod: Obj) -> tuple[str, str]:
        """Return what ``choose`` does; only why not is asked of nodes that cannot be meant."""
        nodes, used = self._nodes.items, self._room.used
        names = named_nodes(pod["spec"]) or ()
        node, _ = choose(pod, [nodes[name] for name in names if name in nodes], used)
        return (node, "") if node else choose(pod, list(nodes.values()), used)

    async def _tell(self, pod: Obj, why: str) -> None:
        conditions = (pod.get("status") or {}).get("conditions") or []
        before: Obj = next((one for one in conditions if one["type"] == "PodScheduled"), {})
        if before.get("message") == why:
            return
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": why,
            "lastTransitionTime": before.get("lastTransitionTime") or timestamp(),
        }
        others = [one for one in conditions if one["type"] != "PodScheduled"]
        meta = pod["metadata"]
        body = {"status": {"conditions": [*others, condition]}}
        self.objects.put(
            await self.api.patch("pods", meta["namespace"], meta["name"], body, "status")
        )
        self._events.tell(pod, "Pod", "FailedScheduling", why, warn=True)

    def _on_node(self, before: Obj | None, after: Obj | None) -> None:
        del before, after
        for key in tuple(self._pending):
            self.wake(key)
