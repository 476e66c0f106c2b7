"""Token buckets: a burst passes, then calls at the rate, and a refused call costs nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgectl.emulation import Calls, TokenBuckets


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_holds_a_seconds_worth_and_fills_at_its_rate() -> None:
    clock = Clock()
    buckets = TokenBuckets({"a": 4.0}, clock)
    assert [buckets.take(["a"]) for _ in range(5)] == [0.0, 0.0, 0.0, 0.0, 0.25]
    clock.now = 0.25
    assert [buckets.take(["a"]), buckets.take(["a"])] == [0.0, 0.25]


def test_a_slow_bucket_holds_one_call() -> None:
    clock = Clock()
    buckets = TokenBuckets({"a": 0.1}, clock)
    assert [buckets.take(["a"]), round(buckets.take(["a"]), 6)] == [0.0, 10.0]


def test_a_longer_burst_holds_more() -> None:
    buckets = TokenBuckets({"a": 20 / 60}, Clock(), burst_s=60.0)
    assert [buckets.take(["a"]) for _ in range(20)] == [0.0] * 20
    assert round(buckets.take(["a"]), 6) == 3.0


def test_a_call_is_taken_from_all_its_buckets_or_from_none() -> None:
    buckets = TokenBuckets({"all": 2.0, "one": 1.0}, Clock())
    assert buckets.take(["all", "one"]) == 0.0
    assert buckets.take(["all", "one"]) > 0.0
    assert buckets.take(["all"]) == 0.0


def test_what_has_no_rate_is_not_limited() -> None:
    buckets = TokenBuckets({}, Clock())
    assert [buckets.take(["x"]) for _ in range(100)] == [0.0] * 100


def test_a_call_that_costs_more_than_a_bucket_holds_is_paid_back() -> None:
    clock = Clock()
    buckets = TokenBuckets({"a": 2.0}, clock)
    assert buckets.take(["a"], cost=6.0) == 0.0
    assert buckets.take(["a"]) == 2.5


def test_a_rate_of_nought_lets_one_call_through() -> None:
    buckets = TokenBuckets({"a": 0.0}, Clock())
    assert [buckets.take(["a"]), buckets.take(["a"])] == [0.0, float("inf")]


@given(st.lists(st.floats(0.0, 2.0), max_size=60), st.sampled_from([1.0, 3.0, 10.0]))
def test_no_more_passes_than_the_burst_and_the_rate(pauses: list[float], rate: float) -> None:
    clock = Clock()
    buckets = TokenBuckets({"a": rate}, clock)
    passed = 0
    for pause in pauses:
        clock.now += pause
        passed += buckets.take(["a"]) == 0.0
    assert passed <= rate + clock.now * rate + 1e-6


def test_the_most_calls_within_a_second_and_a_minute_are_kept() -> None:
    clock = Clock()
    calls = Calls(clock)
    for at in (0.0, 0.5, 30.0, 59.0, 61.0):
        clock.now = at
        calls.count("hub", "Query")
    counts = calls.counts()
    assert (counts.peak_per_second["hub.Query"], counts.peak_per_minute["hub.Query"]) == (2, 4)
