"""What the module reports, from the device's record and from what is wanted; pure."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from edge_components.agent.reporting import Identity, device_report
from edge_components.apply.verdict import action_of
from edge_components.contract.state import DeviceReport, Reason, State
from edge_components.contract.twin import DesiredRelease, ModuleReport, module_report
from edge_components.update.record import Record


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in the way of a release beside what the record knows.

    Attributes:
        release: The release's number.
        passing: Whether it is tried again by itself.
    """

    release: int
    reason: Reason
    detail: str
    passing: bool = False


def report_of(
    record: Record,
    identity: Identity,
    wanted: DesiredRelease | None,
    trouble: Trouble | None,
    *,
    answering: int | None,
) -> DeviceReport:
    """Return the device's statement about what is wanted.

    Args:
        record: The device's record.
        identity: Who speaks.
        wanted: What the twin names; None for nothing.
        trouble: What stands in the way of it.
        answering: The release that the runtime answers with, 0 for none, None where it was not
            looked at yet.
    """
    base = device_report(record, identity, answering=answering)
    if wanted is None:
        return base
    named = replace(base, release=wanted.release, package=wanted.package)
    if trouble is not None and trouble.release == wanted.release:
        return replace(named, state=State.FAILED, reason=trouble.reason, detail=trouble.detail)
    if base.release == wanted.release:
        # A version that is in place and does not answer is not healthy, whatever was once the end.
        return _serving(base) if base.state is State.HEALTHY else base
    if record.update is None:
        if record.active is not None and record.active.number == wanted.release:
            return _serving(named)
        outcome = record.outcome
        if outcome is not None and outcome.action == action_of(wanted.release):
            return named
    return replace(named, state=State.PENDING, reason=Reason.NONE, detail="")


def twin_report(report: DeviceReport, record: Record, *, at: int) -> ModuleReport:
    """Return the statement in the form of a twin."""
    back = record.previous[0].number if record.previous else 0
    return module_report(report, previous=back, at=at)


def _serving(report: DeviceReport) -> DeviceReport:
    if report.active_release == report.release:
        return replace(report, state=State.HEALTHY, reason=Reason.NONE, detail="")
    return replace(
        report,
        state=State.FAILED,
        reason=Reason.RUNTIME_NOT_READY,
        detail="the runtime does not answer",
    )
