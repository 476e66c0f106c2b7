"""DaemonSets: a pod on each node that fits, replaced by the update strategy.

Source: kubernetes.io, "DaemonSet", "Perform a Rolling Update on a DaemonSet".
"""

from __future__ import annotations

import copy
import math

import msgspec

from edgectl_gke_edge.emulator.nodes.api import Api, Obj
from edgectl_gke_edge.emulator.nodes.controllers.base import Controller
from edgectl_gke_edge.emulator.nodes.controllers.quota import CreateRefusedError, refused_by_quota
from edgectl_gke_edge.emulator.nodes.informer import Informer
from edgectl_gke_edge.emulator.nodes.kubelet.events import Events
from edgectl_gke_edge.emulator.nodes.podfacts import (
    is_available,
    is_going,
    is_owned_by,
    is_ready,
    owner_reference,
    phase,
    pod_from,
    template_hash,
)
from edgectl_gke_edge.emulator.nodes.selection import labels_of, named_nodes, node_fits, untolerated

HASH = "controller-revision-hash"
_TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
_FAILED_AGAIN_S = 1.0


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done for a DaemonSet.

    Attributes:
        create: Nodes that get a pod.
        delete: Pods to delete.
        status: Its status.
    """

    create: tuple[str, ...] = ()
    delete: tuple[Obj, ...] = ()
    status: Obj = {}


def number_of(value: int | str | None, of: int, *, default: int, up: bool) -> int:
    """Return a number that may be given in percent."""
    if value is None:
        return default
    if isinstance(value, int):
        return value
    share = of * int(value.removesuffix("%")) / 100
    return math.ceil(share) if up else math.floor(share)


def plan(daemonset: Obj, nodes: list[Obj], pods: list[Obj]) -> Plan:
    """Return what is to be done.

    Args:
        daemonset: The DaemonSet.
        nodes: Every node.
        pods: Its own pods.
    """
    spec = with_tolerations(daemonset["spec"]["template"]["spec"])
    revision = template_hash(daemonset["spec"]["template"])
    wanted = {n["metadata"]["name"] for n in nodes if _should_run(spec, n)}
    tolerable = {n["metadata"]["name"] for n in nodes if _may_stay(spec, n)}
    by_node: dict[str, list[Obj]] = {}
    for pod in pods:
        by_node.setdefault(node_of(pod), []).append(pod)
    delete = [p for name, ps in by_node.items() if name not in tolerable for p in ps]
    delete += [p for ps in by_node.values() for p in ps if phase(p) in ("Failed", "Succeeded")]
    live = {
        name: [p for p in ps if not is_going(p) and p not in delete] for name, ps in by_node.items()
    }
    create = [name for name in sorted(wanted) if not by_node.get(name)]
    rolled_out, rolled_in = _roll(daemonset, wanted, live, revision)
    delete += rolled_out
    unique = {p["metadata"]["uid"]: p for p in delete if not is_going(p)}
    status = _status(daemonset, wanted, live, revision)
    return Plan(create=(*create, *rolled_in), delete=tuple(unique.values()), status=status)


def node_of(pod: Obj) -> str:
    """Return the node that a DaemonSet's pod is for, also before it is bound."""
    spec = pod["spec"]
    return str(spec.get("nodeName") or next(iter(named_nodes(spec) or ()), ""))


def with_tolerations(spec: Obj) -> Obj:
    """Return a pod's specification with what every DaemonSet's pod tolerates."""
    extra = [{"key": k, "operator": "Exists", "effect": effect} for k, effect in _TOLERATED]
    present = list(spec.get("tolerations") or ())
    return {**spec, "tolerations": present + [one for one in extra if one not in present]}


def pod_for(daemonset: Obj, node: str) -> Obj:
    """Return the pod of a DaemonSet for one node; the scheduler binds it there."""
    template = copy.deepcopy(daemonset["spec"]["template"])
    template["spec"] = with_tolerations(template["spec"])
    affinity = template["spec"].setdefault("affinity", {}) or {}
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    affinity.setdefault("nodeAffinity", {})["requiredDuringSchedulingIgnoredDuringExecution"] = {
        "nodeSelectorTerms": [{"matchFields": [field]}]
    }
    template["spec"]["affinity"] = affinity
    reference = owner_reference(daemonset, "apps/v1", "DaemonSet")
    labels = {HASH: template_hash(daemonset["spec"]["template"])}
    return pod_from(template, reference, daemonset["metadata"]["namespace"], labels)


def _should_run(spec: Obj, node: Obj) -> bool:
    return node_fits(spec, node) and untolerated(spec, node, ("NoSchedule", "NoExecute")) is None


def _may_stay(spec: Obj, node: Obj) -> bool:
    return node_fits(spec, node) and untolerated(spec, node, ("NoExecute",)) is None


def _is_current(pod: Obj, revision: str) -> bool:
    return labels_of(pod).get(HASH) == revision


