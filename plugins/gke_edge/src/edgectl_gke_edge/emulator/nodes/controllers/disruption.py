"""PodDisruptionBudgets: how many pods may be evicted now, which the eviction API goes by.

Source: kubernetes.io, "Specifying a Disruption Budget for your Application".
"""

from __future__ import annotations

from edgectl_gke_edge.emulator.nodes.api import Api, Obj
from edgectl_gke_edge.emulator.nodes.controllers.base import Controller
from edgectl_gke_edge.emulator.nodes.controllers.daemonset import number_of
from edgectl_gke_edge.emulator.nodes.informer import Informer
from edgectl_gke_edge.emulator.nodes.podfacts import is_going, is_ready
from edgectl_gke_edge.emulator.nodes.selection import labels_of, selects


def budget_status(budget: Obj, pods: list[Obj]) -> Obj:
    """Return a budget's status for the pods of its namespace."""
    spec = budget["spec"]
    chosen = [pod for pod in pods if selects(spec.get("selector"), labels_of(pod))]
    healthy = sum(is_ready(pod) and not is_going(pod) for pod in chosen)
    if spec.get("maxUnavailable") is not None:
        missing = number_of(spec["maxUnavailable"], len(chosen), default=0, up=True)
        wanted = max(len(chosen) - missing, 0)
    else:
        wanted = number_of(spec.get("minAvailable"), len(chosen), default=1, up=True)
    return {
        "currentHealthy": healthy,
        "desiredHealthy": wanted,
        "expectedPods": len(chosen),
        "disruptionsAllowed": max(healthy - wanted, 0) if chosen else 0,
        "observedGeneration": budget["metadata"].get("generation", 1),
    }


class Budgets(Controller):
    """Keeps the status of all budgets.

    Args:
        api: The API server.
        budgets: All PodDisruptionBudgets.
        pods: All pods.
    """

    def __init__(self, api: Api, budgets: Informer, pods: Informer) -> None:
        super().__init__(api, "poddisruptionbudgets", budgets)
        self._pods = pods
        pods.on_change(lambda before, after: self.wake_all(pods))

    async def sync(self, key: str) -> float | None:
        """Write the status of one budget."""
        budget = self.objects.get(key)
        if budget is None or is_going(budget):
            return None
        namespace = budget["metadata"]["namespace"]
        pods = [p for p in self._pods.items.values() if p["metadata"]["namespace"] == namespace]
        await self.write_status(budget, budget_status(budget, pods))
        return None
