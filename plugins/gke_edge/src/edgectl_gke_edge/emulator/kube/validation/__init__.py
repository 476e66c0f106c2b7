"""The rules that an object must keep to be stored; each broken one names its field.

The rules and words are those of Kubernetes' validation of each kind, as far as the kinds that
edgectl uses can break them.
"""

from __future__ import annotations

from collections.abc import Callable

from edgectl_gke_edge.emulator.kube.errors import Cause, Json, Problems
from edgectl_gke_edge.emulator.kube.kinds import Kind
from edgectl_gke_edge.emulator.kube.schema import ListOf, MapOf, Node, Scalar, Struct, schema_of
from edgectl_gke_edge.emulator.kube.validation import changes, names, others, pods, workloads

_WORKLOADS = {"DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"}


def check(kind: Kind, obj: Json, old: Json | None) -> list[Cause]:
    """Return what is wrong with an object, and with its change when ``old`` is the stored one."""
    problems = Problems()
    names.metadata(kind.kind, obj["metadata"], problems)
    if kind.kind in _WORKLOADS:
        workloads.check_workload(kind.kind, obj, problems)
    elif kind.kind in _RULES:
        _RULES[kind.kind](obj, problems)
    if not problems.causes:
        _required(obj, schema_of(kind), "", problems)
    if old is not None:
        changes.check(kind.kind, obj, old, problems)
    return problems.causes


def _pod(obj: Json, problems: Problems) -> None:
    pods.check_spec(obj.get("spec", {}), "spec", problems)


def _job(obj: Json, problems: Problems) -> None:
    workloads.check_job(obj.get("spec", {}), problems)


def _cron_job(obj: Json, problems: Problems) -> None:
    spec = obj.get("spec", {})
    if not spec.get("schedule"):
        problems.required("spec.schedule")
    path = "spec.jobTemplate.spec"
    workloads.check_job(spec.get("jobTemplate", {}).get("spec", {}), problems, path)


_RULES: dict[str, Callable[[Json, Problems], None]] = {
    "ClusterRole": others.check_role,
    "ClusterRoleBinding": others.check_binding,
    "ConfigMap": others.check_config,
    "CronJob": _cron_job,
    "Job": _job,
    "Lease": others.check_lease,
    "Namespace": others.check_namespace,
    "NetworkPolicy": others.check_policy,
    "Pod": _pod,
    "PodDisruptionBudget": others.check_budget,
    "Role": others.check_role,
    "RoleBinding": others.check_binding,
    "Secret": others.check_config,
    "Service": others.check_service,
}


def _required(value: object, node: Node, path: str, problems: Problems) -> None:
    """Check what the schema says must be there; a status is its controller's own matter."""
    if isinstance(node, Struct) and isinstance(value, dict):
        for name in sorted(node.required):
            if value.get(name) in (None, ""):
                field = node.fields[name]
                if isinstance(field, Scalar) and field.type in {"integer", "boolean"}:
                    continue
                problems.required(f"{path}.{name}".lstrip("."))
        for name, item in value.items():
            if not (path == "" and name in {"status", "metadata"}):
                _required(item, node.fields[name], f"{path}.{name}".lstrip("."), problems)
    elif isinstance(node, ListOf) and isinstance(value, list):
        for at, item in enumerate(value):
            _required(item, node.item, f"{path}[{at}]", problems)
    elif isinstance(node, MapOf) and isinstance(value, dict):
        return