def _roll(
    daemonset: Obj, wanted: set[str], live: dict[str, list[Obj]], revision: str
) -> tuple[list[Obj], list[str]]:
    """Return pods of an older template to delete, and nodes that get a new one beside the old."""
    strategy = daemonset["spec"].get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        return [], []
    rolling = strategy.get("rollingUpdate") or {}
    min_ready = daemonset["spec"].get("minReadySeconds") or 0
    surge = number_of(rolling.get("maxSurge"), len(wanted), default=0, up=True)
    missing = number_of(rolling.get("maxUnavailable"), len(wanted), default=1, up=True)
    nodes = [_on_node(live.get(name, []), revision, min_ready) for name in sorted(wanted)]
    if surge:
        return _roll_with_surge(nodes, surge)
    return _roll_without(nodes, max(missing, 1)), []


class _OnNode(msgspec.Struct, frozen=True, kw_only=True):
    """A DaemonSet's pods on one node.

    Attributes:
        works: Whether one of them has been ready for long enough.
        new_works: Whether the one of the present template has.
    """

    old: list[Obj]
    new: list[Obj]
    works: bool
    new_works: bool


def _on_node(pods: list[Obj], revision: str, min_ready: int) -> _OnNode:
    new = [pod for pod in pods if _is_current(pod, revision)]
    return _OnNode(
        old=[pod for pod in pods if not _is_current(pod, revision)],
        new=new,
        works=any(is_available(pod, min_ready) for pod in pods),
        new_works=any(is_available(pod, min_ready) for pod in new),
    )


def _roll_with_surge(nodes: list[_OnNode], surge: int) -> tuple[list[Obj], list[str]]:
    delete = [pod for node in nodes if node.new_works for pod in node.old]
    room = max(surge - sum(bool(node.old and node.new) for node in nodes), 0)
    waiting = [node_of(node.old[0]) for node in nodes if node.old and not node.new]
    return delete, waiting[:room]


def _roll_without(nodes: list[_OnNode], allowed: int) -> list[Obj]:
    # A pod that does not work is replaced without counting: it serves nobody.
    delete = [pod for node in nodes if not node.works for pod in node.old]
    budget = max(allowed - sum(not node.works for node in nodes), 0)
    waiting = [node for node in nodes if node.works and node.old and not node.new]
    return delete + [pod for node in waiting[:budget] for pod in node.old]


def _status(daemonset: Obj, wanted: set[str], live: dict[str, list[Obj]], revision: str) -> Obj:
    min_ready = daemonset["spec"].get("minReadySeconds") or 0
    present = {name for name, pods in live.items() if pods}
    ready = {n for n in wanted & present if any(is_ready(p) for p in live[n])}
    available = {n for n in wanted & present if any(is_available(p, min_ready) for p in live[n])}
    updated = {n for n in wanted & present if any(_is_current(p, revision) for p in live[n])}
    return {
        "currentNumberScheduled": len(wanted & present),
        "desiredNumberScheduled": len(wanted),
        "numberMisscheduled": len(present - wanted),
        "numberReady": len(ready),
        "numberAvailable": len(available),
        "numberUnavailable": len(wanted) - len(available),
        "updatedNumberScheduled": len(updated),
        "observedGeneration": daemonset["metadata"].get("generation", 1),
    }


class DaemonSets(Controller):
    """Keeps DaemonSets.

    Args:
        api: The API server.
        daemonsets: All DaemonSets.
        nodes: All nodes.
        pods: All pods.
        events: Where it says what it could not do.
    """

    def __init__(
        self, api: Api, daemonsets: Informer, nodes: Informer, pods: Informer, events: Events
    ) -> None:
        super().__init__(api, "daemonsets", daemonsets)
        self._events = events
        self._nodes = nodes
        self._pods = pods
        nodes.on_change(self._on_node)
        pods.on_change(self.wake_owner("DaemonSet", pods))

    async def sync(self, key: str) -> float | None:
        """Create and delete the pods of one DaemonSet, and write its status."""
        daemonset = self.objects.get(key)
        if daemonset is None or is_going(daemonset):
            return None
        own = [pod for pod in self._pods.items.values() if is_owned_by(pod, daemonset)]
        found = plan(daemonset, list(self._nodes.items.values()), own)
        failed = any(phase(pod) == "Failed" for pod in found.delete)
        for pod in found.delete:
            await self.api.delete("pods", pod)
        try:
            for node in found.create:
                await self._create(daemonset, node)
        except CreateRefusedError as exc:
            failed = True
            text = f"Error creating: {exc.text}"
            self._events.tell(daemonset, "DaemonSet", "FailedCreate", text, warn=True)
        await self.write_status(daemonset, found.status)
        min_ready = daemonset["spec"].get("minReadySeconds") or 0
        waits = found.status["numberReady"] > found.status["numberAvailable"]
        return _FAILED_AGAIN_S if failed else (min(min_ready, 2) or None) if waits else None

    async def _create(self, daemonset: Obj, node: str) -> None:
        with refused_by_quota(daemonset, "DaemonSet"):
            namespace = daemonset["metadata"]["namespace"]
            pod = await self.api.create("pods", namespace, pod_for(daemonset, node))
        self._pods.put(pod)

    def _on_node(self, before: Obj | None, after: Obj | None) -> None:
        """A heartbeat changes nothing; labels and taints do."""
        if before is not None and after is not None:
            same_labels = before["metadata"].get("labels") == after["metadata"].get("labels")
            if same_labels and before.get("spec") == after.get("spec"):
                return
        self.wake_all(self._nodes)
