"""What a device's deployments mean: the pure part of ``observe``.

A device is judged by its own words: the executions of the deployments that carry a release, the
reason that its nucleus gave, and the report that it wrote into its shadow. The status of a
deployment as a whole says nothing about it (it stays ACTIVE while devices fail).

Several deployments may carry one release to a device: the part of a rollout that it belongs to,
then the whole group, then another team's revision that keeps ours. They are read in the order in
which they were made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from edgectl.api import DeviceReport, DeviceStatus, Reason, Record, State

SUCCEEDED = frozenset({"SUCCEEDED", "COMPLETED"})
FAILED = frozenset({"FAILED", "REJECTED", "TIMED_OUT"})
CALLED_OFF = frozenset({"CANCELED", "REMOVED"})
WAITING = "NOT_CREATED"
"""Our own word for a device of the target that has no execution yet."""
MAX_DETAIL = 500

DETAILED_STATUS = "detailed-deployment-status"
FAILURE_CAUSE = "deployment-failure-cause"
_STACK_WORD = re.compile(r"[A-Z][A-Z0-9_]{3,}")
_UNCHANGED = frozenset({"FAILED_ROLLBACK_COMPLETE", "FAILED_NO_STATE_CHANGE"})

# Nucleus, DeploymentErrorCode: the words of an error stack, most telling first. A word that is
# only the frame around others ("DEPLOYMENT_FAILURE") is not here.
_REASONS: tuple[tuple[str, Reason], ...] = (
    ("DISK_SPACE_CRITICAL", Reason.DISK_FULL),
    ("ARTIFACT_CHECKSUM_MISMATCH", Reason.DIGEST_MISMATCH),
    ("DEPLOYMENT_INTERRUPTED", Reason.CANCELED),
    ("NO_AVAILABLE_COMPONENT_VERSION", Reason.HARDWARE_MISMATCH),
    ("COMPONENT_VERSION_REQUIREMENTS_NOT_MET", Reason.BAD_PACKAGE),
    ("COMPONENT_CIRCULAR_DEPENDENCY_ERROR", Reason.BAD_PACKAGE),
    ("RECIPE_", Reason.BAD_PACKAGE),
    ("ARTIFACT_URI_NOT_VALID", Reason.BAD_PACKAGE),
    ("EMPTY_ARTIFACT_", Reason.BAD_PACKAGE),
    ("UNSUPPORTED_ARTIFACT_SCHEME", Reason.BAD_PACKAGE),
    ("LOCAL_RECIPE_", Reason.BAD_PACKAGE),
    ("CONFIG_INTERPOLATE_ERROR", Reason.BAD_PACKAGE),
    ("COMPONENT_DEPENDENCY_NOT_VALID", Reason.BAD_PACKAGE),
    ("COMPONENT_PACKAGE_LOADING_ERROR", Reason.BAD_PACKAGE),
    ("S3_", Reason.DOWNLOAD_FAILED),
    ("DOCKER_", Reason.DOWNLOAD_FAILED),
    ("GET_", Reason.DOWNLOAD_FAILED),
    ("DOWNLOAD_", Reason.DOWNLOAD_FAILED),
    ("RESOLVE_", Reason.DOWNLOAD_FAILED),
    ("CREDENTIAL_", Reason.DOWNLOAD_FAILED),
    ("NETWORK_ERROR", Reason.DOWNLOAD_FAILED),
    ("HTTP_REQUEST_ERROR", Reason.DOWNLOAD_FAILED),
    ("TLS_HANDSHAKE_FAILURE", Reason.DOWNLOAD_FAILED),
    ("MQTT_CONNECTION_FAILED", Reason.DOWNLOAD_FAILED),
    ("CLOUD_API_ERROR", Reason.DOWNLOAD_FAILED),
    ("ACCESS_DENIED", Reason.DOWNLOAD_FAILED),
    ("THROTTLING_ERROR", Reason.DOWNLOAD_FAILED),
    ("SERVER_ERROR", Reason.DOWNLOAD_FAILED),
    ("RESOURCE_NOT_FOUND", Reason.DOWNLOAD_FAILED),
    ("ARTIFACT_DOWNLOAD_ERROR", Reason.DOWNLOAD_FAILED),
    ("COMPONENT_BROKEN", Reason.RUNTIME_NOT_READY),
    ("COMPONENT_UPDATE_ERROR", Reason.RUNTIME_NOT_READY),
    ("COMPONENT_BOOTSTRAP_", Reason.RUNTIME_NOT_READY),
)


class Execution(Record, frozen=True, kw_only=True):
    """A deployment on one device.

    Attributes:
        order: Which deployment was made when: the larger, the later.
        release: The release that the deployment carries; 0 for none of the application.
        deployment: The deployment's id.
        job: The IoT job's id, or "" for a deployment to a thing.
        status: The vendor's word, or ``NOT_CREATED``.
        queued_at: Seconds since 1970 UTC, as ``updated_at``; None where it is not known.
    """

    order: float
    release: int
    deployment: str
    job: str = ""
    status: str = WAITING
    queued_at: float | None = None
    updated_at: float | None = None


class Failure(Record, frozen=True, kw_only=True):
    """What a nucleus said about a deployment that failed.

    Attributes:
        status: ``detailed-deployment-status``.
        cause: Its sentence.
        stack: Its error codes, outermost first.
    """

    status: str = ""
    cause: str = ""
    stack: tuple[str, ...] = ()


class Sighting(Record, frozen=True, kw_only=True):
    """What Greengrass knows of a core device.

    Attributes:
        status: HEALTHY or UNHEALTHY.
        at: When the device reported last, seconds since 1970 UTC.
    """

    status: str
    at: float


def read_failure(details: Mapping[str, str]) -> Failure:
    """Read the details of a job execution.

    Nuclei before 2.8 give no error stack; nucleus lite none at all.
    """
    words: list[str] = []
    for key, value in details.items():
        if "stack" in key:
            words += _STACK_WORD.findall(value)
    return Failure(
        status=details.get(DETAILED_STATUS, ""),
        cause=details.get(FAILURE_CAUSE, ""),
        stack=tuple(words),
    )


def reason_of(failure: Failure) -> Reason:
    """Return what a nucleus's error codes mean."""
    for word, reason in _REASONS:
        if any(code.startswith(word) for code in failure.stack):
            return reason
    if "exit code" in failure.cause or "broken" in failure.cause.lower():
        return Reason.RUNTIME_NOT_READY
    return Reason.INTERNAL


