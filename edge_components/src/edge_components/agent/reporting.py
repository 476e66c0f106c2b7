"""What the device says of itself, derived from its record; pure.

The attributes carry the whole report, and the operator's verdict is made of them. Feedback on the
action carries the same state and reason in words for the hub's own status.
"""

from __future__ import annotations

import msgspec

from edge_components.agent.ddi import Feedback
from edge_components.contract.state import DeviceReport, Reason, State
from edge_components.update.record import Outcome, Phase, Record, Update

_STATES = {
    Phase.RELEASE: State.PENDING,
    Phase.PACKAGE: State.DOWNLOADING,
    Phase.FETCH: State.DOWNLOADING,
    Phase.HELD: State.PENDING,
    Phase.STAGE: State.INSTALLING,
    Phase.CHECK: State.VERIFYING,
    Phase.ACTIVATE: State.VERIFYING,
    Phase.SOAK: State.VERIFYING,
    Phase.FALL_BACK: State.VERIFYING,
}
_EXECUTIONS = {
    Phase.PACKAGE: "download",
    Phase.FETCH: "download",
    Phase.HELD: "downloaded",
    Phase.STAGE: "downloaded",
}
_DETAILS = {
    Phase.HELD: "downloaded; waits until it may install",
    Phase.CHECK: "golden check",
    Phase.SOAK: "soaking",
    Phase.FALL_BACK: "falling back",
}


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What of a report never changes while the agent runs."""

    application: str
    hardware: str
    agent: str


def device_report(record: Record, identity: Identity, *, answering: int | None) -> DeviceReport:
    """Return the device's statement.

    Args:
        record: The device's record.
        identity: Who speaks.
        answering: The release that the runtime was seen to answer with, 0 for none, None where
            it was not looked at and the active version is taken to answer.
    """
    active = record.active
    if active is not None and answering == 0:
        active = None
    if active is not None and answering is not None and answering != active.number:
        active = next((v for v in record.previous if v.number == answering), None)
    base = DeviceReport(
        application=identity.application,
        hardware=identity.hardware,
        agent=identity.agent,
        active_release=active.number if active else 0,
        active_package=active.package if active else "",
        variant=active.precision if active else "",
        provider=active.provider if active else "",
    )
    update = record.update
    if update is not None and update.release is not None:
        return msgspec.structs.replace(
            base,
            release=update.release.number,
            package=update.release.package,
            state=_STATES[update.phase],
            reason=_reason(update),
            detail=update.waits or update.detail or _DETAILS.get(update.phase, ""),
        )
    return _settled(base, record)


def _settled(base: DeviceReport, record: Record) -> DeviceReport:
    outcome, active = record.outcome, record.active
    if outcome is not None:
        state, reason, detail = outcome.state, outcome.reason, outcome.detail
        if state is State.HEALTHY and base.active_release == 0:
            state, reason = State.FAILED, Reason.RUNTIME_NOT_READY
            detail = "the runtime does not answer"
        return msgspec.structs.replace(
            base,
            release=outcome.release,
            package=outcome.package,
            state=state,
            reason=reason,
            detail=detail,
        )
    if active is None:
        return base
    return msgspec.structs.replace(
        base, release=active.number, package=active.package, state=State.HEALTHY
    )


def progress_feedback(update: Update) -> Feedback:
    """Return what the hub is told while an update goes on."""
    state = _STATES[update.phase]
    return Feedback(
        action=update.action,
        execution=_EXECUTIONS.get(update.phase, "proceeding"),
        details=_details(
            state,
            _reason(update),
            update.release.number if update.release else 0,
            update.waits or update.detail or _DETAILS.get(update.phase, update.phase.value),
        ),
    )


def closing_feedback(outcome: Outcome) -> Feedback:
    """Return what the hub is told when an update has ended."""
    details = _details(outcome.state, outcome.reason, outcome.release, outcome.detail)
    if outcome.reason is Reason.CANCELED:
        return Feedback(
            action=outcome.action,
            execution="closed",
            finished="success",
            details=details,
            cancel=True,
        )
    success = outcome.state is State.HEALTHY
    return Feedback(
        action=outcome.action,
        execution="closed",
        finished="success" if success else "failure",
        details=details,
    )


def cancel_rejected(action: str, why: str) -> Feedback:
    """Return the refusal of a cancellation that comes too late."""
    return Feedback(action=action, execution="rejected", details=(why,), cancel=True)


def cancel_accepted(action: str) -> Feedback:
    """Return the answer to a cancellation of what this device does not do."""
    return Feedback(action=action, execution="closed", finished="success", cancel=True)


def _reason(update: Update) -> Reason:
    return Reason.DOWNLOAD_WINDOW if update.waits else update.reason


def _details(state: State, reason: Reason, release: int, detail: str) -> tuple[str, ...]:
    words = f"state={state.value} reason={reason.value} release={release}"
    return (words, detail) if detail else (words,)
