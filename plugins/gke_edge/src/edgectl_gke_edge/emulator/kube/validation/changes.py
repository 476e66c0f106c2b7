"""What of a stored object cannot be changed any more."""

from __future__ import annotations

import copy
from typing import Any

from edgectl_gke_edge.emulator.kube.errors import Json, Problems

IMMUTABLE = "field is immutable"
_POD_MAY_CHANGE = (
    "pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions"
    " to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it"
    " was previously negative)"
)


def check(kind: str, obj: Json, old: Json, problems: Problems) -> None:
    """Compare an object with the stored one."""
    spec, before = obj.get("spec", {}), old.get("spec", {})
    if kind in {"DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"}:
        _same(spec, before, "selector", problems)
    elif kind == "Job":
        _job(spec, before, problems)
    elif kind == "Service":
        _service(spec, before, problems)
    elif kind in {"ConfigMap", "Secret"}:
        _config(obj, old, problems)
    elif kind in {"RoleBinding", "ClusterRoleBinding"}:
        if obj.get("roleRef") != old.get("roleRef"):
            problems.invalid("roleRef", obj.get("roleRef"), "cannot change roleRef")
    elif kind == "Pod":
        _pod(spec, before, problems)
    elif kind == "ControllerRevision" and obj.get("data") != old.get("data"):
        problems.invalid("data", obj.get("data"), IMMUTABLE)
    elif kind == "EndpointSlice" and obj.get("addressType") != old.get("addressType"):
        problems.invalid("addressType", obj.get("addressType"), IMMUTABLE)


def _same(spec: Json, before: Json, field: str, problems: Problems) -> None:
    if spec.get(field) != before.get(field):
        problems.invalid(f"spec.{field}", spec.get(field), IMMUTABLE)


def _job(spec: Json, before: Json, problems: Problems) -> None:
    for field in ("completions", "selector", "template", "completionMode", "podFailurePolicy"):
        _same(spec, before, field, problems)


def _service(spec: Json, before: Json, problems: Problems) -> None:
    if "ExternalName" in {spec.get("type"), before.get("type")}:
        return
    address = before.get("clusterIP")
    if address and spec.get("clusterIP") != address:
        told = "may not change once set"
        problems.invalid("spec.clusterIPs[0]", [spec.get("clusterIP")], told)


def _config(obj: Json, old: Json, problems: Problems) -> None:
    if obj.get("kind") == "Secret" and obj.get("type") != old.get("type"):
        problems.invalid("type", obj.get("type"), IMMUTABLE)
    if not old.get("immutable"):
        return
    told = "field is immutable when `immutable` is set"
    if not obj.get("immutable"):
        problems.forbidden("immutable", told)
    for field in ("data", "binaryData"):
        if obj.get(field) != old.get(field):
            problems.forbidden(field, told)


def _pod(spec: Json, before: Json, problems: Problems) -> None:
    if _pod_fixed(spec) != _pod_fixed(before):
        problems.forbidden("spec", _POD_MAY_CHANGE)
    kept = before.get("tolerations", [])
    if spec.get("tolerations", [])[: len(kept)] != kept:
        told = "existing toleration can not be modified except its tolerationSeconds"
        problems.forbidden("spec.tolerations", told)


def _pod_fixed(spec: Json) -> Any:
    """Return what of a pod's specification can never change."""
    fixed = copy.deepcopy(spec)
    for field in ("activeDeadlineSeconds", "tolerations"):
        fixed.pop(field, None)
    for container in [*fixed.get("containers", []), *fixed.get("initContainers", [])]:
        container.pop("image", None)
    return fixed
