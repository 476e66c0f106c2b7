"""When an alarm is raised, held and cleared."""

from __future__ import annotations

import itertools

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from edge_components.pipeline.alarms import AlarmState, Change, vote
from edge_components.pipeline.breaker import CircuitBreaker

S = 1_000_000_000


def play(
    answers: str, *, votes: tuple[int, int] = (1, 1), interval: float = 0.0, step_s: int = 1
) -> str:
    """``!`` speaks for the alarm, ``.`` for its end, ``-`` for neither; one answer a second."""
    state, told = AlarmState(), ""
    for number, sign in enumerate(answers, 1):
        change = vote(
            state,
            when=sign == "!",
            clear=sign == ".",
            now_ns=number * step_s * S,
            votes=votes,
            min_interval_s=interval,
        )
        told += {None: "-", Change.RAISED: "R", Change.CLEARED: "C", Change.HELD: "H"}[change]
        state = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=AlarmState)
    return told


def test_it_is_raised_once_and_cleared_once() -> None:
    assert play("..!!!--!..!") == "--R-----C-R"[:8] + "C-R"


def test_between_the_two_conditions_nothing_happens() -> None:
    assert play("!---!---.-!") == "R-------C-R"


def test_votes_are_of_the_last_answers_only() -> None:
    assert play("!.!.!!", votes=(3, 3)) == "------"
    assert play("!.!.!!", votes=(3, 4)) == "-----R"
    assert play("!!!..!..", votes=(2, 3)) == "-R--C---"


def test_an_alarm_within_the_interval_is_held_and_acts_when_it_is_over() -> None:
    assert play("!.!-------", interval=5) == "RCH--R----"


def test_a_held_alarm_that_ended_says_nothing() -> None:
    assert play("!.!.------", interval=5) == "RCH-------"


def test_a_clock_that_was_set_back_does_not_silence_it() -> None:
    state = AlarmState(acted_ns=10**18)
    found = vote(state, when=True, clear=False, now_ns=S, votes=(1, 1), min_interval_s=60)
    assert found is Change.RAISED


@given(st.text("!.-", max_size=60), st.integers(1, 4), st.integers(0, 3), st.floats(0, 9))
def test_raised_and_cleared_take_turns_and_keep_the_interval(
    answers: str, needed: int, more: int, interval: float
) -> None:
    told = play(answers, votes=(needed, needed + more), interval=interval)
    turns = [sign for sign in told if sign in "RC"]
    assert all(sign == "RC"[index % 2] for index, sign in enumerate(turns))
    raised = [index for index, sign in enumerate(told) if sign == "R"]
    assert all(b - a >= interval for a, b in itertools.pairwise(raised))


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 5)), max_size=60), st.integers(1, 4))
def test_a_breaker_opens_after_failures_in_a_row_and_lets_one_through_after_its_rest(
    story: list[tuple[bool, float]], limit: int
) -> None:
    now = 0.0
    breaker = CircuitBreaker(limit, 1.0, 4.0, clock=lambda: now)
    failures, opened_at, rest_s = 0, 0.0, 1.0
    for good, pause_s in story:
        now += pause_s
        assert breaker.is_open == (failures >= limit and now < opened_at)
        if breaker.is_open:
            continue
        if good:
            breaker.succeeded()
            failures, rest_s = 0, 1.0
        else:
            breaker.failed()
            failures += 1
            if failures >= limit:
                opened_at, rest_s = now + rest_s, min(4.0, 2 * rest_s)
