"""What a node and its pods mean for a device: the pure part of ``observe``.

A device is judged by its own words: the report that ``prepare`` left, the probes that the runtime
answers, and what the kubelet says of the containers. What a DaemonSet or a Deployment counts is
never a verdict. A node that the cluster has lost is ``unreachable``, not failed: what runs there
may well go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from edgectl.api import DeviceStatus, Reason, Record, State
from edgectl_gke_edge import names
from edgectl_gke_edge.seen import Container, Node, Pod, read_report

REFUSED, TEMPORARY = 10, 12
"""How ``edge-pod prepare`` ends: refused for good, and worth a further try."""
MAX_DETAIL = 500
TRIES = 2
"""How often something has to go wrong that may right itself before it counts."""

IMAGE_WORDS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
)
_NEVER = ("not found", "unauthorized", "forbidden", "denied", "manifest unknown", "invalid")
_CONFIG_WORDS = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
)
_MEMORY = "OOMKilled"


_ORDER = (State.PENDING, State.DOWNLOADING, State.INSTALLING, State.VERIFYING)


class Patience(Record, frozen=True, kw_only=True):
    """How long things may take, in seconds.

    Attributes:
        progress_s: A pod that cannot start for so long has failed.
        unreachable_s: A node that is not ready for so long is unreachable.
    """

    progress_s: float = 600.0
    unreachable_s: float = 40.0


class Refused(Record, frozen=True, kw_only=True):
    """Why a release was taken off a node again, as the node's annotation keeps it."""

    release: int
    reason: str = ""
    detail: str = ""
    raw: str = ""
    since: float | None = None


_REFUSED = msgspec.json.Decoder(Refused)


class Look(Record, frozen=True, kw_only=True):
    """One device as it was found.

    Attributes:
        device: Its id.
        node: Its node; None where the device is a cluster.
        given: The releases that it was given, lowest first.
        refused: The release that was taken off it again, or None.
        pods: Its pods.
        replicas: How many pods have to answer; 1 for a node.
    """

    device: str
    node: Node | None = None
    given: tuple[int, ...] = ()
    refused: Refused | None = None
    pods: tuple[Pod, ...] = ()
    replicas: int = 1

    @property
    def last(self) -> int | None:
        """The last release that it was given, whatever became of that; None for none."""
        known = [*self.given, *([self.refused.release] if self.refused is not None else [])]
        return max(known, default=None)


def node_look(cluster: str, node: Node, application: str, pods: Iterable[Pod]) -> Look:
    """Return a node as a device."""
    return Look(
        device=device_id(cluster, node.name),
        node=node,
        given=tuple(names.releases_on(node.labels, application)),
        refused=read_refused(node.annotations.get(names.refused_key(application), "")),
        pods=tuple(pod for pod in pods if pod.node == node.name),
    )


def read_refused(text: str) -> Refused | None:
    """Read what a node's annotation keeps of a release that it refused; None for anything else."""
    try:
        return _REFUSED.decode(text) if text else None
    except msgspec.DecodeError:
        return None


def write_refused(status: DeviceStatus) -> str:
    """Return what a node's annotation keeps of a release that failed on it."""
    refused = Refused(
        release=status.release,
        reason=status.reason,
        detail=status.detail,
        raw=status.raw,
        since=status.since,
    )
    return msgspec.json.encode(refused).decode()


def device_id(cluster: str, node: str) -> str:
    """Return the id of a node as a device."""
    return f"{cluster}/{node}"


def judge(
    look: Look, release: int | None, *, now: float, patience: Patience
) -> DeviceStatus | None:
    """Say where a device stands with a release; None if it was never given it.

    Args:
        look: The device as it was found.
        release: The release that is asked about; None asks for the last one.
        now: Seconds since 1970 UTC, by the cluster's clock.
        patience: How long things may take.
    """
    number = look.last if release is None else release
    refused = look.refused if look.refused is not None and look.refused.release == number else None
    if number is None or (number not in look.given and refused is None):
        return None
    if refused is not None and number not in look.given:
        status = _refused(look, refused)
    elif number != look.given[-1]:
        status = _superseded(look, number)
    else:
        status = _judge_node(look, number, now, patience) or _judge_pods(
            look, number, now, patience
        )
    return _with_active(status, look, is_asked=release is not None)


def _refused(look: Look, refused: Refused) -> DeviceStatus:
    return DeviceStatus(
        device=look.device,
        state=State.FAILED,
        release=refused.release,
        reason=refused.reason,
        detail=refused.detail,
        raw=refused.raw,
        since=refused.since,
    )


