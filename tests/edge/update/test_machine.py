"""The updater's rules: by example, and as a state machine that loses power at any moment."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edge_components.contract.digest import sha256_digest
from edge_components.contract.jsonio import canonical_json
from edge_components.contract.release import ReleaseDocument
from edge_components.contract.state import Reason, State
from edge_components.update import events, machine
from edge_components.update.record import Phase, Record

APP = "plates"


def release(number: int, content: str = "a", application: str = APP) -> ReleaseDocument:
    return ReleaseDocument(
        application=application,
        number=number,
        version="1",
        package=sha256_digest(content.encode()),
    )


def step(record: Record, *happened: events.Event) -> Record:
    for event in happened:
        record = machine.apply(record, event, application=APP)
    return record


def prepared(record: Record, number: int, *precisions: str) -> Record:
    """Return the record just before the golden check of a new release."""
    record = machine.begin(record, f"a{number}")
    return step(
        record,
        events.ReleaseVerified(release=release(number, f"p{number}")),
        events.PackageVerified(application=APP, precisions=precisions or ("int8",)),
        events.Fetched(),
        events.Staged(),
    )


def installed(record: Record, number: int) -> Record:
    return step(prepared(record, number), events.Checked(), events.Activated(), events.Soaked())


def test_good_release_becomes_active_and_keeps_the_one_before() -> None:
    record = installed(installed(Record(), 1), 2)
    assert [v.number for v in record.kept()] == [2, 1]
    assert record.outcome is not None
    assert record.outcome.state is State.HEALTHY


def test_fault_in_the_soak_falls_back() -> None:
    record = step(prepared(installed(Record(), 1), 2), events.Checked(), events.Activated())
    record = step(record, events.Failed(reason=Reason.RUNTIME_CRASHED))
    assert machine.next_command(record) == events.Restore(version=record.active)
    record = step(record, events.Restored())
    assert [v.number for v in record.kept()] == [1]
    assert record.outcome is not None
    assert (record.outcome.state, record.outcome.reason) == (
        State.ROLLED_BACK,
        Reason.RUNTIME_CRASHED,
    )


def test_first_release_that_fails_leaves_nothing_active() -> None:
    record = step(prepared(Record(), 1), events.Checked(), events.Failed(reason=Reason.LOAD_FAILED))
    assert machine.next_command(record) == events.Restore(version=None)
    record = step(record, events.Restored())
    assert record.active is None
    assert record.outcome is not None
    assert record.outcome.state is State.FAILED


def test_soak_interrupted_once_is_begun_again_and_twice_falls_back() -> None:
    record = step(prepared(installed(Record(), 1), 2), events.Checked(), events.Activated())
    again = machine.recover(record)
    assert again.update is not None
    assert again.update.phase is Phase.ACTIVATE
    third = machine.recover(step(again, events.Activated()))
    assert third.active is not None
    assert third.active.number == 1
    assert third.update is not None
    assert third.update.phase is Phase.FALL_BACK


@pytest.mark.parametrize("number", [1, 2])
def test_release_that_is_not_newer_is_refused_also_after_the_newer_one_failed(number: int) -> None:
    record = step(prepared(installed(Record(), 1), 3), events.Failed(reason=Reason.GOLDEN_FAILED))
    record = machine.begin(record, "b")
    record = step(record, events.ReleaseVerified(release=release(number, "p1")))
    assert record.outcome is not None
    assert record.outcome.reason is Reason.RELEASE_NOT_NEWER


def test_action_that_ended_is_not_begun_again() -> None:
    record = installed(Record(), 1)
    assert machine.begin(record, "a1") == record


def test_update_that_runs_is_not_replaced() -> None:
    record = prepared(Record(), 1)
    assert machine.begin(record, "b") == record


def test_next_variant_is_tried_when_the_check_of_the_first_fails() -> None:
    record = prepared(Record(), 1, "int8", "fp32")
    record = step(record, events.Failed(reason=Reason.GOLDEN_FAILED))
    assert machine.next_command(record) == events.FetchLayers(
        release=release(1, "p1"), precision="fp32"
    )
    record = step(record, events.Fetched(), events.Staged(), events.Checked())
    assert record.active is not None
    assert record.active.precision == "fp32"


def test_cancel_after_the_switch_is_out_of_turn() -> None:
    record = step(prepared(Record(), 1), events.Checked())
    with pytest.raises(machine.OutOfTurnError):
        step(record, events.Canceled())


def test_event_of_another_phase_is_out_of_turn() -> None:
    with pytest.raises(machine.OutOfTurnError, match="Soaked does not belong to phase release"):
        step(machine.begin(Record(), "a"), events.Soaked())
    with pytest.raises(machine.OutOfTurnError):
        step(Record(), events.Soaked())


SUCCESS: dict[type, events.Event] = {
    events.FetchLayers: events.Fetched(),
    events.Stage: events.Staged(),
    events.Check: events.Checked(provider="CPUExecutionProvider"),
    events.Activate: events.Activated(provider="CPUExecutionProvider"),
    events.Soak: events.Soaked(),
    events.Restore: events.Restored(),
}
REASONS = st.sampled_from(
    [Reason.GOLDEN_FAILED, Reason.DISK_FULL, Reason.RUNTIME_CRASHED, Reason.DOWNLOAD_FAILED]
)


class Device(RuleBasedStateMachine):
    """A device whose disk holds the record and the staged folders, and nothing else survives."""

    def __init__(self) -> None:
        super().__init__()
        self.record = Record()
        self.staged: set[int] = set()
        self.checked: set[int] = set()
        self.good: list[int] = []
        self.highest = 0
        self.orders = 0

    def store(self, record: Record) -> None:
        # What is not in the bytes is not remembered.
        self.record = msgspec.json.decode(canonical_json(record), type=Record)

    @precondition(lambda self: machine.next_command(self.record) is None)
    @rule(number=st.integers(1, 12), install=st.booleans())
    def order(self, number: int, install: bool) -> None:
        self.orders += 1
        self.store(machine.begin(self.record, f"o{self.orders}", install=install))
        if machine.next_command(self.record) == events.ObtainRelease():
            before = self.record
            document = release(number, f"p{number}")
            self.store(step(self.record, events.ReleaseVerified(release=document)))
            if self.record.update is not None:
                assert number >= self.highest
                self.highest = max(self.highest, number)
            else:
                assert self.record.active == before.active

    @precondition(lambda self: machine.next_command(self.record) is not None)
    @rule(
        fail=st.booleans(),
        reason=REASONS,
        variants=st.sampled_from([(), ("int8",), ("int8", "fp32")]),
    )
    def work(self, fail: bool, reason: Reason, variants: tuple[str, ...]) -> None:
        command = machine.next_command(self.record)
        assert command is not None
        if fail:
            self.store(step(self.record, events.Failed(reason=reason, detail="x")))
            return
        if isinstance(command, events.ObtainRelease):
            self.store(step(self.record, events.Failed(reason=Reason.BAD_SIGNATURE)))
            return
        if isinstance(command, events.ObtainPackage):
            event: events.Event = events.PackageVerified(application=APP, precisions=variants)
        else:
            event = SUCCESS[type(command)]
        if isinstance(command, events.Stage):
            self.staged.add(command.release.number)
        if isinstance(command, events.Check):
            assert command.release.number in self.staged
            self.checked.add(command.release.number)
        if isinstance(command, events.Soak):
            self.good.append(command.version.number)
        self.store(step(self.record, event))

    @precondition(lambda self: self.record.update is not None)
    @rule()
    def cancel(self) -> None:
        update = self.record.update
        assert update is not None
        if not update.phase.is_switched:
            active = self.record.active
            self.store(step(self.record, events.Canceled()))
            assert self.record.active == active

    @rule()
    def power_fails(self) -> None:
        self.store(machine.recover(self.record))

    @invariant()
    def active_version_passed_its_check(self) -> None:
        assert all(v.number in self.checked for v in self.record.kept())

    @invariant()
    def undecided_version_leaves_the_last_good_one_to_fall_back_to(self) -> None:
        update, active = self.record.update, self.record.active
        if update is not None and update.phase in {Phase.ACTIVATE, Phase.SOAK}:
            assert active is not None
            if self.good:
                assert self.record.previous[0].number == self.good[-1]
        elif self.good:
            assert active is not None
            assert active.number == self.good[-1]

    @invariant()
    def highest_number_never_falls(self) -> None:
        seen = self.record.highest.get(APP)
        assert (seen.number if seen else 0) == self.highest

    @invariant()
    def numbers_of_kept_versions_fall(self) -> None:
        numbers = [v.number for v in self.record.kept()]
        assert numbers == sorted(set(numbers), reverse=True)

    @invariant()
    def no_soak_is_begun_a_third_time(self) -> None:
        update = self.record.update
        assert update is None or update.soaks <= machine.MAX_SOAKS


TestDevice = Device.TestCase
TestDevice.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
