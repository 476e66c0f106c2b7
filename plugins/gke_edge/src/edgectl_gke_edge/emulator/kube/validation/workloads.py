"""Rules of Deployment, DaemonSet, ReplicaSet, StatefulSet, Job and CronJob."""

from __future__ import annotations

import re

from edgectl_gke_edge.emulator.kube.errors import Json, Problems
from edgectl_gke_edge.emulator.kube.selectors import from_object, matches
from edgectl_gke_edge.emulator.kube.validation import names, pods

_PERCENT = re.compile(r"^[0-9]+%$")


def check_selector(selector: Json | None, path: str, problems: Problems) -> None:
    """Check a label selector's expressions."""
    found = selector or {}
    names.labels(found.get("matchLabels"), f"{path}.matchLabels", problems)
    for at, expression in enumerate(found.get("matchExpressions", [])):
        where = f"{path}.matchExpressions[{at}]"
        operator, values = expression.get("operator"), expression.get("values")
        if operator not in {"In", "NotIn", "Exists", "DoesNotExist"}:
            problems.invalid(f"{where}.operator", operator, "not a valid selector operator")
        elif operator in {"In", "NotIn"} and not values:
            told = "must be specified when `operator` is 'In' or 'NotIn'"
            problems.required(f"{where}.values", told)
        elif operator in {"Exists", "DoesNotExist"} and values:
            told = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            problems.forbidden(f"{where}.values", told)
        names.key(expression.get("key", ""), f"{where}.key", problems)


def check_workload(kind: str, obj: Json, problems: Problems) -> None:
    """Check a workload's selector, template and strategy."""
    spec = obj.get("spec", {})
    if kind != "DaemonSet":
        _not_negative(spec, "replicas", problems)
    for field in ("minReadySeconds", "revisionHistoryLimit"):
        _not_negative(spec, field, problems)
    _selector(kind, spec, problems)
    template(spec.get("template", {}), "spec.template", problems)
    if spec.get("template", {}).get("spec", {}).get("restartPolicy") != "Always":
        policy = spec.get("template", {}).get("spec", {}).get("restartPolicy")
        problems.unsupported("spec.template.spec.restartPolicy", policy, ("Always",))
    if kind == "Deployment":
        _deployment(spec, problems)
    if kind == "DaemonSet":
        _daemon_set(spec.get("updateStrategy", {}), problems)


def template(found: Json, path: str, problems: Problems) -> None:
    """Check a pod template."""
    metadata = found.get("metadata", {})
    names.labels(metadata.get("labels"), f"{path}.labels", problems)
    names.annotation_map(metadata.get("annotations"), f"{path}.annotations", problems)
    pods.check_spec(found.get("spec", {}), f"{path}.spec", problems)


def _selector(kind: str, spec: Json, problems: Problems) -> None:
    selector = spec.get("selector")
    labels = spec.get("template", {}).get("metadata", {}).get("labels")
    check_selector(selector, "spec.selector", problems)
    if selector is None and kind != "DaemonSet":
        problems.required("spec.selector")
    elif not selector and kind != "DaemonSet":
        problems.invalid("spec.selector", selector, f"empty selector is invalid for {kind.lower()}")
    if selector is None and kind == "Deployment":
        return
    parsed = from_object(selector) or ()
    if not selector or not matches(parsed, labels):
        told = "`selector` does not match template `labels`"
        problems.invalid("spec.template.metadata.labels", labels or {}, told)


def _deployment(spec: Json, problems: Problems) -> None:
    strategy = spec.get("strategy", {})
    path = "spec.strategy"
    if strategy.get("type") not in {"Recreate", "RollingUpdate"}:
        problems.unsupported(path, strategy, ("Recreate", "RollingUpdate"))
    rolling = strategy.get("rollingUpdate")
    if strategy.get("type") == "Recreate" and rolling is not None:
        told = "may not be specified when strategy `type` is 'Recreate'"
        problems.forbidden(f"{path}.rollingUpdate", told)
    elif rolling is not None:
        unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
        share(unavailable, f"{path}.rollingUpdate.maxUnavailable", problems)
        share(surge, f"{path}.rollingUpdate.maxSurge", problems)
        if _amount(unavailable) == 0 and _amount(surge) == 0:
            told = "may not be 0 when `maxSurge` is 0"
            problems.invalid(f"{path}.rollingUpdate.maxUnavailable", unavailable, told)
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and deadline <= spec.get("minReadySeconds", 0):
        told = "must be greater than minReadySeconds"
        problems.invalid("spec.progressDeadlineSeconds", deadline, told)


def _daemon_set(strategy: Json, problems: Problems) -> None:
    path = "spec.updateStrategy"
    if strategy.get("type") not in {"OnDelete", "RollingUpdate"}:
        problems.unsupported(path, strategy, ("OnDelete", "RollingUpdate"))
    rolling = strategy.get("rollingUpdate")
    if strategy.get("type") != "RollingUpdate" or rolling is None:
        return
    unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    share(unavailable, f"{path}.rollingUpdate.maxUnavailable", problems)
    share(surge, f"{path}.rollingUpdate.maxSurge", problems)
    where = f"{path}.rollingUpdate.maxSurge"
    if _amount(unavailable) and _amount(surge):
        problems.invalid(where, surge, "may not be set when maxUnavailable is non-zero")
    if not _amount(unavailable) and not _amount(surge):
        where = f"{path}.rollingUpdate.maxUnavailable"
        problems.required(where, "cannot be 0 when maxSurge is 0")


def share(value: int | str, path: str, problems: Problems) -> None:
    """Check a number or a percentage of at most 100."""
    if isinstance(value, int):
        if value < 0:
            problems.invalid(path, value, "must be greater than or equal to 0")
    elif not _PERCENT.match(value):
        told = (
            "a valid percent string must be a numeric string followed by an ending '%'"
            " (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"
        )
        problems.invalid(path, value, told)
    elif int(value[:-1]) > 100:
        problems.invalid(path, value, "must not be greater than 100%")


def _amount(value: int | str) -> int:
    text = str(value).rstrip("%")
    return int(text) if text.isdigit() else 1


def check_job(spec: Json, problems: Problems, path: str = "spec") -> None:
    """Check a job's specification."""
    for field in (
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
    ):
        _not_negative(spec, field, problems, path)
    template(spec.get("template", {}), f"{path}.template", problems)
    policy = spec.get("template", {}).get("spec", {}).get("restartPolicy")
    where = f"{path}.template.spec.restartPolicy"
    if policy in {"", "Always", None}:
        problems.required(where, 'valid values: "OnFailure", "Never"')
    elif policy not in {"OnFailure", "Never"}:
        problems.unsupported(where, policy, ("Never", "OnFailure"))


def _not_negative(spec: Json, field: str, problems: Problems, path: str = "spec") -> None:
    if spec.get(field, 0) < 0:
        told = "must be greater than or equal to 0"
        problems.invalid(f"{path}.{field}", spec[field], told)
