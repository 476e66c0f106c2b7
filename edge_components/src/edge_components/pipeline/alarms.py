"""When an alarm is raised and when it ends, pure: votes, hysteresis, and a least interval.

An alarm that is due within the interval is held, and acts as soon as the interval is over if it
still stands then; so a machine that is in danger is never silent for longer than that.
"""

from __future__ import annotations

import enum
from collections import deque

import msgspec


class Change(enum.StrEnum):
    """What an answer does to an alarm."""

    RAISED = "raised"
    CLEARED = "cleared"
    HELD = "held"  # it would be raised, but the last one is too near


class AlarmState(msgspec.Struct):
    """One alarm of one key.

    Attributes:
        votes: Of the last answers, newest last: for raising while it is quiet, for ending while
            it is raised.
        raised: Whether it stands.
        acted: Whether it was told, or is held.
        acted_ns: When it was told last, nanoseconds since 1970 UTC.
    """

    votes: list[bool] = []
    raised: bool = False
    acted: bool = False
    acted_ns: int = 0


def vote(
    state: AlarmState,
    *,
    when: bool,
    clear: bool,
    now_ns: int,
    votes: tuple[int, int],
    min_interval_s: float,
) -> Change | None:
    """Count an answer; return what changes.

    Args:
        state: Is changed.
        when: Whether the answer speaks for the alarm.
        clear: Whether it speaks for its end.
        now_ns: When the answer was given.
        votes: How many of how many have to agree.
        min_interval_s: Least time between two that act.
    """
    needed, of = votes
    recent = deque(state.votes, maxlen=of)
    recent.append(clear if state.raised else when)
    state.votes = list(recent)
    agreed = sum(recent) >= needed
    if agreed:
        state.votes = []
    if state.raised and agreed:
        state.raised = False
        told, state.acted = state.acted, False
        return Change.CLEARED if told else None
    if not state.raised and not agreed:
        return None
    if state.raised and state.acted:
        return None
    fresh, state.raised = not state.raised, True
    passed_ns = now_ns - state.acted_ns
    # A clock that was set back must not silence the alarm.
    if 0 <= passed_ns < min_interval_s * 1e9 and state.acted_ns:
        return Change.HELD if fresh else None
    state.acted, state.acted_ns = True, now_ns
    return Change.RAISED
