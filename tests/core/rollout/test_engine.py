"""What the engine answers, rule by rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from edge_components.contract.state import State
from edgectl.records import DeviceStatus
from edgectl.rollout.decision import (
    Assign,
    Complete,
    Hold,
    Judge,
    RollBack,
    RolloutState,
    Stop,
    Wait,
)
from edgectl.rollout.engine import decide
from edgectl.rollout.gates import Finding, Gate, GatePolicy, Judged
from edgectl.rollout.policy import FailureThreshold, RolloutPolicy
from edgectl.rollout.verdict import Outcome

Ask = Callable[..., RolloutState]
WAVES = (("a",), ("b", "c"), ("d", "e", "f"))
HEALTHY, FAILED, BUSY = State.HEALTHY, State.FAILED, State.DOWNLOADING


def ask(
    states: dict[str, State] | None = None,
    *,
    waves: tuple[tuple[str, ...], ...] = WAVES,
    since: float = 0.0,
    now: float = 1000.0,
    control: Any = "run",
    started_at: float = 0.0,
    **policy: Any,
) -> RolloutState:
    statuses = {
        device: DeviceStatus(device=device, state=state, release=7, since=since, reason="r")
        for device, state in (states or {}).items()
    }
    return RolloutState(
        policy=RolloutPolicy(**policy),
        waves=waves,
        statuses=statuses,
        control=control,
        now=now,
        started_at=started_at,
    )


def test_first_wave_comes_first() -> None:
    assert decide(ask()) == Assign(devices=("a",), wave=1)


def test_next_wave_waits_for_the_one_before() -> None:
    answer = decide(ask({"a": BUSY}))
    assert isinstance(answer, Wait)
    assert answer.wave == 1


def test_next_wave_follows_a_settled_one() -> None:
    assert decide(ask({"a": HEALTHY})) == Assign(devices=("b", "c"), wave=2)


def test_next_wave_waits_for_the_soak_of_the_last_healthy_device() -> None:
    answer = decide(ask({"a": HEALTHY}, since=990.0, soak_s=60.0))
    assert isinstance(answer, Wait)
    assert answer.until == 1050.0
    assert decide(ask({"a": HEALTHY}, since=940.0, soak_s=60.0)) == Assign(
        devices=("b", "c"), wave=2
    )


def test_verdict_waits_for_the_soak_of_the_last_wave() -> None:
    states = {"a": HEALTHY}
    assert isinstance(decide(ask(states, waves=(("a",),), since=990.0, soak_s=60.0)), Wait)
    assert isinstance(decide(ask(states, waves=(("a",),), since=900.0, soak_s=60.0)), Complete)


def test_concurrency_limits_the_devices_in_flight() -> None:
    states = {"a": HEALTHY, "b": HEALTHY, "c": HEALTHY}
    assert decide(ask(states, concurrency=2)) == Assign(devices=("d", "e"), wave=3)
    assert decide(ask({**states, "d": BUSY}, concurrency=2)) == Assign(devices=("e",), wave=3)
    assert isinstance(decide(ask({**states, "d": BUSY}, concurrency=1)), Wait)


def test_settled_device_frees_its_place() -> None:
    states = {"a": HEALTHY, "b": HEALTHY, "c": HEALTHY, "d": HEALTHY}
    assert decide(ask(states, concurrency=1)) == Assign(devices=("e",), wave=3)


def test_all_healthy_is_a_healthy_verdict() -> None:
    answer = decide(ask(dict.fromkeys("abcdef", HEALTHY)))
    assert isinstance(answer, Complete)
    assert answer.verdict.outcome is Outcome.HEALTHY
    assert answer.verdict.exit_code == 0
    assert answer.verdict.counts == {"healthy": 6}


def test_any_failure_rolls_back_when_no_threshold_is_given() -> None:
    answer = decide(ask({"a": HEALTHY, "b": State.ROLLED_BACK, "c": BUSY}))
    assert isinstance(answer, RollBack)
    assert answer.devices == ("a", "b", "c")
    assert [(f.device, f.reason) for f in answer.failed] == [("b", "r")]


def test_roll_back_leaves_out_devices_with_a_newer_release() -> None:
    answer = decide(ask({"a": FAILED, "b": State.SUPERSEDED, "c": State.UNREACHABLE}))
    assert isinstance(answer, RollBack)
    assert answer.devices == ("a", "c")


def test_failure_stops_the_rollout_when_the_policy_says_pause() -> None:
    answer = decide(ask({"a": FAILED}, on_failure="pause"))
    assert isinstance(answer, Stop)
    assert answer.verdict.outcome is Outcome.STOPPED
    assert answer.verdict.exit_code == 4
    assert answer.verdict.counts == {"failed": 1, "not_given": 5}
    assert "wave 1: 1 of 1 devices failed" in answer.verdict.why


TEN = (tuple("abcdefghij"),)


@pytest.mark.parametrize(
    ("states", "crossed"),
    [
        ({"a": FAILED}, False),  # below the minimum
        ({"a": FAILED, "b": HEALTHY, "c": HEALTHY}, True),
        ({"a": FAILED, "b": HEALTHY, "c": BUSY}, False),
        ({**dict.fromkeys("bcdefghij", HEALTHY), "a": FAILED}, False),  # 10 % is allowed
    ],
)
def test_share_is_judged_from_the_minimum_on(states: dict[str, State], crossed: bool) -> None:
    threshold = FailureThreshold(percent=10, min_devices=3)
    answer = decide(ask(states, waves=TEN, failure_threshold=threshold))
    assert isinstance(answer, RollBack) is crossed


def test_canary_that_fails_counts_though_it_is_below_the_minimum() -> None:
    threshold = FailureThreshold(percent=5, min_devices=3)
    assert isinstance(decide(ask({"a": FAILED}, failure_threshold=threshold)), RollBack)


def test_wave_that_is_over_is_judged_by_what_it_has() -> None:
    # Two of the three devices tell nothing: the minimum of 3 can never be reached.
    states = {"a": FAILED, "b": State.SKIPPED, "c": State.UNREACHABLE}
    threshold = FailureThreshold(percent=50, min_devices=3)
    waves = (("a", "b", "c"), ("d",))
    answer = decide(ask(states, waves=waves, failure_threshold=threshold))
    assert isinstance(answer, RollBack)


def test_skipped_devices_do_not_dilute_the_failures() -> None:
    states = {**dict.fromkeys("bcdefghi", State.SKIPPED), "a": FAILED, "j": HEALTHY}
    threshold = FailureThreshold(percent=20, min_devices=2)
    assert isinstance(decide(ask(states, waves=TEN, failure_threshold=threshold)), RollBack)


def test_failures_add_up_over_the_waves() -> None:
    waves = (tuple("abcd"), tuple("efghijkl"), ("m",))
    threshold = FailureThreshold(percent=20, min_devices=10)
    # Each wave is judged only from its end on or from ten devices; together they are twelve.
    states = {**dict.fromkeys("bcdefghij", HEALTHY), "a": HEALTHY, "k": FAILED}
    assert isinstance(decide(ask(states, waves=waves, failure_threshold=threshold)), Assign)
    states |= {"i": FAILED, "j": FAILED}
    assert isinstance(decide(ask(states, waves=waves, failure_threshold=threshold)), RollBack)


def test_failures_within_the_threshold_end_partly() -> None:
    states = {**dict.fromkeys("bcdefghij", HEALTHY), "a": FAILED}
    answer = decide(ask(states, waves=TEN, failure_threshold=FailureThreshold(percent=10)))
    assert isinstance(answer, Complete)
    assert answer.verdict.outcome is Outcome.PARTLY
    assert answer.verdict.exit_code == 3
    assert answer.verdict.failed[0].device == "a"


def test_earlier_wave_that_fails_late_rolls_back() -> None:
    states = {"a": FAILED, "b": HEALTHY, "c": HEALTHY, "d": BUSY}
    assert isinstance(decide(ask(states)), RollBack)


def test_unreachable_device_blocks_until_its_grace_is_over() -> None:
    states = {"a": State.UNREACHABLE}
    answer = decide(ask(states, since=950.0, unreachable_grace_s=60.0))
    assert isinstance(answer, Wait)
    assert answer.until == 1010.0
    after = decide(ask(states, since=940.0, unreachable_grace_s=60.0))
    assert after == Assign(devices=("b", "c"), wave=2)


def test_device_that_was_written_off_takes_no_place() -> None:
    states = {"a": HEALTHY, "b": State.UNREACHABLE}
    assert decide(ask(states, concurrency=1)) == Assign(devices=("c",), wave=2)


@pytest.mark.parametrize("state", [State.UNREACHABLE, State.SKIPPED, State.SUPERSEDED])
def test_device_without_the_release_makes_the_verdict_partly(state: State) -> None:
    answer = decide(ask({**dict.fromkeys("abcde", HEALTHY), "f": state}))
    assert isinstance(answer, Complete)
    assert answer.verdict.outcome is Outcome.PARTLY


def test_time_out_ends_a_rollout_that_waits() -> None:
    answer = decide(ask({"a": BUSY}, timeout_s=1000.0))
    assert isinstance(answer, Stop)
    assert answer.verdict.outcome is Outcome.TIMED_OUT
    assert answer.verdict.exit_code == 5
    assert isinstance(decide(ask({"a": BUSY}, timeout_s=1000.1)), Wait)


def test_no_device_gets_the_release_after_the_time_out() -> None:
    assert isinstance(decide(ask({"a": HEALTHY}, timeout_s=1000.0)), Stop)


def test_rollout_that_is_done_late_is_done() -> None:
    states = dict.fromkeys("abcdef", HEALTHY)
    assert isinstance(decide(ask(states, timeout_s=1.0)), Complete)


def test_failures_are_rolled_back_also_after_the_time_out() -> None:
    assert isinstance(decide(ask({"a": FAILED}, timeout_s=1.0)), RollBack)


def test_pause_holds_everything() -> None:
    assert isinstance(decide(ask(control="pause")), Hold)
    assert isinstance(decide(ask({"a": FAILED}, control="pause")), Hold)


def test_time_runs_on_while_paused() -> None:
    assert isinstance(decide(ask(control="pause", timeout_s=1000.0)), Stop)


def test_abort_stops() -> None:
    answer = decide(ask({"a": HEALTHY}, control="abort"))
    assert isinstance(answer, Stop)
    assert answer.verdict.outcome is Outcome.ABORTED
    assert answer.verdict.exit_code == 4


def test_clock_of_the_provider_that_is_ahead_only_makes_the_soak_longer() -> None:
    answer = decide(ask({"a": HEALTHY}, since=5000.0, soak_s=60.0))
    assert isinstance(answer, Wait)
    assert answer.until == 1060.0


def test_rollout_of_no_device_is_complete() -> None:
    assert isinstance(decide(ask(waves=())), Complete)


GATES = GatePolicy(gates=(Gate(measure="restarts", limit=0.0),))
SOAKING: dict[str, Any] = {"since": 900.0, "soak_s": 200.0, "gates": GATES}  # until 1100


def test_a_wave_that_soaks_is_judged_now_and_then_and_once_more_at_the_end() -> None:
    state = ask({"a": HEALTHY}, **SOAKING)
    look = Judge(wave=1, devices=("a",), since=900.0, soaked=1100.0, over=False)
    assert decide(state) == look
    looked = replace(state, judged={1: Judged(at=1000.0)})
    assert decide(looked) == Wait(until=1010.0, why="wave 1 soaks for 1m40s more", wave=1)
    assert decide(replace(looked, now=1010.0)) == look
    late = replace(looked, now=1100.0, judged={1: Judged(at=1099.0)})
    assert decide(late) == replace(look, over=True)
    done = replace(late, judged={1: Judged(at=1100.0)})
    assert decide(done) == Assign(devices=("b", "c"), wave=2)


def test_a_missed_gate_is_a_failed_wave() -> None:
    judged = {1: Judged(at=1000.0, missed="restarts is 2, at most 0 is allowed")}
    answer = decide(replace(ask({"a": HEALTHY}, **SOAKING), judged=judged))
    why = "wave 1: restarts is 2, at most 0 is allowed"
    assert answer == RollBack(devices=("a",), why=why, failed=())
    stopped = decide(replace(ask({"a": HEALTHY}, on_failure="pause", **SOAKING), judged=judged))
    assert isinstance(stopped, Stop)
    assert (stopped.verdict.outcome, stopped.verdict.why) == (Outcome.STOPPED, why)


def test_a_wave_with_a_later_one_behind_it_or_an_approval_is_not_judged_again() -> None:
    begun = ask({"a": HEALTHY, "b": BUSY}, **SOAKING | {"since": 0.0})
    assert decide(begun) == Assign(devices=("c",), wave=2)
    approved = replace(ask({"a": HEALTHY}, **SOAKING | {"since": 0.0}), approved=1)
    assert decide(approved) == Assign(devices=("b", "c"), wave=2)


def test_a_wave_in_which_nobody_is_healthy_has_no_gates() -> None:
    assert decide(ask({"a": State.SKIPPED}, **SOAKING)) == Assign(devices=("b", "c"), wave=2)


def test_what_the_gates_came_to_is_in_the_verdict() -> None:
    found = Finding(wave=1, measure="restarts", limit="<= 0", result="met")
    state = ask({"a": HEALTHY}, waves=(("a",),), **SOAKING | {"since": 0.0})
    answer = decide(replace(state, judged={1: Judged(at=1000.0, findings=(found,))}))
    assert isinstance(answer, Complete)
    assert answer.verdict.gates == (found,)
