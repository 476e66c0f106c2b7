"""The agent's pure parts: waits, orders, cancellations, reports, documents of the hub."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from edge_components.agent.backoff import DEFAULT_SLEEP_S, Backoff, parse_sleep, poll_wait_s
from edge_components.agent.ddi import Deployment, Order, Root
from edge_components.agent.orders import (
    CancelDecision,
    OrderDecision,
    decide_cancel,
    decide_order,
    import_action,
    may_give_way,
    open_outcome,
)
from edge_components.agent.reporting import Identity, closing_feedback, device_report
from edge_components.contract.release import ReleaseDocument
from edge_components.contract.state import Reason, State, from_attributes, to_attributes
from edge_components.update.record import Installed, Outcome, Phase, Record, Update

ME = Identity(application="plates", hardware="x86-64-cpu", agent="edge-agent/0")
ONE = Installed(number=1, version="1", package="sha256:1", precision="int8", provider="CPU")
TWO = replace(ONE, number=2, package="sha256:2")
DONE = Outcome(action="a2", state=State.HEALTHY, release=2, package="sha256:2")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("00:05:00", 300),
        ("01:00:01", 3601),
        ("00:00:00", DEFAULT_SLEEP_S),
        ("x", DEFAULT_SLEEP_S),
        ("99:00:00", 86_400),
        ("1:2", DEFAULT_SLEEP_S),
        ("00:00:٣", DEFAULT_SLEEP_S),
    ],
)
def test_sleep_of_the_hub_is_read_and_bounded(text: str, seconds: float) -> None:
    assert parse_sleep(text) == seconds


@given(failures=st.integers(1, 10_000), chance=st.floats(0, 1, exclude_max=True))
def test_waits_grow_spread_and_stay_bounded(failures: int, chance: float) -> None:
    backoff = Backoff(first_s=1, most_s=300)
    wait = backoff.wait_s(failures, chance)
    full = min(2.0 ** min(failures - 1, 20), 300)
    assert full / 2 <= wait <= full
    assert backoff.wait_s(failures, chance, at_least_s=1e9) == 300
    assert 54 <= poll_wait_s(60, chance) <= 66


def test_root_with_links_is_read_and_unknown_keys_are_ignored() -> None:
    root = msgspec.json.decode(
        b'{"config":{"polling":{"sleep":"00:01:00"}},"_links":{"deploymentBase":'
        b'{"href":"http://h/x?c=1","extra":1},"confirmationBase":{"href":"y"}},"new":[]}',
        type=Root,
    )
    assert root.sleep_s() == 60
    assert root.links.deployment_base is not None
    assert root.links.cancel_action is None


def test_order_prefers_the_download_over_tls() -> None:
    order = msgspec.json.decode(
        b'{"id":"7","deployment":{"download":"attempt","update":"skip","maintenanceWindow":'
        b'"unavailable","chunks":[{"part":"p","version":"1","name":"n","artifacts":[{"filename":'
        b'"f","size":3,"hashes":{"sha256":"AA"},"_links":{"download":{"href":"https://h/f"},'
        b'"download-http":{"href":"http://h/f"}}}]}]}}',
        type=Order,
    )
    assert order.deployment.chunks[0].artifacts[0].href() == "https://h/f"
    assert order.deployment.may_download()
    assert not order.deployment.may_install()


@pytest.mark.parametrize(
    ("record", "deployment", "decision"),
    [
        (Record(), Deployment(), OrderDecision.INSTALL),
        (Record(), Deployment(download="attempt", update="attempt"), OrderDecision.INSTALL),
        (Record(), Deployment(update="skip"), OrderDecision.DOWNLOAD),
        (Record(), Deployment(maintenance_window="unavailable"), OrderDecision.DOWNLOAD),
        (Record(), Deployment(maintenance_window="available"), OrderDecision.INSTALL),
        (Record(), Deployment(download="skip"), OrderDecision.IGNORE),
        (Record(outcome=DONE), Deployment(), OrderDecision.REPEAT_OUTCOME),
        (Record(update=Update(action="a2")), Deployment(), OrderDecision.IGNORE),
        (Record(update=Update(action="b")), Deployment(), OrderDecision.REPLACE),
        (
            Record(update=Update(action="b", phase=Phase.SOAK)),
            Deployment(),
            OrderDecision.IGNORE,
        ),
        (
            Record(update=Update(action="a2", phase=Phase.HELD)),
            Deployment(update="skip"),
            OrderDecision.IGNORE,
        ),
        (Record(update=Update(action="b", phase=Phase.HELD)), Deployment(), OrderDecision.INSTALL),
    ],
)
def test_order_is_decided_from_record_and_mode(
    record: Record, deployment: Deployment, decision: OrderDecision
) -> None:
    assert decide_order(record, "a2", deployment) is decision


@pytest.mark.parametrize(
    ("record", "decision"),
    [
        (Record(), CancelDecision.ACCEPT),
        (Record(update=Update(action="a2")), CancelDecision.INTERRUPT),
        (Record(update=Update(action="a2", phase=Phase.ACTIVATE)), CancelDecision.REJECT),
        (Record(outcome=DONE), CancelDecision.REJECT),
        (
            Record(outcome=replace(DONE, state=State.SKIPPED, reason=Reason.CANCELED)),
            CancelDecision.ACCEPTED_BY_UPDATE,
        ),
    ],
)
def test_cancellation_is_decided_from_the_record(record: Record, decision: CancelDecision) -> None:
    assert decide_cancel(record, "a2") is decision


def test_healthy_report_needs_a_runtime_that_answers() -> None:
    record = Record(active=TWO, previous=(ONE,), outcome=DONE)
    report = device_report(record, ME, answering=2)
    assert (report.state, report.release, report.active_release) == (State.HEALTHY, 2, 2)
    report = device_report(record, ME, answering=0)
    assert (report.state, report.reason, report.active_release) == (
        State.FAILED,
        Reason.RUNTIME_NOT_READY,
        0,
    )


def test_report_in_an_update_names_the_version_that_really_answers() -> None:
    update = Update(action="a", phase=Phase.ACTIVATE)
    record = Record(active=TWO, previous=(ONE,), update=update)
    assert device_report(record, ME, answering=1).active_package == ONE.package


def test_report_of_a_new_device_is_pending() -> None:
    report = device_report(Record(), ME, answering=0)
    assert (report.state, report.release, report.active_release) == (State.PENDING, 0, 0)


def test_report_survives_the_way_through_attributes() -> None:
    report = device_report(Record(active=TWO, outcome=DONE), ME, answering=2)
    assert from_attributes(to_attributes(report)) == report


@pytest.mark.parametrize(
    ("state", "finished"),
    [
        (State.HEALTHY, "success"),
        (State.FAILED, "failure"),
        (State.ROLLED_BACK, "failure"),
    ],
)
def test_closing_feedback_tells_success_from_failure(state: State, finished: str) -> None:
    feedback = closing_feedback(replace(DONE, state=state))
    assert (feedback.execution, feedback.finished) == ("closed", finished)
    assert f"state={state.value}" in feedback.details[0]


@pytest.mark.parametrize("phase", list(Phase))
def test_order_of_the_hub_waits_for_the_end_of_an_import(phase: Phase) -> None:
    """Its release may be lower, and then both would be lost."""
    record = Record(update=Update(action=import_action(7), phase=phase))
    decision = decide_order(record, "8", Deployment())
    held = phase is Phase.HELD  # nobody works on it
    assert decision is (OrderDecision.INSTALL if held else OrderDecision.IGNORE)


@given(st.sampled_from(Phase), st.none() | st.integers(1, 9), st.integers(0, 9), st.booleans())
def test_import_takes_the_place_of_what_can_come_again_and_is_not_higher(
    phase: Phase, ordered: int | None, brought: int, by_hub: bool
) -> None:
    release = None
    if ordered is not None:
        release = ReleaseDocument(application="p", number=ordered, version="1", package="sha256:1")
    action = "a1" if by_hub else import_action(ordered or 0)
    update = Update(action=action, phase=phase, release=release)
    expected = phase is Phase.HELD or (
        by_hub and not phase.is_switched and (ordered is None or ordered <= brought)
    )
    assert may_give_way(update, brought) is expected
    assert may_give_way(None, brought)


def test_hub_hears_of_its_own_orders_only() -> None:
    assert open_outcome(DONE) is DONE
    assert open_outcome(replace(DONE, delivered=True)) is None
    assert open_outcome(replace(DONE, action=import_action(2))) is None
