"""What is refused or changed before an object is stored, beyond its own rules.

The plugins that matter to workloads: NamespaceLifecycle, ServiceAccount, Priority,
DefaultTolerationSeconds, PodSecurity, ResourceQuota; LimitRanger's defaults are not done.
"""

from __future__ import annotations

from edgectl_gke_edge.emulator.kube import podsecurity, quota
from edgectl_gke_edge.emulator.kube.errors import (
    Cause,
    Json,
    Place,
    StatusError,
    forbidden,
    not_found,
)
from edgectl_gke_edge.emulator.kube.kinds import Kind, kind_of
from edgectl_gke_edge.emulator.kube.requests import Call
from edgectl_gke_edge.emulator.kube.store import Store

_CRITICAL = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
_TOLERATED = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def check_namespace(store: Store, kind: Kind, namespace: str, place: Place) -> None:
    """Let objects only into namespaces that are there and stay.

    Raises:
        StatusError: 404 or 403.
    """
    if not kind.namespaced:
        return
    found = store.get(kind_of("", "namespaces"), "", namespace)
    if found is None:
        raise not_found(Place("namespaces", "", namespace))
    if found["metadata"].get("deletionTimestamp"):
        told = f"namespace {namespace} is being terminated"
        why = (
            f"unable to create new content in namespace {namespace} because it is being terminated"
        )
        cause = Cause("NamespaceTerminating", told, "metadata.namespace")
        refusal = forbidden(place, why)
        details = {**(refusal.details or {}), "causes": [cause.to_json()]}
        raise StatusError(403, "Forbidden", refusal.message, details)


def mutate(store: Store, kind: Kind, obj: Json) -> Json:
    """Change a new object: a pod is given account, priority and tolerations.

    Raises:
        StatusError: 403, the account or the priority class is not there.
    """
    if kind.kind != "Pod":
        return obj
    place = Place(kind.plural, kind.group, obj["metadata"].get("name", ""))
    spec = dict(obj["spec"])
    account = spec.get("serviceAccountName") or "default"
    namespace = obj["metadata"]["namespace"]
    if store.get(kind_of("", "serviceaccounts"), namespace, account) is None:
        raise forbidden(
            place,
            f"error looking up service account {namespace}/{account}: "
            f'serviceaccount "{account}" not found',
        )
    spec |= {"serviceAccountName": account, "serviceAccount": account}
    spec |= _priority(store, spec, place)
    tolerations = list(spec.get("tolerations", []))
    for key in _TOLERATED:
        if not any(_tolerates(t, key) for t in tolerations):
            told = {"key": key, "operator": "Exists", "effect": "NoExecute"}
            tolerations.append({**told, "tolerationSeconds": 300})
    return {**obj, "spec": {**spec, "tolerations": tolerations}}


def _tolerates(toleration: Json, key: str) -> bool:
    return toleration.get("key", key) == key and toleration.get("effect", "NoExecute") in {
        "",
        "NoExecute",
    }


def _priority(store: Store, spec: Json, place: Place) -> Json:
    name = spec.get("priorityClassName")
    classes = kind_of("scheduling.k8s.io", "priorityclasses")
    if not name:
        found = next((c for c in store.objects(classes) if c.get("globalDefault")), None)
    elif name in _CRITICAL:
        return {"priority": _CRITICAL[name], "preemptionPolicy": "PreemptLowerPriority"}
    else:
        found = store.get(classes, "", name)
        if found is None:
            raise forbidden(place, f"no PriorityClass with name {name} was found")
    value = (found or {}).get("value", 0)
    policy = (found or {}).get("preemptionPolicy", "PreemptLowerPriority")
    return {"priority": value, "preemptionPolicy": policy}


def validate(store: Store, kind: Kind, obj: Json, call: Call, *, old: Json | None) -> None:
    """Refuse an object.

    Raises:
        StatusError: 403, pod security or a quota forbids it.
    """
    if old is None or kind.kind != "Pod":
        podsecurity.admit(store, kind, obj, call)
    if old is None:
        quota.admit(store, kind, obj)