def _superseded(look: Look, number: int) -> DeviceStatus:
    return DeviceStatus(
        device=look.device,
        state=State.SUPERSEDED,
        release=number,
        detail=f"release {look.given[-1]} took over",
    )


def superseded_by(look: Look, status: DeviceStatus) -> tuple[int, ...]:
    """Return the releases that a device has no more use for: the later one has proved itself."""
    if status.state is not State.HEALTHY or not look.given or status.release != look.given[-1]:
        return ()
    return look.given[:-1]


def unreachable(device: str, release: int | None, why: str, raw: str) -> DeviceStatus:
    """Return the state of a device whose cluster cannot be reached."""
    return DeviceStatus(
        device=device,
        state=State.UNREACHABLE,
        release=release or 0,
        reason=Reason.NOT_SEEN,
        detail=why[:MAX_DETAIL],
        raw=raw,
    )


def _judge_node(look: Look, number: int, now: float, patience: Patience) -> DeviceStatus | None:
    node = look.node
    if node is None or node.is_ready:
        return None
    if node.changed is not None and now - node.changed < patience.unreachable_s:
        return None
    return DeviceStatus(
        device=look.device,
        state=State.UNREACHABLE,
        release=number,
        reason=Reason.NOT_SEEN,
        detail=f"the node is not ready: {node.reason}"[:MAX_DETAIL],
        since=node.changed,
        raw="NodeNotReady",
    )


def _judge_pods(look: Look, number: int, now: float, patience: Patience) -> DeviceStatus:
    mine = [pod for pod in look.pods if pod.release == number and not pod.deleting]
    if look.node is not None and mine:
        # While an evicted pod is still listed beside its successor, the younger one counts.
        mine = [max(mine, key=lambda p: (not p.evicted, p.created or 0.0))]
    judged = [_out_of_patience(_of_pod(pod, look.device, now), pod, now, patience) for pod in mine]
    failed = [status for status in judged if status.state.is_failure]
    if failed:
        return min(failed, key=lambda status: status.since or now)
    healthy = [status for status in judged if status.state is State.HEALTHY]
    if len(healthy) >= look.replicas:
        return max(healthy, key=lambda status: status.since or 0.0)
    open_ = [status for status in judged if status.state is not State.HEALTHY]
    if not open_:
        return DeviceStatus(device=look.device, state=State.PENDING, release=number)
    return min(open_, key=lambda status: _ORDER.index(status.state))


def _of_pod(pod: Pod, device: str, now: float) -> DeviceStatus:
    if pod.evicted:
        return _status(pod, device, State.PENDING, detail=pod.evicted, raw="Failed")
    if pod.unscheduled:
        return _status(pod, device, State.PENDING, detail=pod.unscheduled, raw="Unschedulable")
    if not pod.prepare.ended or pod.prepare.exit_code != 0:
        return _of_prepare(pod, device)
    return _of_runtime(pod, device, now)


def _of_prepare(pod: Pod, device: str) -> DeviceStatus:
    prepare = pod.prepare
    if prepare.waiting in IMAGE_WORDS:
        return _of_image(pod, device, prepare)
    if prepare.ended:
        return _of_failed_prepare(pod, device)
    if prepare.waiting in _CONFIG_WORDS:
        return _status(pod, device, State.INSTALLING, detail=prepare.said, raw=prepare.waiting)
    state = State.VERIFYING if prepare.running else State.DOWNLOADING
    return _status(pod, device, state, raw=prepare.waiting, detail=prepare.said)


def _of_failed_prepare(pod: Pod, device: str) -> DeviceStatus:
    prepare = pod.prepare
    report = read_report(prepare.message)
    reason = report.reason if report is not None else Reason.INTERNAL
    detail = (report.detail if report is not None else prepare.message.strip()) or prepare.why
    raw = f"exit {prepare.exit_code}"
    if prepare.why == _MEMORY:
        reason, raw = Reason.LOAD_FAILED, _MEMORY
        detail = "preparing took more memory than the pod may have"
    final = prepare.exit_code == REFUSED
    if prepare.exit_code != TEMPORARY and prepare.restarts >= TRIES - 1:
        final = True
    state = State.FAILED if final else State.DOWNLOADING
    return _status(
        pod, device, state, reason=reason, detail=detail, raw=raw, since=prepare.ended_at
    )


