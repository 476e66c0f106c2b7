"""What can be read from a pod, and how one is made from a template. Pure."""

from __future__ import annotations

import copy
import hashlib
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from edgectl_gke_edge.emulator.nodes.api import Obj
from edgectl_gke_edge.emulator.nodes.quantities import parse_quantity

PRETENDS = "edgectl.dev/emulator-pretends"
"""The label of nodes that run nothing; only pods that are meant for each node go there."""
_SAFE = "bcdfghjklmnpqrstvwxz2456789"


def timestamp(moment: datetime | None = None) -> str:
    """Return a moment as Kubernetes writes it: UTC, whole seconds."""
    return (moment or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_timestamp() -> str:
    """Return now as a lease writes it: UTC with microseconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def moment_of(text: str | None) -> datetime | None:
    """Return what ``timestamp`` or ``micro_timestamp`` wrote; None for nothing."""
    return None if not text else datetime.fromisoformat(text)


def age_s(text: str | None) -> float:
    """Return the seconds since a timestamp; 0 for none."""
    moment = moment_of(text)
    return 0.0 if moment is None else (datetime.now(UTC) - moment).total_seconds()


def condition(obj: Obj, kind: str) -> Obj | None:
    """Return a condition of an object's status."""
    conditions: list[Obj] = (obj.get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one["type"] == kind), None)


def is_true(obj: Obj, kind: str) -> bool:
    """Return whether a condition of an object holds."""
    found = condition(obj, kind)
    return found is not None and found["status"] == "True"


def phase(pod: Obj) -> str:
    """Return a pod's phase."""
    return str((pod.get("status") or {}).get("phase") or "Pending")


def is_over(pod: Obj) -> bool:
    """Return whether a pod's containers have ended for good."""
    return phase(pod) in ("Succeeded", "Failed")


def is_going(pod: Obj) -> bool:
    """Return whether a pod is being deleted."""
    return "deletionTimestamp" in pod["metadata"]


def is_ready(pod: Obj) -> bool:
    """Return whether a pod takes traffic."""
    return is_true(pod, "Ready")


def is_available(pod: Obj, min_ready_s: int) -> bool:
    """Return whether a pod has been ready for long enough."""
    found = condition(pod, "Ready")
    if found is None or found["status"] != "True":
        return False
    return min_ready_s == 0 or age_s(found.get("lastTransitionTime")) >= min_ready_s


def owner(obj: Obj) -> Obj | None:
    """Return the reference to the controller of an object, or None."""
    references: list[Obj] = obj["metadata"].get("ownerReferences") or []
    return next((one for one in references if one.get("controller")), None)


def is_owned_by(obj: Obj, owner_obj: Obj) -> bool:
    """Return whether ``owner_obj`` is the controller of an object."""
    found = owner(obj)
    return found is not None and found["uid"] == owner_obj["metadata"]["uid"]


def owner_reference(obj: Obj, api_version: str, kind: str) -> Obj:
    """Return the reference by which a controller's objects name it."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": obj["metadata"]["name"],
        "uid": obj["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def template_hash(template: Obj) -> str:
    """Return the hash of a pod template, of the letters that Kubernetes uses for it."""
    digest = hashlib.sha256(msgspec.json.encode(template, order="sorted")).digest()
    return "".join(_SAFE[byte % len(_SAFE)] for byte in digest[:10])


def pod_from(template: Obj, reference: Obj, namespace: str, labels: dict[str, str]) -> Obj:
    """Return a pod of a template for its controller.

    Args:
        template: The pod template.
        reference: Names the controller.
        namespace: Where it stands.
        labels: What the controller adds to the template's labels.
    """
    found = copy.deepcopy(template)
    meta = found.get("metadata") or {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": f"{reference['name']}-",
            "namespace": namespace,
            "labels": {**(meta.get("labels") or {}), **labels},
            "annotations": meta.get("annotations") or {},
            "ownerReferences": [reference],
        },
        "spec": found.get("spec") or {},
    }


def requests_of(pod: Obj) -> dict[str, Decimal]:
    """Return what a pod asks of its node: containers' sum, or the largest init container's."""
    spec = pod["spec"]
    total: dict[str, Decimal] = {}
    for container in spec.get("containers") or ():
        for name, amount in _asked(container).items():
            total[name] = total.get(name, Decimal(0)) + amount
    for container in spec.get("initContainers") or ():
        for name, amount in _asked(container).items():
            total[name] = max(total.get(name, Decimal(0)), amount)
    return total


def _asked(container: Obj) -> dict[str, Decimal]:
    resources = container.get("resources") or {}
    asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    # A limit counts as a request only where there is no request (defaulted by the API server too).
    return {name: parse_quantity(amount) for name, amount in asked.items()}
