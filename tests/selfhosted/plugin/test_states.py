from __future__ import annotations

import pytest

from edgectl.api import DeviceReport, State, to_attributes
from edgectl_selfhosted import states
from edgectl_selfhosted.states import Contact

DIGEST = "sha256:" + "a" * 64


def contact(**values: object) -> Contact:
    defaults = {"device": "cam", "changed_at": 100.0, "called_at": 90.0, "overdue": False}
    return Contact(**{**defaults, **values})  # type: ignore[arg-type]  # a table of defaults


def assigned(
    update_status: str, *, own_agent: bool = False, silent: bool = False
) -> states.DeviceStatus:
    return states.assigned_status(
        contact(update_status=update_status),
        release=3,
        package=DIGEST,
        own_agent=own_agent,
        silent=silent,
    )


def reported(state: State, *, silent: bool = False) -> states.DeviceStatus:
    return states.reported_status(
        contact(installed_at=95.0), release=3, state=state, package=DIGEST, silent=silent
    )


def test_a_healthy_device_answers_with_the_release() -> None:
    status = reported(State.HEALTHY)
    assert (status.state, status.active_release, status.active_package) == (
        State.HEALTHY,
        3,
        DIGEST,
    )
    assert status.since == 95.0


@pytest.mark.parametrize("state", [State.PENDING, State.DOWNLOADING, State.VERIFYING])
def test_a_device_that_fell_silent_on_its_way_is_unreachable(state: State) -> None:
    status = reported(state, silent=True)
    assert (status.state, status.reason, status.raw) == (
        State.UNREACHABLE,
        "not-seen",
        state.value,
    )
    assert status.since == 90.0


@pytest.mark.parametrize("state", [State.HEALTHY, State.FAILED, State.ROLLED_BACK])
def test_a_settled_device_stays_as_it_said_also_if_silent(state: State) -> None:
    assert reported(state, silent=True).state is state


def test_a_device_on_its_way_does_not_say_what_answers() -> None:
    status = reported(State.INSTALLING)
    assert (status.active_release, status.active_package) == (None, "")


def test_in_sync_is_healthy_for_a_device_that_writes_no_attributes() -> None:
    status = assigned("in_sync")
    assert (status.state, status.active_release) == (State.HEALTHY, 3)


def test_in_sync_is_not_believed_of_our_own_agent() -> None:
    assert assigned("in_sync", own_agent=True).state is State.PENDING


def test_an_error_is_a_failure() -> None:
    assert assigned("error").state is State.FAILED


def test_a_device_that_was_just_given_the_release_is_pending() -> None:
    assert assigned("pending").state is State.PENDING


def test_a_silent_device_that_was_given_the_release_is_unreachable() -> None:
    assert assigned("pending", silent=True).state is State.UNREACHABLE


@pytest.mark.parametrize(
    ("seen", "silent"),
    [
        (contact(overdue=True), True),
        (contact(overdue=False, called_at=1.0), False),
        (contact(overdue=None, called_at=1.0), False),
        (contact(called_at=None, changed_at=500.0), False),
        (contact(called_at=None, changed_at=300.0), True),
        (contact(called_at=None, changed_at=None), False),
    ],
)
def test_who_is_silent(seen: Contact, silent: bool) -> None:
    assert states.is_silent(seen, now=1000.0, after_s=600.0) is silent


def test_a_report_on_the_same_release_adds_its_reason() -> None:
    report = DeviceReport(
        application="plates",
        release=3,
        state=State.ROLLED_BACK,
        reason="golden-failed",
        detail="17 of 20",
        active_release=2,
        active_package=DIGEST,
        variant="int8",
        provider="CPUExecutionProvider",
    )
    status = states.with_report(reported(State.ROLLED_BACK), report)
    assert (status.reason, status.detail, status.variant) == ("golden-failed", "17 of 20", "int8")
    assert (status.active_release, status.active_package) == (2, DIGEST)
    assert status.execution_provider == "CPUExecutionProvider"


def test_a_report_on_another_release_says_only_what_answers() -> None:
    report = DeviceReport(application="plates", release=2, state=State.HEALTHY, active_release=2)
    status = states.with_report(assigned("pending"), report)
    assert (status.state, status.reason, status.active_release) == (State.PENDING, "", 2)


def test_a_report_of_another_application_is_nobodys() -> None:
    attributes = to_attributes(DeviceReport(application="plates", release=1))
    assert states.report_of(attributes, "plates") is not None
    assert states.report_of(attributes, "faces") is None
    assert states.report_of({"os": "linux"}, "plates") is None


def test_what_a_foreign_device_said_is_kept() -> None:
    status = states.with_messages(assigned("error"), ["no space ", "", "left"], 17)
    assert (status.detail, status.raw) == ("no space; left", "error:17")
