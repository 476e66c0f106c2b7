"""What a kind's writes keep, reset and count: status, generation, addresses, generated names.

A client's write through the main resource never changes ``status``; one through ``/status`` never
changes ``spec``. ``generation`` rises with each change of the specification.
"""

from __future__ import annotations

import base64
import ipaddress
import random
import secrets
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from edgectl_gke_edge.emulator.kube.defaults import with_zeros
from edgectl_gke_edge.emulator.kube.errors import Json
from edgectl_gke_edge.emulator.kube.kinds import Kind
from edgectl_gke_edge.emulator.kube.schema import schema_of

GENERATED = {"CronJob", "DaemonSet", "Deployment", "EndpointSlice", "Job", "NetworkPolicy"}
GENERATED |= {"Pod", "PodDisruptionBudget", "ReplicaSet", "StatefulSet"}
_TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
_FIRST_STATUS: dict[str, Json] = {
    "Namespace": {"phase": "Active"},
    "PodDisruptionBudget": {
        "currentHealthy": 0,
        "desiredHealthy": 0,
        "disruptionsAllowed": 0,
        "expectedPods": 0,
    },
    "Service": {"loadBalancer": {}},
}
SERVICE_RANGE = ipaddress.ip_network("10.96.0.0/16")
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
# What belongs to the server: a client's value is replaced by the stored one.
_SERVER_METADATA = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "selfLink",
)


def now() -> str:
    """The time as ``metav1.Time`` writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def for_create(kind: Kind, obj: Json, namespace: str) -> Json:
    """Return an object as it begins: named, counted, without a status of the client's."""
    metadata = {k: v for k, v in obj.get("metadata", {}).items() if k not in _SERVER_METADATA}
    if not metadata.get("name") and metadata.get("generateName"):
        suffix = "".join(random.choices(_LETTERS, k=5))  # noqa: S311 - a name, no secret
        metadata["name"] = metadata["generateName"][:58] + suffix
    if kind.namespaced:
        metadata["namespace"] = namespace
    metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": now()}
    if kind.kind in GENERATED:
        metadata["generation"] = 1
    metadata.pop("resourceVersion", None)
    if kind.kind == "DaemonSet":
        annotations = metadata.get("annotations", {})
        metadata["annotations"] = {**annotations, _TEMPLATE_GENERATION: "1"}
    result = {**obj, "metadata": metadata}
    if "status" in kind.subresources:
        result["status"] = _first_status(kind, obj)
    return result


def _first_status(kind: Kind, obj: Json) -> Json:
    if kind.kind == "Pod":
        return {"phase": "Pending", "qosClass": quality(obj.get("spec", {}))}
    if kind.kind == "Node":
        return dict(obj.get("status", {}))
    if kind.kind in _FIRST_STATUS:
        return dict(_FIRST_STATUS[kind.kind])
    if kind.kind in {"DaemonSet", "ReplicaSet", "StatefulSet"}:
        zeros: Json = with_zeros({}, schema_of(kind).fields["status"])
        return zeros
    return {}


def finish_create(kind: Kind, obj: Json, taken: Iterable[str]) -> Json:
    """Fill in what is made from other values: addresses, a job's selector, encoded secrets.

    Args:
        kind: The object's kind.
        obj: The object with its defaults.
        taken: The cluster addresses that services have already.
    """
    if kind.kind == "Job":
        return _job_selector(obj)
    if kind.kind == "Service":
        return _service_address(obj, set(taken))
    if kind.kind == "Namespace":
        spec = obj.get("spec", {})
        return {**obj, "spec": {**spec, "finalizers": spec.get("finalizers") or ["kubernetes"]}}
    return obj


def encode_secret(obj: Json) -> Json:
    """Move ``stringData``, which is for writing only, to ``data``."""
    if "stringData" not in obj:
        return obj
    texts = obj["stringData"].items()
    encoded = {name: base64.b64encode(text.encode()).decode() for name, text in texts}
    result = {k: v for k, v in obj.items() if k != "stringData"}
    return {**result, "data": {**obj.get("data", {}), **encoded}}