def _of_image(pod: Pod, device: str, container: Container) -> DeviceStatus:
    """An image that is not there, or not for us, will not come: it has failed once it was tried."""
    said = container.said.lower()
    never = container.waiting == "InvalidImageName" or (
        container.waiting == "ImagePullBackOff" and any(word in said for word in _NEVER)
    )
    return _status(
        pod,
        device,
        State.FAILED if never else State.DOWNLOADING,
        reason=Reason.DOWNLOAD_FAILED,
        detail=container.said or container.waiting,
        raw=container.waiting,
    )


def _of_runtime(pod: Pod, device: str, now: float) -> DeviceStatus:
    runtime = pod.runtime
    if runtime.waiting in IMAGE_WORDS:
        return _of_image(pod, device, runtime)
    if pod.ready_since is not None:
        proved = pod.ready_since + pod.soak_s
        state = State.HEALTHY if now >= proved else State.VERIFYING
        since = proved if state is State.HEALTHY else pod.ready_since
        return _prepared(_status(pod, device, state, since=since), pod)
    if runtime.ended and runtime.restarts >= 1:
        killed = runtime.why == _MEMORY
        detail = "it took more memory than the pod may have" if killed else runtime.message.strip()
        return _status(
            pod,
            device,
            State.FAILED,
            reason=Reason.RUNTIME_CRASHED,
            detail=detail or f"{runtime.why} (exit {runtime.exit_code})",
            raw=runtime.why or runtime.waiting,
            since=runtime.ended_at,
        )
    if runtime.waiting in _CONFIG_WORDS:
        return _status(pod, device, State.INSTALLING, detail=runtime.said, raw=runtime.waiting)
    return _prepared(_status(pod, device, State.INSTALLING, raw=runtime.waiting), pod)


def _out_of_patience(
    status: DeviceStatus, pod: Pod, now: float, patience: Patience
) -> DeviceStatus:
    """Call a pod failed that has had long enough to start; waiting for its window is not that."""
    if status.reason == Reason.DOWNLOAD_WINDOW:
        return status
    begun = pod.created if pod.created is not None else now
    report = read_report(pod.prepare.message)
    if report is not None and report.state is State.DOWNLOADING and not report.reason:
        begun = max(begun, pod.prepare.ended_at or begun)  # its window opened then
    if status.state.is_settled or pod.is_ready or now - begun < patience.progress_s:
        return status
    reason = status.reason or Reason.RUNTIME_NOT_READY
    if status.raw == "Unschedulable":
        reason = Reason.HARDWARE_MISMATCH
    return msgspec.structs.replace(
        status,
        state=State.FAILED,
        reason=reason,
        detail=(status.detail or f"the pod did not start within {patience.progress_s:g} s"),
    )


def _status(
    pod: Pod,
    device: str,
    state: State,
    *,
    reason: str = "",
    detail: str = "",
    raw: str = "",
    since: float | None = None,
) -> DeviceStatus:
    return DeviceStatus(
        device=device,
        state=state,
        release=pod.release,
        reason=reason,
        detail=" ".join(detail.split())[:MAX_DETAIL],
        raw=raw,
        since=since if since is not None else pod.created,
    )


def _prepared(status: DeviceStatus, pod: Pod) -> DeviceStatus:
    """Add what ``prepare`` found to run best on this hardware."""
    report = read_report(pod.prepare.message)
    if report is None:
        return status
    return msgspec.structs.replace(
        status, variant=report.variant, execution_provider=report.provider
    )


def _with_active(status: DeviceStatus, look: Look, *, is_asked: bool) -> DeviceStatus:
    """Add which release answers now; a device that failed and answers by an older one went back.

    While two answer side by side, a plan is told of the older one: the change is not at its end
    before that one is let go. Whoever asks about a release is told of the newer one.
    """
    answering = [pod for pod in look.pods if pod.is_ready]
    if not answering:
        known = 0 if look.node is None or look.node.is_ready else None
        return msgspec.structs.replace(status, active_release=known)
    choose = max if is_asked else min
    best = choose(answering, key=lambda pod: pod.release)
    state = status.state
    if state is State.FAILED and best.release != status.release:
        state = State.ROLLED_BACK
    return msgspec.structs.replace(
        status, state=state, active_release=best.release, active_package=best.package
    )


def by_node(pods: Iterable[Pod]) -> Mapping[str, list[Pod]]:
    """Return pods by the node that they are on, or wait for."""
    found: dict[str, list[Pod]] = {}
    for pod in pods:
        found.setdefault(pod.node, []).append(pod)
    return found
