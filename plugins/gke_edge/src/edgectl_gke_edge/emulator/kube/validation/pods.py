"""Rules of a pod's specification; its containers and volumes have modules of their own."""

from __future__ import annotations

from edgectl_gke_edge.emulator.kube.errors import Json, Problems
from edgectl_gke_edge.emulator.kube.validation import containers, names, volumes

RESTART = ("Always", "OnFailure", "Never")
_DNS = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")


def check_spec(spec: Json, path: str, problems: Problems) -> None:
    """Check a pod's specification."""
    named = volumes.check(spec.get("volumes", []), f"{path}.volumes", problems)
    if not spec.get("containers"):
        problems.required(f"{path}.containers")
    seen: set[str] = set()
    for field in ("initContainers", "containers"):
        init = field == "initContainers"
        for at, container in enumerate(spec.get(field, [])):
            where = f"{path}.{field}[{at}]"
            containers.check(container, where, named, seen, problems, init=init)
    for field, known in (("restartPolicy", RESTART), ("dnsPolicy", _DNS)):
        if spec.get(field) not in known:
            problems.unsupported(f"{path}.{field}", spec.get(field), known)
    names.labels(spec.get("nodeSelector"), f"{path}.nodeSelector", problems)
    if spec.get("serviceAccountName"):
        names.subdomain(spec["serviceAccountName"], f"{path}.serviceAccountName", problems)
    seconds = spec.get("activeDeadlineSeconds")
    if seconds is not None and not 1 <= seconds <= 2**31 - 1:
        told = "must be between 1 and 2147483647, inclusive"
        problems.invalid(f"{path}.activeDeadlineSeconds", seconds, told)
    _lists(spec, path, problems)


def _lists(spec: Json, path: str, problems: Problems) -> None:
    for at, toleration in enumerate(spec.get("tolerations", [])):
        _toleration(toleration, f"{path}.tolerations[{at}]", problems)
    for at, reference in enumerate(spec.get("imagePullSecrets", [])):
        if not reference.get("name"):
            problems.required(f"{path}.imagePullSecrets[{at}].name")


def _toleration(toleration: Json, path: str, problems: Problems) -> None:
    key, operator = toleration.get("key", ""), toleration.get("operator", "")
    if key:
        names.key(key, f"{path}.key", problems)
    elif operator != "Exists":
        told = (
            "operator must be Exists when `key` is empty, which means "
            '"match all values and all keys"'
        )
        problems.invalid(f"{path}.operator", operator, told)
    if operator not in {"", "Equal", "Exists"}:
        problems.unsupported(f"{path}.operator", operator, ("Equal", "Exists"))
    if operator == "Exists" and toleration.get("value"):
        told = "value must be empty when `operator` is 'Exists'"
        problems.invalid(f"{path}.operator", toleration["value"], told)
    effects = ("NoSchedule", "PreferNoSchedule", "NoExecute")
    if toleration.get("effect", "") not in ("", *effects):
        problems.unsupported(f"{path}.effect", toleration["effect"], effects)
