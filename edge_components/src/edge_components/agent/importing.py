"""Importing a bundle: when it may begin, how it ends, and what it leaves behind.

Every step of an update by the hub is taken here too; only the files come from elsewhere.

A bundle that a person brings is no order of the fleet's. It takes the place of an order that is
still being fetched, because where a bundle is brought the link is often the trouble; the hub offers
that order again. The hub gets no feedback on an action that
it never made; it learns what the device runs from the device's report. A bundle that is refused
before the switch changes nothing, so the report stays as it was: whoever brought it is told, and an
event tells the fleet.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec
from msgspec.structs import replace

from edge_components.agent.bundle import BundleSource
from edge_components.agent.orders import import_action, open_outcome
from edge_components.apply.verdict import (
    ExitCode,
    claimed_release,
    exit_code,
    forget_outcome,
    trouble,
)
from edge_components.contract.errors import ContractError
from edge_components.contract.release import ReleaseDocument
from edge_components.contract.state import DeviceReport, Reason, State
from edge_components.store.disk import DiskFullError
from edge_components.update import machine
from edge_components.update.errors import RefusedError
from edge_components.update.record import Outcome, Record

_LOOK_S = 0.2
Attributes = Mapping[str, str | int | float | bool]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """How an import ended: the command's exit code, and the device's report."""

    exit: int
    report: DeviceReport


class Errand:
    """One bundle on its way into the device.

    Args:
        source: The bundle.
        say: Told of each phase, in the updater's thread.

    Attributes:
        release: What the bundle says its release is; not verified, None if it cannot be read.
        number: The release's number that it claims; 0 if it cannot be read.
        action: Its name in the record.
        over: Set when the device is done with it.
        final: The record at its end; None while there is none, or if it was broken off.
        displaced: The hub's own order whose end the hub has not heard of, if the import took its
            place in the record.
    """

    def __init__(self, source: BundleSource, say: Callable[[str], None]) -> None:
        self.source = source
        self._say = say
        self.release: ReleaseDocument | None = claimed_release(source.release(threading.Event()))
        self.number = self.release.number if self.release else 0
        self.action = import_action(self.number)
        self.over = threading.Event()
        self.final: Record | None = None
        self.displaced: Outcome | None = None
        self.switched = False
        self._before: Outcome | None = None

    def begin(self, record: Record) -> Record:
        """Return the record with the import begun; an earlier one of the same release may be there.

        A person who brings a bundle again wants it tried again.
        """
        self._before = record.outcome
        return machine.begin(forget_outcome(record, self.action), self.action)

    def changed(self, record: Record) -> None:
        """Note a new record of the updater."""
        update = record.update
        if update is None:
            self.final = record
            return
        self._before = record.outcome  # the hub may have heard of it meanwhile
        self.switched = self.switched or update.phase.is_switched
        self._say(update.phase.value)

    def settle(self, record: Record) -> Record:
        """Return the record that stays: a refusal before the switch leaves what was told before."""
        outcome = record.outcome
        if outcome is None or outcome.action != self.action:
            return record
        if not self.switched and outcome.state in {State.FAILED, State.SKIPPED}:
            return replace(record, outcome=self._before)
        self.displaced = None if self._before is None else open_outcome(self._before)
        return record


class Carrier(Protocol):
    """Who carries errands out: the agent."""

    def carry_in(self, errand: Errand) -> str:
        """Begin an errand, and return at once; say why not, or ""."""

    def report(self, record: Record | None = None) -> DeviceReport:
        """Return the device's statement."""

    def tell(self, body: str, attributes: Attributes) -> None:
        """Have an event recorded."""


def import_bundle(
    carrier: Carrier,
    descriptor: int,
    name: str,
    say: Callable[[str], None],
    *,
    wait: Callable[[float], bool] | None = None,
) -> Answer:
    """Take a bundle into the device; return when that has ended.

    Args:
        carrier: The agent.
        descriptor: The open file; closed in the end.
        name: The file's name, for messages and events.
        say: Told of each phase.
        wait: Rests for so long while another update is at work, and says whether to give up; None
            gives up at once.
    """
    try:
        try:
            errand = Errand(BundleSource.open(descriptor), say)
        except (ContractError, RefusedError) as exc:
            return _refused(carrier, name, None, _reason(exc), f"'{name}': {_why(exc)}")
        try:
            while why := carrier.carry_in(errand):
                if wait is None or wait(_LOOK_S):
                    return _put_off(carrier, errand, Reason.CANCELED, why)
        except (DiskFullError, OSError) as exc:
            return _put_off(carrier, errand, Reason.DISK_FULL, str(exc))
        errand.over.wait()
        return _ended(carrier, errand, name)
    finally:
        os.close(descriptor)


def _ended(carrier: Carrier, errand: Errand, name: str) -> Answer:
    record = errand.final
    if record is None or record.outcome is None:
        return _put_off(carrier, errand, Reason.CANCELED, "the agent ended before the import did")
    outcome = record.outcome
    if not errand.switched and outcome.state is not State.HEALTHY:
        return _refused(carrier, name, record, outcome.reason, outcome.detail)
    code = exit_code(record, switched=errand.switched)
    took = "took" if code is ExitCode.HEALTHY else "tried"
    carrier.tell(
        f"the device {took} release {outcome.release} from the bundle '{name}'",
        {"release": outcome.release, "package": outcome.package, "state": outcome.state.value},
    )
    return Answer(exit=code, report=carrier.report(record))


def _refused(
    carrier: Carrier, name: str, record: Record | None, reason: Reason, detail: str
) -> Answer:
    report = carrier.report(record)
    if record is None:
        report = trouble(report, None, reason, detail)
    facts = {"reason": reason.value, "release": report.release if record else 0}
    carrier.tell(f"the bundle '{name}' was refused: {detail}", facts)
    return Answer(exit=ExitCode.REFUSED, report=report)


def _put_off(carrier: Carrier, errand: Errand, reason: Reason, detail: str) -> Answer:
    report = trouble(carrier.report(), errand.release, reason, detail)
    return Answer(exit=ExitCode.TEMPORARY, report=report)


def _reason(error: ContractError | RefusedError) -> Reason:
    if isinstance(error, RefusedError):
        return error.reason
    return Reason.DIGEST_MISMATCH if error.code == "digest-mismatch" else Reason.BAD_PACKAGE


def _why(error: ContractError | RefusedError) -> str:
    return error.detail if isinstance(error, RefusedError) else str(error)
