"""ReplicaSets: so many pods of a template.

Source: kubernetes.io, "ReplicaSet".
"""

from __future__ import annotations

from edgectl_gke_edge.emulator.nodes.api import Api, Obj
from edgectl_gke_edge.emulator.nodes.controllers.base import Controller
from edgectl_gke_edge.emulator.nodes.controllers.quota import CreateRefusedError, refused_by_quota
from edgectl_gke_edge.emulator.nodes.informer import Informer
from edgectl_gke_edge.emulator.nodes.kubelet.events import Events
from edgectl_gke_edge.emulator.nodes.podfacts import (
    condition,
    is_available,
    is_going,
    is_over,
    is_owned_by,
    is_ready,
    owner_reference,
    pod_from,
    timestamp,
)

_REFUSED_AGAIN_S = 2.0


def surplus(pods: list[Obj], wanted: int) -> list[Obj]:
    """Return the pods that are too many, those first that serve least."""
    order = sorted(
        pods,
        key=lambda p: (
            bool(p["spec"].get("nodeName")),
            is_ready(p),
            # The youngest of equals goes first.
            "~" if not p["metadata"].get("creationTimestamp") else _inverted(p),
        ),
    )
    return order[: max(len(pods) - wanted, 0)]


def _inverted(pod: Obj) -> str:
    return "".join(chr(0x7E - ord(one) + 0x20) for one in pod["metadata"]["creationTimestamp"])


class ReplicaSets(Controller):
    """Keeps ReplicaSets.

    Args:
        api: The API server.
        replicasets: All ReplicaSets.
        pods: All pods.
        events: Where it says what it could not do.
    """

    def __init__(self, api: Api, replicasets: Informer, pods: Informer, events: Events) -> None:
        super().__init__(api, "replicasets", replicasets)
        self._events = events
        self._pods = pods
        pods.on_change(self.wake_owner("ReplicaSet", pods))

    async def sync(self, key: str) -> float | None:
        """Create or delete pods of one ReplicaSet, and write its status."""
        replicaset = self.objects.get(key)
        if replicaset is None or is_going(replicaset):
            return None
        own = [pod for pod in self._pods.items.values() if is_owned_by(pod, replicaset)]
        live = [pod for pod in own if not is_going(pod) and not is_over(pod)]
        wanted = replicaset["spec"].get("replicas", 1)
        failure: CreateRefusedError | None = None
        try:
            live += [await self._create(replicaset) for _ in range(wanted - len(live))]
        except CreateRefusedError as exc:
            failure = exc
            text = f"Error creating: {exc.text}"
            self._events.tell(replicaset, "ReplicaSet", "FailedCreate", text, warn=True)
        for pod in surplus(live, wanted):
            await self.api.delete("pods", pod)
        status = self._status(replicaset, live, failure)
        await self.write_status(replicaset, status)
        min_ready = replicaset["spec"].get("minReadySeconds") or 0
        waits = min_ready and status["readyReplicas"] > status["availableReplicas"]
        return _REFUSED_AGAIN_S if failure else 1.0 if waits else None

    async def _create(self, replicaset: Obj) -> Obj:
        reference = owner_reference(replicaset, "apps/v1", "ReplicaSet")
        namespace = replicaset["metadata"]["namespace"]
        with refused_by_quota(replicaset, "ReplicaSet"):
            body = pod_from(replicaset["spec"]["template"], reference, namespace, {})
            pod = await self.api.create("pods", namespace, body)
        self._pods.put(pod)
        return pod

    def _status(self, replicaset: Obj, live: list[Obj], failure: CreateRefusedError | None) -> Obj:
        min_ready = replicaset["spec"].get("minReadySeconds") or 0
        conditions = []
        if failure is not None:
            before = condition(replicaset, "ReplicaFailure") or {}
            conditions.append(
                {
                    "type": "ReplicaFailure",
                    "status": "True",
                    "reason": "FailedCreate",
                    "message": failure.text,
                    "lastTransitionTime": before.get("lastTransitionTime") or timestamp(),
                }
            )
        return {
            "replicas": len(live),
            "fullyLabeledReplicas": len(live),
            "readyReplicas": sum(is_ready(pod) for pod in live),
            "availableReplicas": sum(is_available(pod, min_ready) for pod in live),
            "observedGeneration": replicaset["metadata"].get("generation", 1),
            "conditions": conditions,
        }