def _job_selector(obj: Json) -> Json:
    spec = obj.get("spec", {})
    if spec.get("manualSelector"):
        return obj
    uid, name = obj["metadata"]["uid"], obj["metadata"]["name"]
    labels = {
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": name,
        "controller-uid": uid,
        "job-name": name,
    }
    template = spec.get("template", {})
    metadata = template.get("metadata", {})
    metadata = {**metadata, "labels": {**metadata.get("labels", {}), **labels}}
    selector = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    spec = {**spec, "selector": selector, "template": {**template, "metadata": metadata}}
    own = obj["metadata"]
    if not own.get("labels"):
        own = {**own, "labels": dict(metadata["labels"])}
    return {**obj, "metadata": own, "spec": spec}


def _service_address(obj: Json, taken: set[str]) -> Json:
    spec = obj.get("spec", {})
    if spec.get("type") == "ExternalName":
        return obj
    address = spec.get("clusterIP") or ""
    while not address or (address in taken and not spec.get("clusterIP")):
        offset = 256 + secrets.randbelow(SERVICE_RANGE.num_addresses - 512)
        address = str(SERVICE_RANGE[offset])
    spec = {"ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", **spec}
    spec |= {"clusterIP": address, "clusterIPs": [address]}
    if spec.get("type") in {"NodePort", "LoadBalancer"}:
        ports = [{"nodePort": 30000 + secrets.randbelow(2768), **p} for p in spec.get("ports", [])]
        spec["ports"] = ports
    return {**obj, "spec": spec}


def for_update(kind: Kind, old: Json, new: Json) -> Json:
    """Return an object as a write through the main resource leaves it."""
    result = {**new, "metadata": _kept_metadata(old, new)}
    if "status" in kind.subresources:
        result.pop("status", None)
        if "status" in old:
            result["status"] = old["status"]
    if kind.kind == "Secret":
        result = encode_secret(result)
    if kind.kind == "Service":
        result = _kept_addresses(old, result)
    if kind.kind == "DaemonSet":
        result = _with_template_generation(old, result)
    if kind.kind in GENERATED and _content(result) != _content(old):
        metadata = result["metadata"]
        result["metadata"] = {**metadata, "generation": metadata.get("generation", 0) + 1}
    return result


def _content(obj: Json) -> Json:
    return {k: v for k, v in obj.items() if k not in {"metadata", "status", "kind", "apiVersion"}}


def _with_template_generation(old: Json, new: Json) -> Json:
    changed = new.get("spec", {}).get("template") != old.get("spec", {}).get("template")
    before = old["metadata"].get("annotations", {}).get(_TEMPLATE_GENERATION, "0")
    annotations = {**new["metadata"].get("annotations", {})}
    annotations[_TEMPLATE_GENERATION] = str(int(before) + changed)
    return {**new, "metadata": {**new["metadata"], "annotations": annotations}}


def _kept_addresses(old: Json, new: Json) -> Json:
    """Keep what was allocated where a client leaves it out."""
    spec, before = dict(new.get("spec", {})), old.get("spec", {})
    if spec.get("type") == before.get("type"):
        for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if not spec.get(name) and name in before:
                spec[name] = before[name]
    return {**new, "spec": spec}


def for_status(kind: Kind, old: Json, new: Json) -> Json:
    """Return an object as a write through ``/status`` leaves it."""
    metadata = _kept_metadata(old, new)
    before = old["metadata"]
    for name in ("labels", "ownerReferences", "finalizers"):
        metadata.pop(name, None)
        if name in before:
            metadata[name] = before[name]
    result = {**old, "metadata": metadata}
    if "status" in new:
        schema = schema_of(kind).fields["status"]
        result["status"] = with_zeros(new["status"], schema)
    return result


def _kept_metadata(old: Json, new: Json) -> Json:
    metadata = dict(new.get("metadata", {}))
    before = old["metadata"]
    for name in (*_SERVER_METADATA, "namespace", "generateName"):
        metadata.pop(name, None)
        if name in before:
            metadata[name] = before[name]
    metadata["name"] = before["name"]
    return metadata


def quality(spec: Json) -> str:
    """Return a pod's quality of service class."""
    containers = [*spec.get("initContainers", []), *spec.get("containers", [])]
    resources = [container.get("resources", {}) for container in containers]
    if not any(r.get("requests") or r.get("limits") for r in resources):
        return "BestEffort"
    exact = all(_exact(r) for r in resources)
    return "Guaranteed" if exact else "Burstable"


def _exact(resources: dict[str, Any]) -> bool:
    limits = resources.get("limits", {})
    return {"cpu", "memory"} <= set(limits) and resources.get("requests", limits) == limits
