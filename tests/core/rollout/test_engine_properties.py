"""The engine against random fleets: devices that fail, fall silent, come back; drivers that die.

The simulated fleet keeps no promise but the hook's: a device that was given the release has a
status from then on. The driver asks the engine with what it observes and does what it says; it
may be killed and started again between any two steps, which must change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_components.contract.state import State
from edgectl.records import DeviceStatus
from edgectl.rollout.decision import (
    Assign,
    Complete,
    Control,
    Decision,
    Hold,
    Judge,
    RollBack,
    RolloutState,
    Stop,
    Wait,
)
from edgectl.rollout.engine import decide
from edgectl.rollout.gates import Gate, GatePolicy, Judged
from edgectl.rollout.policy import FailureThreshold, RolloutPolicy, parse_waves
from edgectl.rollout.verdict import Outcome
from edgectl.rollout.waves import Waves, choose_waves

TICK_S = 5.0
ENDS = [State.HEALTHY, State.HEALTHY, State.HEALTHY, State.FAILED, State.ROLLED_BACK]
ODD_ENDS = [State.SKIPPED, State.SUPERSEDED, State.UNREACHABLE]


class Life(msgspec.Struct):
    """What a device will do: steps until its end, the end, silence on the way, and how it serves.

    A slow one misses a gate of its wave; some of them show that at the soak's end only.
    """

    steps: int
    end: State
    silent_at: int
    silent_for: int
    slow: Literal["", "at once", "at the end"] = ""


class Fleet:
    """Devices that live through their lives once they were given the release."""

    def __init__(self, lives: dict[str, Life]) -> None:
        self.lives = lives
        self.given: dict[str, float] = {}
        self.now = 0.0
        self.looks: list[Judge] = []

    def judge(self, asked: Judge) -> Judged:
        """Judge a wave as the gates' judge would."""
        self.looks.append(asked)
        shows = {"at once", "at the end"} if asked.over else {"at once"}
        slow = any(self.lives[device].slow in shows for device in asked.devices)
        return Judged(at=self.now, missed="it is slow" if slow else "")

    def assign(self, devices: tuple[str, ...]) -> None:
        for device in devices:
            self.given.setdefault(device, self.now)

    def status(self, device: str) -> DeviceStatus:
        life, start = self.lives[device], self.given[device]
        step = int((self.now - start) // TICK_S)
        if life.silent_at <= step < life.silent_at + life.silent_for:
            state, since = State.UNREACHABLE, start + life.silent_at * TICK_S
        elif step < life.steps:
            state, since = State.DOWNLOADING, start
        else:
            state, since = life.end, start + max(life.steps, 0) * TICK_S
        return DeviceStatus(device=device, state=state, release=3, since=since)

    def statuses(self) -> dict[str, DeviceStatus]:
        return {device: self.status(device) for device in self.given}


lives = st.builds(
    Life,
    steps=st.integers(0, 6),
    end=st.sampled_from(ENDS + ODD_ENDS),
    silent_at=st.integers(0, 8),
    silent_for=st.sampled_from([0, 0, 0, 2, 60]),
    slow=st.sampled_from(["", "", "", "", "", "at once", "at the end"]),
)
sizes: list[list[int | str]] = [[1, "10%", "100%"], ["100%"], [2, 5], ["30%", "60%"]]
policies = st.builds(
    RolloutPolicy,
    waves=st.sampled_from([parse_waves(size) for size in sizes]),
    soak_s=st.sampled_from([0.0, 7.0, 30.0]),
    concurrency=st.sampled_from([None, 1, 2, 5]),
    failure_threshold=st.none()
    | st.builds(
        FailureThreshold, percent=st.sampled_from([0, 10, 40, 100]), min_devices=st.integers(1, 6)
    ),
    on_failure=st.sampled_from(["rollback", "pause"]),
    timeout_s=st.sampled_from([60.0, 600.0]),
    unreachable_grace_s=st.sampled_from([0.0, 12.0, 60.0]),
    gates=st.none() | st.just(GatePolicy(gates=(Gate(measure="latency_p99", limit=0.05),))),
)
fleets = st.lists(lives, min_size=1, max_size=24).map(
    lambda many: {f"device-{n}": life for n, life in enumerate(many)}
)
controls: st.SearchStrategy[list[Control]] = st.lists(
    st.sampled_from(["run", "run", "run", "pause", "abort"]), max_size=6
)
Step = tuple[RolloutState, Decision]


def run(policy: RolloutPolicy, fleet: Fleet, orders: list[Control]) -> Iterator[Step]:
    """Drive a rollout until the engine ends it, and yield each question with its answer."""
    waves = choose_waves(policy.waves, "plates", fleet.lives)
    judged: dict[int, Judged] = {}
    for turn in range(10_000):
        control: Control = orders[turn // 3] if turn // 3 < len(orders) else "run"
        state = ask(policy, waves, fleet, control, judged)
        answer = decide(state)
        if isinstance(answer, Judge):
            judged[answer.wave] = fleet.judge(answer)
            answer = decide(state)
            assert not isinstance(answer, Judge)
        yield state, answer
        match answer:
            case Assign(devices=devices):
                fleet.assign(devices)
            case Wait() | Hold():
                fleet.now += TICK_S
            case _:
                return
    raise AssertionError("the rollout does not end")


def ask(
    policy: RolloutPolicy,
    waves: Waves,
    fleet: Fleet,
    control: Control,
    judged: dict[int, Judged],
) -> RolloutState:
    return RolloutState(
        policy=policy,
        waves=waves,
        statuses=fleet.statuses(),
        control=control,
        now=fleet.now,
        started_at=0.0,
        judged=judged,
    )


def is_waited_for(status: DeviceStatus, state: RolloutState) -> bool:
    if status.state is State.UNREACHABLE:
        assert status.since is not None
        return state.now - status.since < state.policy.unreachable_grace_s
    return not status.state.is_settled


def is_passed(wave: tuple[str, ...], state: RolloutState) -> bool:
    """The rule in other words than the engine's: all settled, and the soak is over."""
    statuses = [state.statuses.get(device) for device in wave]
    soak = state.policy.soak_s
    return all(
        s is not None
        and not is_waited_for(s, state)
        and (s.state is not State.HEALTHY or state.now >= (s.since or 0.0) + soak)
        for s in statuses
    )


@settings(max_examples=150, deadline=None)
@given(policies, fleets, controls)
def test_every_rollout_ends_within_its_time(
    policy: RolloutPolicy, devices: dict[str, Life], orders: list[Control]
) -> None:
    *_, (state, answer) = run(policy, Fleet(devices), orders)
    assert isinstance(answer, Complete | Stop | RollBack)
    assert state.now <= policy.timeout_s + TICK_S


@settings(max_examples=150, deadline=None)
@given(policies, fleets)
def test_never_more_than_concurrency_in_flight(
    policy: RolloutPolicy, devices: dict[str, Life]
) -> None:
    for state, answer in run(policy, Fleet(devices), []):
        if isinstance(answer, Assign) and policy.concurrency is not None:
            busy = sum(is_waited_for(s, state) for s in state.statuses.values())
            assert busy + len(answer.devices) <= policy.concurrency


@settings(max_examples=150, deadline=None)
@given(policies, fleets, controls)
def test_wave_is_not_touched_before_the_one_before_is_settled_and_soaked(
    policy: RolloutPolicy, devices: dict[str, Life], orders: list[Control]
) -> None:
    for state, answer in run(policy, Fleet(devices), orders):
        if isinstance(answer, Assign):
            assert set(answer.devices) <= set(state.waves[answer.wave - 1])
            assert all(is_passed(wave, state) for wave in state.waves[: answer.wave - 1])


@settings(max_examples=150, deadline=None)
@given(policies, fleets)
def test_a_wave_that_misses_a_gate_has_none_behind_it(
    policy: RolloutPolicy, devices: dict[str, Life]
) -> None:
    fleet = Fleet(devices)
    for state, answer in run(policy, fleet, []):
        if policy.gates is None or not policy.soak_s or not isinstance(answer, Assign | Complete):
            continue
        done = answer.wave - 1 if isinstance(answer, Assign) else len(state.waves)
        ends = {look.wave for look in fleet.looks if look.over}
        for number, wave in enumerate(state.waves[:done], start=1):
            healthy = [
                d
                for d in wave
                if state.statuses[d].state is State.HEALTHY and d in known(fleet, number)
            ]
            assert not any(devices[device].slow for device in healthy)
            assert number in ends or not healthy


def known(fleet: Fleet, wave: int) -> set[str]:
    """Return the devices that a wave was judged by; one that comes back later is none of them."""
    return {device for look in fleet.looks if look.wave == wave for device in look.devices}


@settings(max_examples=150, deadline=None)
@given(policies, fleets)
def test_failures_above_the_threshold_reach_no_further_wave(
    policy: RolloutPolicy, devices: dict[str, Life]
) -> None:
    allowed = policy.failure_threshold.percent if policy.failure_threshold else 0.0
    for state, answer in run(policy, Fleet(devices), []):
        if not isinstance(answer, Assign):
            continue
        for wave in state.waves[: answer.wave - 1]:
            ends = [state.statuses[device].state for device in wave]
            failed = sum(end.is_failure for end in ends)
            judged = failed + ends.count(State.HEALTHY)
            assert failed == 0 or failed * 100 <= allowed * judged


@settings(max_examples=150, deadline=None)
@given(policies, fleets, controls)
def test_device_gets_the_release_once_and_none_is_forgotten(
    policy: RolloutPolicy, devices: dict[str, Life], orders: list[Control]
) -> None:
    given_to: list[str] = []
    for _state, answer in run(policy, Fleet(devices), orders):
        if isinstance(answer, Assign):
            given_to += answer.devices
        if isinstance(answer, Complete):
            assert sorted(given_to) == sorted(devices)
    assert len(given_to) == len(set(given_to))


@settings(max_examples=100, deadline=None)
@given(policies, fleets, st.randoms(use_true_random=False))
def test_driver_that_was_killed_goes_on_as_if_nothing_had_happened(
    policy: RolloutPolicy, devices: dict[str, Life], random: object
) -> None:
    del random
    whole = [answer for _state, answer in run(policy, Fleet(devices), [])]
    fleet = Fleet(devices)
    pieces: list[Decision] = []
    while not pieces or not isinstance(pieces[-1], Complete | Stop | RollBack):
        # A new driver after every single step: waves chosen anew, all else from the fleet.
        driver = run(policy, fleet, [])
        pieces.append(next(driver)[1])
        next(driver, None)
    assert [type(a) for a in whole][-1] is type(pieces[-1])
    assert [a for a in whole if isinstance(a, Assign)] == [
        a for a in pieces if isinstance(a, Assign)
    ]


@settings(max_examples=150, deadline=None)
@given(policies, fleets)
def test_verdict_is_healthy_only_if_every_device_is(
    policy: RolloutPolicy, devices: dict[str, Life]
) -> None:
    *_, (state, answer) = run(policy, Fleet(devices), [])
    if isinstance(answer, Complete):
        all_healthy = all(
            d in state.statuses and state.statuses[d].state is State.HEALTHY for d in devices
        )
        assert (answer.verdict.outcome is Outcome.HEALTHY) is all_healthy
        assert sum(answer.verdict.counts.values()) == len(devices)


@settings(max_examples=150, deadline=None)
@given(policies, fleets)
def test_roll_back_names_exactly_those_that_may_run_the_release(
    policy: RolloutPolicy, devices: dict[str, Life]
) -> None:
    fleet = Fleet(devices)
    *_, (state, answer) = run(policy, fleet, [])
    if isinstance(answer, RollBack):
        gone = {State.SUPERSEDED, State.SKIPPED}
        assert set(answer.devices) == {
            d for d in fleet.given if state.statuses[d].state not in gone
        }
        assert {f.device for f in answer.failed} == {
            d for d, s in state.statuses.items() if s.state.is_failure
        }


def test_ten_thousand_devices_are_decided_in_one_call() -> None:
    names = [f"device-{n}" for n in range(10_000)]
    policy = RolloutPolicy(waves=parse_waves([1, "10%", "100%"]))
    waves = choose_waves(policy.waves, "plates", names)
    statuses = {
        d: DeviceStatus(device=d, state=State.HEALTHY, release=3, since=0.0)
        for d in (*waves[0], *waves[1])
    }
    state = RolloutState(policy=policy, waves=waves, statuses=statuses, now=9.0, started_at=0.0)
    answer = decide(state)
    assert isinstance(answer, Assign)
    assert len(answer.devices) == 9_000
