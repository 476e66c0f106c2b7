"""Devices that wait for their download window: on their way, and never a silent timeout."""

from __future__ import annotations

from edge_components.contract.state import Reason, State
from edgectl.records import DeviceStatus
from edgectl.rollout.decision import RolloutState, Stop, Wait
from edgectl.rollout.engine import decide
from edgectl.rollout.policy import RolloutPolicy
from edgectl.rollout.verdict import Outcome


def waits(device: str, until: str = "22:00") -> DeviceStatus:
    return DeviceStatus(
        device=device,
        state=State.DOWNLOADING,
        release=7,
        reason=Reason.DOWNLOAD_WINDOW,
        detail=f"waits for its download window until {until}" if until else "",
        since=0.0,
    )


def rollout(*statuses: DeviceStatus, now: float = 100.0) -> RolloutState:
    return RolloutState(
        policy=RolloutPolicy(timeout_s=1800.0, unreachable_grace_s=10.0),
        waves=(("a", "b", "c"), ("d",)),
        statuses={status.device: status for status in statuses},
        now=now,
        started_at=0.0,
    )


def test_a_wave_says_which_of_its_devices_wait_and_until_when() -> None:
    busy = DeviceStatus(device="c", state=State.DOWNLOADING, release=7, since=0.0)
    answer = decide(rollout(waits("a"), waits("b"), busy))
    assert isinstance(answer, Wait)
    assert answer.why == (
        "3 of 3 devices of wave 1 have not settled; 2 wait for their download window until 22:00"
    )


def test_each_end_of_a_window_is_named_the_commonest_first() -> None:
    answer = decide(rollout(waits("a", "Mon 02:00"), waits("b"), waits("c")))
    assert isinstance(answer, Wait)
    assert "3 wait for their download window until 22:00, Mon 02:00" in answer.why


def test_one_device_whose_words_are_not_known_is_counted() -> None:
    healthy = [DeviceStatus(device=d, state=State.HEALTHY, release=7, since=0.0) for d in "bc"]
    answer = decide(rollout(waits("a", ""), *healthy))
    assert isinstance(answer, Wait)
    assert answer.why.endswith("; 1 waits for its download window")


def test_a_device_that_waits_is_neither_failed_nor_written_off() -> None:
    answer = decide(rollout(waits("a"), waits("b"), waits("c"), now=1799.0))
    assert isinstance(answer, Wait)
    assert answer.until == 1800.0


def test_a_timeout_says_that_devices_wait_for_their_window() -> None:
    answer = decide(rollout(waits("a"), waits("b"), waits("c"), now=1800.0))
    assert isinstance(answer, Stop)
    assert answer.verdict.outcome is Outcome.TIMED_OUT
    assert answer.verdict.why == (
        "the rollout was not done after 30m; 3 wait for their download window until 22:00: "
        "what waits goes on by itself, and `edgectl resume` sees it to its end"
    )
    assert not answer.verdict.failed


def test_a_timeout_of_other_reasons_is_told_as_before() -> None:
    answer = decide(rollout(now=1800.0))
    assert isinstance(answer, Stop)
    assert answer.verdict.why == "the rollout was not done after 30m"
