"""Evictions: a pod is deleted unless a disruption budget needs it."""

from __future__ import annotations

from edgectl_gke_edge.emulator.kube.errors import Cause, Json, StatusError, too_many
from edgectl_gke_edge.emulator.kube.kinds import kind_of
from edgectl_gke_edge.emulator.kube.selectors import from_object, matches
from edgectl_gke_edge.emulator.kube.store import Store


def budget_of(store: Store, pod: Json) -> Json | None:
    """Return the budget that a pod counts for.

    Raises:
        StatusError: 500, it counts for several, which evictions do not support.
    """
    metadata = pod["metadata"]
    found = []
    for budget in store.objects(kind_of("policy", "poddisruptionbudgets"), metadata["namespace"]):
        selector = from_object(budget.get("spec", {}).get("selector"))
        if selector is not None and matches(selector, metadata.get("labels")):
            found.append(budget)
    if len(found) > 1:
        raise StatusError(
            500,
            "InternalError",
            "This pod has more than one PodDisruptionBudget, which the eviction subresource "
            "does not support.",
        )
    return found[0] if found else None


def allow(store: Store, pod: Json, *, dry_run: bool) -> None:
    """Take one disruption from the pod's budget.

    Raises:
        StatusError: 429 when the budget has none, or its controller has not looked at it yet.
    """
    done = pod.get("status", {}).get("phase") in {"Succeeded", "Failed", "Pending"}
    budget = None if done or pod["metadata"].get("deletionTimestamp") else budget_of(store, pod)
    if budget is None:
        return
    name = budget["metadata"]["name"]
    status = budget.get("status", {})
    refused = "Cannot evict pod as it would violate the pod's disruption budget."
    if status.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
        told = f"The disruption budget {name} is still being processed by the server."
        raise too_many(refused, [Cause("DisruptionBudget", told)], retry_after_s=10)
    ready = any(
        c.get("type") == "Ready" and c.get("status") == "True"
        for c in pod.get("status", {}).get("conditions", [])
    )
    enough = status.get("currentHealthy", 0) >= status.get("desiredHealthy", 0)
    always = budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow"
    if not ready and (always or (enough and status.get("desiredHealthy", 0) > 0)):
        return
    if status.get("disruptionsAllowed", 0) < 1:
        told = (
            f"The disruption budget {name} needs {status.get('desiredHealthy', 0)} healthy pods "
            f"and has {status.get('currentHealthy', 0)} currently"
        )
        raise too_many(refused, [Cause("DisruptionBudget", told)])
    if not dry_run:
        left = {**status, "disruptionsAllowed": status["disruptionsAllowed"] - 1}
        store.put(kind_of("policy", "poddisruptionbudgets"), {**budget, "status": left})