def is_stale(failure: Failure) -> bool:
    """Whether the nucleus refused a deployment because it had a later one already."""
    return "REJECTED_STALE_DEPLOYMENT" in failure.stack


def current(executions: Iterable[Execution]) -> Execution | None:
    """Return the last deployment that a device was given and that was not called off.

    It may carry nothing of the application: somebody took it from the target.
    """
    there = [e for e in executions if e.status not in CALLED_OFF]
    return max(there, key=lambda e: e.order, default=None)


def judge(
    device: str,
    executions: Sequence[Execution],
    release: int,
    *,
    package: str = "",
    failure: Failure | None = None,
) -> DeviceStatus | None:
    """Return where a device stands with a release; None if it was never given it.

    Args:
        device: The device.
        executions: Every deployment of the application to it that is known.
        release: The release in question.
        package: The package that it points at.
        failure: What the nucleus said, where it was asked.
    """
    carried = sorted((e for e in executions if e.release == release), key=lambda e: e.order)
    taken = [e for e in carried if e.status not in CALLED_OFF]
    last = current(executions)
    if not carried or not release:
        return None
    if last is not None and last.release != release and last.order > carried[-1].order:
        return DeviceStatus(
            device=device,
            state=State.SUPERSEDED,
            release=release,
            since=last.queued_at,
            raw=carried[-1].status,
        )
    if not taken:
        return None
    return _judge_taken(device, taken, release, package, failure)


