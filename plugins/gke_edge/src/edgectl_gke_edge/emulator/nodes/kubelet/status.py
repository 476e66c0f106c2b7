"""A pod's status, made from what is known of its containers. Pure.

Source: kubernetes.io, "Pod Lifecycle".
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from edgectl_gke_edge.emulator.nodes.api import Obj
from edgectl_gke_edge.emulator.nodes.podfacts import timestamp


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a start of a container ended."""

    code: int
    reason: str
    message: str = ""
    signal: int = 0
    started: float = 0.0
    at: float = 0.0
    container_id: str = ""


class Facts(msgspec.Struct, kw_only=True):
    """What is known of one container.

    Attributes:
        waiting: Why it does not run, or "" while it does or has ended.
        running_since: When its present start began, or None.
        ended: How its last start ended, if none runs.
        last: How the start before that one ended.
        started: Whether its startup probe has passed.
        ready: Whether it takes traffic.
    """

    name: str
    image: str
    image_id: str = ""
    container_id: str = ""
    waiting: str = ""
    message: str = ""
    running_since: float | None = None
    ended: Ended | None = None
    last: Ended | None = None
    restarts: int = 0
    started: bool = False
    ready: bool = False
    is_init: bool = False
    is_sidecar: bool = False


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a pod beside its containers."""

    host_ip: str
    pod_ip: str = ""
    start_time: str = ""
    failure: str = ""
    failure_message: str = ""


def pod_status(pod: Obj, facts: list[Facts], whole: Whole) -> Obj:
    """Return the status of a pod."""
    before = pod.get("status") or {}
    inits = [one for one in facts if one.is_init]
    mains = [one for one in facts if not one.is_init]
    initialized = all(_is_through(one) for one in inits)
    phase = "Failed" if whole.failure else pod_phase(pod["spec"], facts)
    over = phase in ("Succeeded", "Failed")
    sidecars = [one for one in inits if one.is_sidecar]
    unready = [one.name for one in [*mains, *sidecars] if not one.ready]
    ready = not unready and not over and initialized
    why = "PodCompleted" if phase == "Succeeded" else "ContainersNotReady"
    listed = f"containers with unready status: [{' '.join(unready)}]"
    init_reason = "" if initialized else "ContainersNotInitialized"
    init_message = _incomplete(inits)
    status: Obj = {
        "phase": phase,
        "hostIP": whole.host_ip,
        "hostIPs": [{"ip": whole.host_ip}],
        "startTime": whole.start_time,
        "qosClass": before.get("qosClass") or qos_class(pod["spec"]),
        "containerStatuses": [_container(one) for one in mains],
        "conditions": _conditions(
            before.get("conditions") or [],
            [
                ("PodReadyToStartContainers", bool(whole.pod_ip) and not over, "", ""),
                ("Initialized", initialized, init_reason, init_message),
                ("Ready", ready, "" if ready else why, "" if ready or over else listed),
                ("ContainersReady", ready, "" if ready else why, "" if ready or over else listed),
                ("PodScheduled", True, "", ""),
            ],
        ),
    }
    if inits:
        status["initContainerStatuses"] = [_container(one) for one in inits]
    if whole.pod_ip:
        status |= {"podIP": whole.pod_ip, "podIPs": [{"ip": whole.pod_ip}]}
    if whole.failure:
        status |= {"reason": whole.failure, "message": whole.failure_message}
    return status


def pod_phase(spec: Obj, facts: list[Facts]) -> str:
    """Return the phase that the containers' states make."""
    policy = spec.get("restartPolicy") or "Always"
    inits = [one for one in facts if one.is_init and not one.is_sidecar]
    mains = [one for one in facts if not one.is_init]
    if policy == "Never" and any(one.ended and one.ended.code != 0 for one in inits):
        return "Failed"
    if not all(_is_through(one) for one in facts if one.is_init):
        return "Pending"
    if all(one.ended is not None and not one.waiting for one in mains) and policy != "Always":
        failed = any(one.ended is not None and one.ended.code != 0 for one in mains)
        if not failed:
            return "Succeeded"
        return "Failed" if policy == "Never" else "Running"
    ran = any(one.running_since is not None or one.ended or one.last for one in mains)
    return "Running" if ran else "Pending"


def qos_class(spec: Obj) -> str:
    """Return a pod's quality of service class (kubernetes.io, "Pod Quality of Service Classes")."""
    everything = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    resources = [one.get("resources") or {} for one in everything]
    if not any(one.get("requests") or one.get("limits") for one in resources):
        return "BestEffort"
    same = all(
        (one.get("limits") or {}).get(name)
        and (one.get("requests") or one["limits"]).get(name, one["limits"][name])
        == one["limits"][name]
        for one in resources
        for name in ("cpu", "memory")
    )
    return "Guaranteed" if same else "Burstable"


def _is_through(one: Facts) -> bool:
    if one.is_sidecar:
        return one.started
    return one.ended is not None and one.ended.code == 0 and not one.waiting


def _incomplete(inits: list[Facts]) -> str:
    names = [one.name for one in inits if not _is_through(one)]
    return f"containers with incomplete status: [{' '.join(names)}]" if names else ""


def _container(one: Facts) -> Obj:
    status: Obj = {
        "name": one.name,
        "image": one.image,
        "imageID": one.image_id,
        "ready": one.ready or (one.is_init and _is_through(one)),
        "started": one.started,
        "restartCount": one.restarts,
        "state": _state(one),
        "lastState": {} if one.last is None else {"terminated": _terminated(one.last)},
    }
    if one.container_id:
        status["containerID"] = one.container_id
    return status


def _state(one: Facts) -> Obj:
    if one.running_since is not None:
        return {"running": {"startedAt": _time(one.running_since)}}
    if one.ended is not None and not one.waiting:
        return {"terminated": _terminated(one.ended)}
    waiting: Obj = {"reason": one.waiting or "PodInitializing"}
    return {"waiting": waiting | ({"message": one.message} if one.message else {})}


def _terminated(ended: Ended) -> Obj:
    found: Obj = {
        "exitCode": ended.code,
        "reason": ended.reason,
        "startedAt": _time(ended.started or ended.at),
        "finishedAt": _time(ended.at),
    }
    optional = {"message": ended.message, "containerID": ended.container_id}
    return found | {key: value for key, value in optional.items() if value}


def _conditions(before: list[Obj], wanted: list[tuple[str, bool, str, str]]) -> list[Obj]:
    """Return the conditions; what has not changed keeps the time of its last change."""
    old = {one["type"]: one for one in before}
    kinds = {kind for kind, *_ in wanted}
    others = [one for one in before if one["type"] not in kinds]
    found = []
    for kind, holds, reason, message in wanted:
        value = "True" if holds else "False"
        former = old.get(kind)
        same = former is not None and former["status"] == value
        kept_since = former.get("lastTransitionTime") if same and former is not None else None
        since = kept_since or timestamp()
        one: Obj = {"type": kind, "status": value, "lastTransitionTime": since}
        if reason:
            one |= {"reason": reason}
        if message:
            one |= {"message": message}
        found.append(one)
    return others + found


def _time(moment: float) -> str:
    return timestamp(datetime.fromtimestamp(moment, UTC))
