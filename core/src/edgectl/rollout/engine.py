"""The rollout engine: one pure function from what is known to what to do next.

Rules, in the order in which they are asked:

1. ``abort`` ends the rollout.
2. ``pause`` holds it, until the time for the whole rollout is over: the clock runs on.
3. Too many failures, in one wave or over all waves that began, roll back or stop it.
4. The first wave that is not passed decides. Its devices get the release, at most
   ``concurrency`` at a time. It is passed when every device that can be reached has settled and
   the last healthy one has been so for the soak time. Later waves are not touched before, nor
   without approval where the policy wants one, nor devices outside of their window.
   While it soaks its gates are judged again and again, and once more at the end; one that is
   missed is a failed wave. A wave with a later one behind it was judged before.
5. When all waves are passed, the rollout is complete: ``healthy`` if every device is, ``partly``
   if some are unreachable, skipped, superseded or failed within the threshold.
6. When the time is over before that, the rollout ends as ``timed_out``.

There is no hidden state: whoever asks again with the same observations gets the same answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from edge_components.contract.state import State
from edgectl.durations import format_duration
from edgectl.rollout.decision import (
    Assign,
    Complete,
    Decision,
    Hold,
    Judge,
    RollBack,
    RolloutState,
    Stop,
    Wait,
)
from edgectl.rollout.tally import Tally, add_up, describe_waits, tally_wave, too_many_failures
from edgectl.rollout.verdict import Outcome, failed_devices, make_verdict

LOOKS = 20
MIN_LOOK_S = 1.0
MAX_LOOK_S = 30.0
_NOT_TO_ROLL_BACK = {State.SUPERSEDED, State.SKIPPED}


def decide(state: RolloutState) -> Decision:
    """Return the next action of a rollout."""
    if state.control == "abort":
        return _stop(state, Outcome.ABORTED, "an operator aborted the rollout")
    if state.control == "pause":
        return _time_over(state) or Hold(why="an operator paused the rollout")
    tallies = [_tally(state, wave) for wave in state.waves]
    return _on_failures(state, tallies) or _on_waves(state, tallies)


def _on_failures(state: RolloutState, tallies: list[Tally]) -> Decision | None:
    begun = [tally for tally in tallies if len(tally.open) < tally.size]
    threshold = state.policy.failure_threshold
    for number, tally in enumerate(tallies, start=1):
        if why := too_many_failures(threshold, tally):
            return _failed(state, f"wave {number}: {why}")
    for number, judged in sorted(state.judged.items()):
        if judged.missed:
            return _failed(state, f"wave {number}: {judged.missed}")
    if why := too_many_failures(threshold, add_up(begun)):
        return _failed(state, f"all waves together: {why}")
    return None


def _failed(state: RolloutState, why: str) -> Decision:
    if state.policy.on_failure == "pause":
        return _stop(state, Outcome.STOPPED, why)
    given = tuple(
        device
        for device in _devices(state)
        if device in state.statuses and state.statuses[device].state not in _NOT_TO_ROLL_BACK
    )
    return RollBack(devices=given, why=why, failed=failed_devices(_devices(state), state.statuses))


def _on_waves(state: RolloutState, tallies: list[Tally]) -> Decision:
    busy = sum(tally.busy for tally in tallies)
    for number, tally in enumerate(tallies, start=1):
        answer = _on_wave(state, tally, number, busy) or _on_soak(state, tallies, number)
        if answer is not None:
            return _time_over(state) or answer
        if number in state.policy.pause_after and state.approved < number < len(tallies):
            return Hold(why=f"wave {number} is done, the rest waits for approval", wave=number)
    return _complete(state)


def _on_wave(state: RolloutState, tally: Tally, number: int, busy: int) -> Decision | None:
    """Return what a wave needs before it soaks, or None when it does."""
    limit = state.policy.concurrency
    free = len(tally.open) if limit is None else limit - busy
    ready = [device for device in tally.open if device not in state.closed]
    if ready and free > 0:
        return Assign(devices=tuple(ready[:free]), wave=number)
    end = state.started_at + state.policy.timeout_s
    if tally.open and not ready and not tally.busy:
        opens = min(state.closed[device] for device in tally.open)
        left = format_duration(round(opens - state.now))
        why = f"wave {number} waits for the window of {len(tally.open)} devices, in {left}"
        return Wait(until=min(opens, end), why=why, wave=number)
    if not tally.is_over:
        until = end if tally.grace_ends is None else min(tally.grace_ends, end)
        why = f"{tally.busy} of {tally.size} devices of wave {number} have not settled"
        why = "; ".join(filter(None, (why, describe_waits(tally.waits))))
        return Wait(until=until, why=why, wave=number)
    return None


def _on_soak(state: RolloutState, tallies: list[Tally], number: int) -> Decision | None:
    """Return what a wave that soaks needs, or None when it is passed."""
    tally = tallies[number - 1]
    if tally.healthy_since is None:
        return None
    soaked = tally.healthy_since + state.policy.soak_s
    looks_at = _looks_at(state, number, soaked)
    # What has a later wave behind it was judged before that wave began.
    is_judged = state.approved >= number or any(len(t.open) < t.size for t in tallies[number:])
    if state.policy.gates is not None and state.now >= looks_at and not is_judged:
        return Judge(
            wave=number,
            devices=tuple(d for d in state.waves[number - 1] if _is_healthy(state, d)),
            since=tally.healthy_first or tally.healthy_since,
            soaked=soaked,
            over=state.now >= soaked,
        )
    if state.now >= soaked:
        return None
    rest = format_duration(soaked - state.now)
    end = state.started_at + state.policy.timeout_s
    until = min(soaked, looks_at, end) if state.policy.gates is not None else min(soaked, end)
    return Wait(until=until, why=f"wave {number} soaks for {rest} more", wave=number)


def _looks_at(state: RolloutState, number: int, soaked: float) -> float:
    """Return when the gates of a wave are judged next: now and then, and when it is soaked."""
    judged = state.judged.get(number)
    if judged is None:
        return state.now
    if judged.at >= soaked:
        return math.inf
    pause = min(max(state.policy.soak_s / LOOKS, MIN_LOOK_S), MAX_LOOK_S)
    return min(judged.at + pause, soaked)


def _is_healthy(state: RolloutState, device: str) -> bool:
    return device in state.statuses and state.statuses[device].state is State.HEALTHY


def _complete(state: RolloutState) -> Complete:
    devices = _devices(state)
    healthy = sum(1 for d in devices if _is_healthy(state, d))
    outcome = Outcome.HEALTHY if healthy == len(devices) else Outcome.PARTLY
    why = f"{healthy} of {len(devices)} devices are healthy"
    return Complete(verdict=make_verdict(outcome, why, devices, state.statuses, state.judged))


def _time_over(state: RolloutState) -> Stop | None:
    if state.now < state.started_at + state.policy.timeout_s:
        return None
    why = f"the rollout was not done after {format_duration(state.policy.timeout_s)}"
    if waits := describe_waits(_tally(state, _devices(state)).waits):
        why += f"; {waits}: what waits goes on by itself, and `edgectl resume` sees it to its end"
    return _stop(state, Outcome.TIMED_OUT, why)


def _tally(state: RolloutState, devices: Iterable[str]) -> Tally:
    grace_s = state.policy.unreachable_grace_s
    return tally_wave(devices, state.statuses, now=state.now, grace_s=grace_s)


def _stop(state: RolloutState, outcome: Outcome, why: str) -> Stop:
    verdict = make_verdict(outcome, why, _devices(state), state.statuses, state.judged)
    return Stop(verdict=verdict)


def _devices(state: RolloutState) -> tuple[str, ...]:
    return tuple(device for wave in state.waves for device in wave)
