"""What a device's deployments mean: order, failures, silence and its own report."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl.api import DeviceReport, DeviceStatus, Reason, State
from edgectl_aws_greengrass import states as ss

DIGEST = f"sha256:{'a' * 64}"


def execution(order: int, release: int, status: str, at: float = 100.0) -> ss.Execution:
    return ss.Execution(
        order=order,
        release=release,
        deployment=f"d{order}",
        job=f"j{order}",
        status=status,
        queued_at=at - 5,
        updated_at=at,
    )


def failed(status: str = "FAILED_ROLLBACK_COMPLETE", *stack: str, cause: str = "") -> ss.Failure:
    return ss.Failure(status=status, stack=("DEPLOYMENT_FAILURE", *stack), cause=cause)


def judge(*executions: ss.Execution, release: int = 2, failure: ss.Failure | None = None) -> State:
    status = ss.judge("one", executions, release, package=DIGEST, failure=failure)
    assert status is not None
    return status.state


@pytest.mark.parametrize(
    ("word", "state"),
    [
        (ss.WAITING, State.PENDING),
        ("QUEUED", State.PENDING),
        ("IN_PROGRESS", State.INSTALLING),
        ("SUCCEEDED", State.HEALTHY),
        ("COMPLETED", State.HEALTHY),
        ("FAILED", State.FAILED),
        ("REJECTED", State.FAILED),
        ("TIMED_OUT", State.FAILED),
    ],
)
def test_one_execution_is_told_in_our_words(word: str, state: State) -> None:
    assert judge(execution(1, 2, word)) is state


@pytest.mark.parametrize("word", ["CANCELED", "REMOVED"])
def test_a_release_that_was_called_off_was_never_given(word: str) -> None:
    assert ss.judge("one", [execution(1, 2, word)], 2) is None


def test_a_healthy_device_answers_with_the_release() -> None:
    status = ss.judge("one", [execution(1, 2, "SUCCEEDED")], 2, package=DIGEST)
    assert status is not None
    assert (status.active_release, status.active_package, status.since) == (2, DIGEST, 100.0)


def test_the_groups_revision_does_not_make_a_device_of_its_part_wait_again() -> None:
    part, group = execution(1, 2, "SUCCEEDED", 100), execution(2, 2, "QUEUED", 200)
    status = ss.judge("one", [group, part], 2)
    assert status is not None
    assert (status.state, status.since) == (State.HEALTHY, 100)


def test_being_healthy_counts_from_the_first_of_the_last_successes() -> None:
    row = [
        execution(1, 2, "SUCCEEDED", 100),
        execution(2, 2, "FAILED", 200),
        execution(3, 2, "SUCCEEDED", 300),
        execution(4, 2, "SUCCEEDED", 400),
    ]
    status = ss.judge("one", row, 2)
    assert status is not None
    assert status.since == 300


def test_somebody_elses_failed_revision_leaves_a_healthy_device_healthy() -> None:
    had, theirs = execution(1, 2, "SUCCEEDED"), execution(2, 2, "FAILED")
    assert judge(had, theirs, failure=failed()) is State.HEALTHY
    assert judge(had, theirs, failure=failed("FAILED_UNABLE_TO_ROLLBACK")) is State.FAILED


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("FAILED_ROLLBACK_COMPLETE", State.ROLLED_BACK),
        ("FAILED_NO_STATE_CHANGE", State.FAILED),
        ("FAILED_ROLLBACK_NOT_REQUESTED", State.FAILED),
        ("FAILED_UNABLE_TO_ROLLBACK", State.FAILED),
    ],
)
def test_the_nucleus_says_whether_it_went_back(word: str, state: State) -> None:
    assert judge(execution(1, 2, "FAILED"), failure=failed(word)) is state


def test_a_later_release_supersedes() -> None:
    assert judge(execution(1, 2, "SUCCEEDED"), execution(2, 3, "QUEUED")) is State.SUPERSEDED
    assert judge(execution(1, 2, "CANCELED"), execution(2, 3, "QUEUED")) is State.SUPERSEDED


def test_a_later_release_that_was_called_off_does_not_supersede() -> None:
    assert judge(execution(1, 2, "SUCCEEDED"), execution(2, 3, "CANCELED")) is State.HEALTHY


def test_a_stale_deployment_is_superseded_and_no_failure() -> None:
    stale = failed("FAILED_NO_STATE_CHANGE", "REJECTED_STALE_DEPLOYMENT")
    assert judge(execution(1, 2, "FAILED"), failure=stale) is State.SUPERSEDED


@pytest.mark.parametrize(
    ("stack", "cause", "reason"),
    [
        (("ARTIFACT_DOWNLOAD_ERROR", "DISK_SPACE_CRITICAL"), "", Reason.DISK_FULL),
        (("ARTIFACT_DOWNLOAD_ERROR", "ARTIFACT_CHECKSUM_MISMATCH"), "", Reason.DIGEST_MISMATCH),
        (("ARTIFACT_DOWNLOAD_ERROR", "S3_GET_OBJECT_ACCESS_DENIED"), "", Reason.DOWNLOAD_FAILED),
        (("NETWORK_ERROR",), "", Reason.DOWNLOAD_FAILED),
        (("NO_AVAILABLE_COMPONENT_VERSION",), "", Reason.HARDWARE_MISMATCH),
        (("COMPONENT_VERSION_REQUIREMENTS_NOT_MET",), "", Reason.BAD_PACKAGE),
        (("COMPONENT_PACKAGE_LOADING_ERROR", "RECIPE_PARSE_ERROR"), "", Reason.BAD_PACKAGE),
        (("COMPONENT_UPDATE_ERROR", "COMPONENT_BROKEN"), "", Reason.RUNTIME_NOT_READY),
        (("DEPLOYMENT_INTERRUPTED",), "", Reason.CANCELED),
        ((), "Service edgectl.plates in broken state", Reason.RUNTIME_NOT_READY),
        (("A_WORD_OF_A_LATER_NUCLEUS",), "", Reason.INTERNAL),
        ((), "", Reason.INTERNAL),
    ],
)
def test_error_codes_of_the_nucleus_are_our_reasons(
    stack: tuple[str, ...], cause: str, reason: Reason
) -> None:
    assert ss.reason_of(failed("", *stack, cause=cause)) is reason


@pytest.mark.parametrize(
    "written",
    ["[DEPLOYMENT_FAILURE, DISK_SPACE_CRITICAL]", '["DEPLOYMENT_FAILURE","DISK_SPACE_CRITICAL"]'],
)
def test_the_error_stack_is_read_however_it_is_written(written: str) -> None:
    details = {
        "detailed-deployment-status": "FAILED_NO_STATE_CHANGE",
        "deployment-failure-cause": "No space left",
        "deployment-error-stack": written,
    }
    read = ss.read_failure(details)
    assert read.stack == ("DEPLOYMENT_FAILURE", "DISK_SPACE_CRITICAL")
    assert (read.status, read.cause) == ("FAILED_NO_STATE_CHANGE", "No space left")


def test_a_device_that_has_something_to_do_and_is_silent_is_unreachable() -> None:
    status = ss.judge("one", [execution(1, 2, "QUEUED", 100)], 2)
    assert status is not None
    patient = ss.with_sighting(status, None, now=200, after_s=900)
    assert patient.state is State.PENDING
    gone = ss.with_sighting(status, None, now=2000, after_s=900)
    assert (gone.state, gone.reason) == (State.UNREACHABLE, "not-seen")
    heard = ss.Sighting(status="HEALTHY", at=1500)
    assert ss.with_sighting(status, heard, now=2000, after_s=900).state is State.PENDING
    before = ss.Sighting(status="HEALTHY", at=50)
    assert ss.with_sighting(status, before, now=2000, after_s=900).since == 50


def test_a_healthy_device_may_be_silent_for_a_day() -> None:
    status = ss.judge("one", [execution(1, 2, "SUCCEEDED", 100)], 2)
    assert status is not None
    assert ss.with_sighting(status, None, now=80_000, after_s=900) == status


REPORT = DeviceReport(
    application="plates",
    release=2,
    state=State.FAILED,
    reason="golden-failed",
    detail="output 'y' is off by 1",
    active_release=1,
    active_package=DIGEST,
)


def told(state: State = State.ROLLED_BACK, release: int = 2) -> DeviceStatus:
    return DeviceStatus(device="one", state=state, release=release, reason="runtime-not-ready")


def test_a_devices_own_reason_comes_before_the_nucleuss() -> None:
    status = ss.with_report(told(), REPORT)
    assert (status.state, status.reason) == (State.FAILED, "golden-failed")
    assert (status.active_release, status.active_package) == (1, DIGEST)


def test_a_report_about_another_release_says_only_what_answers() -> None:
    earlier = msgspec.structs.replace(REPORT, release=1, state=State.HEALTHY, reason="")
    status = ss.with_report(told(), earlier)
    assert (status.state, status.reason, status.active_release) == (
        State.ROLLED_BACK,
        "runtime-not-ready",
        1,
    )


def test_a_report_tells_how_far_an_installation_is() -> None:
    report = msgspec.structs.replace(REPORT, state=State.VERIFYING, reason="", detail="")
    assert ss.with_report(told(State.INSTALLING), report).state is State.VERIFYING


def test_a_healthy_device_tells_its_variant() -> None:
    report = msgspec.structs.replace(
        REPORT, state=State.HEALTHY, active_release=2, variant="int8", provider="CPU"
    )
    status = ss.with_report(told(State.HEALTHY), report)
    assert (status.state, status.variant, status.execution_provider) == (
        State.HEALTHY,
        "int8",
        "CPU",
    )


WORDS = st.sampled_from(
    ["QUEUED", "IN_PROGRESS", *ss.SUCCEEDED, *ss.FAILED, *ss.CALLED_OFF, ss.WAITING]
)


@given(
    rows=st.lists(st.tuples(st.integers(1, 4), WORDS), max_size=6),
    release=st.integers(1, 4),
    data=st.data(),
)
def test_the_order_in_which_deployments_are_listed_decides_nothing(
    rows: list[tuple[int, str]], release: int, data: st.DataObject
) -> None:
    executions = [execution(n, number, word) for n, (number, word) in enumerate(rows)]
    shuffled = data.draw(st.permutations(executions))
    assert ss.judge("one", executions, release) == ss.judge("one", shuffled, release)
    status = ss.judge("one", executions, release)
    if status is not None:
        assert release in {number for number, _ in rows}