def _judge_taken(
    device: str,
    taken: Sequence[Execution],
    release: int,
    package: str,
    failure: Failure | None,
) -> DeviceStatus:
    ended = [e for e in taken if e.status in SUCCEEDED | FAILED]
    if not ended:
        begun = next((e for e in reversed(taken) if e.status == "IN_PROGRESS"), taken[-1])
        state = State.INSTALLING if begun.status == "IN_PROGRESS" else State.PENDING
        since = begun.updated_at if state is State.INSTALLING else begun.queued_at
        return DeviceStatus(
            device=device, state=state, release=release, since=since, raw=begun.status
        )
    last = ended[-1]
    unchanged = failure is not None and failure.status in _UNCHANGED
    had_it = any(e.status in SUCCEEDED for e in ended[:-1])
    if last.status in SUCCEEDED or (had_it and unchanged):
        return DeviceStatus(
            device=device,
            state=State.HEALTHY,
            release=release,
            since=_healthy_since(ended),
            raw=last.status,
            active_release=release,
            active_package=package,
        )
    return _failed(device, last, release, failure or Failure())


def _healthy_since(ended: Sequence[Execution]) -> float | None:
    """Return when the first of the last unbroken row of successes was."""
    since = None
    for execution in reversed(ended):
        if execution.status in SUCCEEDED:
            since = execution.updated_at
        elif since is not None:
            break
    return since


def _failed(device: str, last: Execution, release: int, failure: Failure) -> DeviceStatus:
    back = failure.status == "FAILED_ROLLBACK_COMPLETE"
    state = State.ROLLED_BACK if back else State.FAILED
    reason = reason_of(failure)
    if last.status == "TIMED_OUT":
        reason = Reason.NOT_SEEN
    if is_stale(failure):
        state, reason = State.SUPERSEDED, Reason.NONE
    return DeviceStatus(
        device=device,
        state=state,
        release=release,
        reason=reason.value,
        detail=failure.cause[:MAX_DETAIL],
        since=last.updated_at,
        raw=":".join(word for word in (last.status, failure.status) if word),
    )


def with_sighting(
    status: DeviceStatus, sighting: Sighting | None, *, now: float, after_s: float
) -> DeviceStatus:
    """Call a device unreachable that has not begun or gone on for long and was not heard of since.

    A core device reports at least every 24 hours, so silence alone says little: it is held
    against a device only that has something to do.

    Args:
        status: Where its deployments say that it stands.
        sighting: What Greengrass knows of it, or None where it never reported.
        now: Seconds since 1970 UTC.
        after_s: The patience.
    """
    waiting = status.state in {State.PENDING, State.INSTALLING}
    if not waiting or status.since is None or now - status.since <= after_s:
        return status
    if sighting is not None and sighting.at > status.since:
        return status
    return msgspec.structs.replace(
        status,
        state=State.UNREACHABLE,
        reason=Reason.NOT_SEEN.value,
        since=status.since if sighting is None else sighting.at,
    )


def with_report(status: DeviceStatus, report: DeviceReport | None) -> DeviceStatus:
    """Add what a device wrote into its shadow.

    About the same release its own reason comes before the nucleus's words, and a failure that it
    names is told as it names it. A report about another release says only what answers now.
    """
    if report is None:
        return status
    active: dict[str, str | int] = {
        "active_release": report.active_release,
        "active_package": report.active_package,
    }
    if report.release != status.release:
        return status if status.state is State.HEALTHY else _replace(status, **active)
    if status.state.is_failure and report.state.is_failure:
        return _replace(
            status,
            state=report.state,
            reason=report.reason or status.reason,
            detail=report.detail or status.detail,
            **active,
        )
    if status.state is State.INSTALLING and not report.state.is_settled:
        return _replace(status, state=report.state, detail=report.detail, **active)
    same = {"variant": report.variant, "execution_provider": report.provider}
    if status.state is State.HEALTHY and report.active_release == status.release:
        return _replace(status, **active, **same)
    return _replace(status, **active) if status.state is not State.HEALTHY else status


def _replace(status: DeviceStatus, **changes: object) -> DeviceStatus:
    return msgspec.structs.replace(status, **changes)
