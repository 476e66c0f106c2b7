"""What an order means on this device, and what its end means to whoever gave it; pure.

A supervisor that starts ``edge-agent apply`` knows its exit code and nothing else, and repeats the
order when it likes: after a failure, after a restart, or for the version before when it takes a
deployment back. So the same order may mean different things.
"""

from __future__ import annotations

import enum

from msgspec.structs import replace

from edge_components.contract.errors import ContractError
from edge_components.contract.release import ReleaseDocument, parse_release, parse_release_envelope
from edge_components.contract.state import DeviceReport, Reason, State
from edge_components.update.record import Record


class ExitCode(enum.IntEnum):
    """How ``edge-agent apply`` ends; 1 and 2 are for a configuration or usage that is wrong."""

    HEALTHY = 0
    REFUSED = 10
    ROLLED_BACK = 11
    TEMPORARY = 12


class Step(enum.Enum):
    """What is to be done about an order."""

    SERVE = "the version is in place: see that it answers"
    GO_BACK = "the version is kept to fall back to, and whoever supervises wants it again"
    REPEAT = "the version fell back, and whoever ordered it may not know"
    UPDATE = "anything else: the updater decides"


def action_of(number: int) -> str:
    """Return the order's name in the record."""
    return f"release-{number}"


def claimed_release(envelope: bytes) -> ReleaseDocument | None:
    """Return what an envelope says, not verified; None if it cannot be read."""
    try:
        return parse_release(parse_release_envelope(envelope).payload_bytes())
    except ContractError:
        return None


def decide(record: Record, release: ReleaseDocument | None, *, is_known: bool) -> Step:
    """Return what an order means.

    Args:
        record: The device's record; no update is past the switch in it.
        release: What the delivered envelope says, not verified; None if it cannot be read.
        is_known: Whether the envelope is, byte for byte, the one in the folder of a kept version:
            that one was verified before it was kept.
    """
    if release is None:
        return Step.UPDATE
    active, before = record.active, record.previous[:1]
    if is_known and active is not None and active.number == release.number:
        return Step.SERVE
    if is_known and before and before[0].number == release.number:
        return Step.GO_BACK
    outcome = record.outcome
    if outcome is None or outcome.delivered or outcome.action != action_of(release.number):
        return Step.UPDATE
    # Before the switch a second try harms nobody and may succeed; after it, clients were harmed.
    return Step.REPEAT if outcome.state is State.ROLLED_BACK else Step.UPDATE


def heard(record: Record) -> Record:
    """Return the record when an order for the active version shows that a failure was heard."""
    outcome = record.outcome
    if outcome is None or outcome.state is State.HEALTHY:
        return record
    return replace(record, outcome=replace(outcome, delivered=True))


def forget_outcome(record: Record, action: str) -> Record:
    """Return the record without the outcome of ``action``, so that it can be tried again."""
    outcome = record.outcome
    return replace(record, outcome=None) if outcome and outcome.action == action else record


def exit_code(record: Record, *, switched: bool) -> ExitCode:
    """Return how an order ended.

    Args:
        record: The record after it.
        switched: Whether the new version was the active one at any time.
    """
    outcome = record.outcome
    if record.update is not None or outcome is None:
        return ExitCode.TEMPORARY
    if outcome.state is State.HEALTHY:
        return ExitCode.HEALTHY
    return ExitCode.ROLLED_BACK if switched else ExitCode.REFUSED


def trouble(
    report: DeviceReport, release: ReleaseDocument | None, reason: Reason, detail: str
) -> DeviceReport:
    """Return the report of an order that could not be carried out, for a reason beside it."""
    return replace(
        report,
        release=report.release if release is None else release.number,
        package=report.package if release is None else release.package,
        state=State.FAILED,
        reason=reason,
        detail=detail,
    )
