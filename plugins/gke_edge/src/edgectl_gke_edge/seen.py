"""Nodes and pods as a look at a cluster finds them; pure.

What the API server sends is read leniently: another version of Kubernetes may leave out or add
fields, and a pod that has just been made has no status at all.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec

from edgectl.api import DeviceReport, Record
from edgectl_gke_edge import names
from edgectl_gke_edge.pod import PREPARE, RUNTIME

Document = dict[str, Any]
_REPORT = msgspec.json.Decoder(DeviceReport)
"""Made while importing: two threads that first decode a type at the same time crash msgspec."""
PRESSURES = ("DiskPressure", "MemoryPressure", "PIDPressure", "NetworkUnavailable")


class Container(Record, frozen=True, kw_only=True):
    """Where a container of a pod stands.

    Attributes:
        waiting: Why it waits, in the kubelet's word, or "".
        said: What the kubelet says beside it.
        running: Whether it runs.
        ended: Whether it has ended, or had ended before it was started again.
        exit_code: Of its last end.
        ended_at: When it ended last, or None.
        why: The kubelet's word for its last end ("Error", "OOMKilled", "Completed"), or "".
        message: What it left as its termination message, or "".
        restarts: How often it was started again.
    """

    waiting: str = ""
    said: str = ""
    running: bool = False
    ended: bool = False
    exit_code: int = 0
    ended_at: float | None = None
    why: str = ""
    message: str = ""
    restarts: int = 0


class Pod(Record, frozen=True, kw_only=True):
    """A pod of ours.

    Attributes:
        node: The node's name, or "" before it is given one.
        release: The release's number, by its label; 0 where it has none.
        ready_since: When it became ready, None while it is not.
        unscheduled: Why it was given no node, or "".
        evicted: Why it ended as a whole, or "".
    """

    name: str
    node: str = ""
    release: int = 0
    hardware: str = ""
    package: str = ""
    soak_s: float = 0.0
    template: str = ""
    created: float | None = None
    deleting: bool = False
    ready_since: float | None = None
    unscheduled: str = ""
    evicted: str = ""
    prepare: Container = Container()
    runtime: Container = Container()

    @property
    def is_ready(self) -> bool:
        """Whether it answers."""
        return self.ready_since is not None and not self.deleting


class Taint(Record, frozen=True, kw_only=True):
    """What keeps pods from a node that do not tolerate it."""

    key: str
    value: str = ""
    effect: str = ""


class Node(Record, frozen=True, kw_only=True):
    """A node.

    Attributes:
        changed: When it became ready, or stopped being so; or None.
        reason: Why it is not ready, in the node controller's words, or "".
        heard: When the kubelet was heard of last, or None.
    """

    name: str
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    is_ready: bool = False
    changed: float | None = None
    reason: str = ""
    heard: float | None = None
    is_cordoned: bool = False
    taints: tuple[Taint, ...] = ()
    pressures: tuple[str, ...] = ()
    arch: str = ""
    memory_bytes: int = 0
    gpus: int = 0


def read_node(document: Document) -> Node:
    """Read a node."""
    metadata, status = document.get("metadata") or {}, document.get("status") or {}
    conditions = {c.get("type"): c for c in status.get("conditions") or ()}
    ready = conditions.get("Ready") or {}
    spec = document.get("spec") or {}
    capacity = status.get("allocatable") or status.get("capacity") or {}
    info = status.get("nodeInfo") or {}
    is_ready = ready.get("status") == "True"
    return Node(
        name=str(metadata.get("name", "")),
        labels=dict(metadata.get("labels") or {}),
        annotations=dict(metadata.get("annotations") or {}),
        is_ready=is_ready,
        changed=read_time(ready.get("lastTransitionTime")),
        reason="" if is_ready else _words(ready) or "it never reported",
        heard=read_time(ready.get("lastHeartbeatTime")),
        is_cordoned=bool(spec.get("unschedulable")),
        taints=tuple(
            Taint(
                key=str(t.get("key") or ""),
                value=str(t.get("value") or ""),
                effect=str(t.get("effect") or ""),
            )
            for t in spec.get("taints") or ()
        ),
        pressures=tuple(
            kind for kind in PRESSURES if (conditions.get(kind) or {}).get("status") == "True"
        ),
        arch=str(info.get("architecture") or ""),
        memory_bytes=_quantity(capacity.get("memory")),
        gpus=_quantity(capacity.get("nvidia.com/gpu")),
    )


def read_pod(document: Document) -> Pod:
    """Read a pod of ours."""
    metadata, status = document.get("metadata") or {}, document.get("status") or {}
    labels, marks = metadata.get("labels") or {}, metadata.get("annotations") or {}
    conditions = {c.get("type"): c for c in status.get("conditions") or ()}
    ready, scheduled = conditions.get("Ready") or {}, conditions.get("PodScheduled") or {}
    number = str(labels.get(names.RELEASE, ""))
    ended = status.get("phase") == "Failed"
    return Pod(
        name=str(metadata.get("name", "")),
        node=str((document.get("spec") or {}).get("nodeName") or _wanted_node(document)),
        release=int(number) if number.isascii() and number.isdigit() else 0,
        hardware=str(labels.get(names.HARDWARE, "")),
        package=str(marks.get(names.PACKAGE, "")),
        soak_s=_seconds(marks.get(names.SOAK)),
        template=str(labels.get("pod-template-hash", "")),
        created=read_time(metadata.get("creationTimestamp")),
        deleting=metadata.get("deletionTimestamp") is not None,
        ready_since=read_time(ready.get("lastTransitionTime"))
        if ready.get("status") == "True"
        else None,
        unscheduled=_words(scheduled) if scheduled.get("status") == "False" else "",
        evicted=f"{status.get('reason') or 'Failed'}: {status.get('message') or ''}".strip(": ")
        if ended
        else "",
        prepare=_container(status.get("initContainerStatuses"), PREPARE),
        runtime=_container(status.get("containerStatuses"), RUNTIME),
    )


def read_report(message: str) -> DeviceReport | None:
    """Read the report that ``prepare`` leaves as its termination message; None for other text."""
    try:
        return _REPORT.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def read_time(text: object) -> float | None:
    """Return an RFC 3339 time as seconds since 1970 UTC, None for anything else."""
    if not isinstance(text, str) or not text:
        return None
    try:
        read = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return read.timestamp() if read.tzinfo is not None else None


def _container(statuses: object, name: str) -> Container:
    listed = statuses if isinstance(statuses, list) else []
    status: Document = next((s for s in listed if s.get("name") == name), {})
    state, last = status.get("state") or {}, status.get("lastState") or {}
    waiting = state.get("waiting") or {}
    end = state.get("terminated") or last.get("terminated")
    found = end or {}
    return Container(
        waiting=str(waiting.get("reason") or ""),
        said=str(waiting.get("message") or ""),
        running=state.get("running") is not None,
        ended=end is not None,
        exit_code=int(found.get("exitCode") or 0),
        ended_at=read_time(found.get("finishedAt")),
        why=str(found.get("reason") or ""),
        message=str(found.get("message") or ""),
        restarts=int(status.get("restartCount") or 0),
    )


def _wanted_node(document: Document) -> str:
    """Return the node that a DaemonSet's pod waits for: it is in its affinity, not in its spec."""
    affinity = ((document.get("spec") or {}).get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in required.get("nodeSelectorTerms") or ():
        for field in term.get("matchFields") or ():
            if field.get("key") == "metadata.name" and field.get("values"):
                return str(field["values"][0])
    return ""


def _words(condition: Document) -> str:
    return ": ".join(str(condition[key]) for key in ("reason", "message") if condition.get(key))


def _seconds(text: object) -> float:
    try:
        return max(float(str(text)), 0.0)
    except ValueError:
        return 0.0


_UNITS = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_UNITS |= {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}


def _quantity(value: object) -> int:
    text = str(value or "0")
    number = text.rstrip("kMGTi")
    try:
        return int(float(number) * _UNITS.get(text[len(number) :], 1))
    except ValueError:
        return 0
