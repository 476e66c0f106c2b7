"""The limits of a site's link: its rate, its window, and clocks that are wrong."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_components.contract.release import NetworkSettings
from edge_components.contract.window import Hours
from edge_components.update.errors import CalledOffError
from edge_components.update.link import CLOCK_PATIENCE_S, SLACK_S, Link, Listener

NIGHT = Hours(begin=22 * 60, end=5 * 60, days=tuple(range(7)))
DAY_S = 86_400.0


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


class FakeClock:
    """A clock that stands still until somebody waits; ``jumps`` sets it after so many waits."""

    def __init__(self, wall: float = 0.0, jumps: dict[int, float] | None = None) -> None:
        self.now = wall
        self.passed = 1000.0
        self.waits = 0
        self.jumps = jumps or {}

    def wall(self) -> float:
        return self.now

    def steady(self) -> float:
        return self.passed

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        assert seconds > 0
        self.waits += 1
        self.pass_(seconds)
        self.now = self.jumps.get(self.waits, self.now)
        return stop.is_set()

    def pass_(self, seconds: float) -> None:
        self.now += seconds
        self.passed += seconds


def night(clock: FakeClock, told: list[str] | None = None, hours: Hours = NIGHT) -> Link:
    tell = (told if told is not None else []).append
    return Link(NetworkSettings(hours=hours, zone="UTC"), listener=Listener(tell=tell), clock=clock)


def test_a_link_without_limits_never_waits() -> None:
    clock = FakeClock()
    link = Link(clock=clock)
    link.hold(threading.Event())
    link.spend(10**12, threading.Event())
    assert link.is_open()
    assert clock.waits == 0


@given(
    st.integers(1000, 10**9),
    st.lists(st.tuples(st.integers(1, 1 << 16), st.floats(0, 3)), min_size=1, max_size=30),
)
def test_bytes_never_come_faster_than_the_rate_and_a_second_s_credit(
    rate: int, reads: list[tuple[int, float]]
) -> None:
    clock, stop = FakeClock(), threading.Event()
    link = Link(NetworkSettings(bandwidth=rate), clock=clock)
    began, taken = clock.passed, 0
    for count, took in reads:
        clock.pass_(took)
        link.spend(count, stop)
        taken += count
        assert taken <= rate * (clock.passed - began + 1e-9) + 1


def test_a_link_that_stood_still_is_not_made_up_for() -> None:
    clock, stop = FakeClock(), threading.Event()
    link = Link(NetworkSettings(bandwidth=1000), clock=clock)
    clock.pass_(3600)
    before = clock.passed
    link.spend(5000, stop)
    assert clock.passed - before == pytest.approx(4)


def test_a_slow_link_is_read_in_small_pieces() -> None:
    assert Link(NetworkSettings(bandwidth=80_000)).chunk_bytes == 10_000
    assert Link(NetworkSettings(bandwidth=1000)).chunk_bytes == 1024
    assert Link().chunk_bytes == 1 << 16


def test_who_is_called_off_does_not_pay() -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(CalledOffError):
        Link(NetworkSettings(bandwidth=1000)).spend(10**9, stop)


def test_a_closed_window_holds_until_it_opens_and_says_so() -> None:
    clock, told = FakeClock(at("2026-11-20 12:00:10")), list[str]()
    night(clock, told).hold(threading.Event())
    assert clock.now == pytest.approx(at("2026-11-20 22:00"), abs=1e-3)
    assert told == ["waits for its download window until 22:00", ""]


def test_a_window_of_another_day_is_named_with_it() -> None:
    clock, told = FakeClock(at("2026-11-20 12:00")), list[str]()
    night(clock, told, Hours(begin=120, end=300, days=(0,))).hold(threading.Event())
    assert told[0] == "waits for its download window until Mon 02:00"


def test_an_open_window_says_nothing() -> None:
    clock, told = FakeClock(at("2026-11-20 23:00")), list[str]()
    link = night(clock, told)
    link.hold(threading.Event())
    assert link.is_open()
    assert not told
    assert clock.waits == 0


def test_a_window_is_seen_to_close_and_holds_again() -> None:
    clock, told = FakeClock(at("2026-11-20 04:59:58")), list[str]()
    link = night(clock, told)
    link.hold(threading.Event())
    assert link.is_open()
    clock.pass_(3)
    assert not link.is_open()
    link.hold(threading.Event())
    assert link.is_open()
    assert clock.now == pytest.approx(at("2026-11-20 22:00"), abs=1e-3)


def test_who_is_called_off_waits_no_more() -> None:
    stop = threading.Event()
    stop.set()
    told: list[str] = []
    with pytest.raises(CalledOffError):
        night(FakeClock(at("2026-11-20 12:00")), told).hold(stop)
    assert told == ["waits for its download window until 22:00"]


def test_a_clock_that_is_put_right_while_a_device_waits_counts() -> None:
    clock = FakeClock(at("2026-11-20 06:00"), jumps={3: at("2026-11-20 23:00")})
    began = clock.passed
    night(clock).hold(threading.Event())
    assert clock.passed - began <= 120


def test_a_clock_that_goes_back_while_the_window_is_open_closes_it() -> None:
    clock = FakeClock(at("2026-11-20 23:00"))
    link = night(clock)
    assert link.is_open()
    clock.pass_(2)
    clock.now = at("2026-11-20 12:00")
    assert not link.is_open()


def test_a_clock_that_was_never_set_is_waited_for_and_then_kept_to() -> None:
    clock, told = FakeClock(100.0, jumps={2: at("2026-11-20 12:00")}), list[str]()
    night(clock, told).hold(threading.Event())
    assert told == [
        "waits until its clock is set, to know its download window",
        "waits for its download window until 22:00",
        "",
    ]
    assert clock.now == pytest.approx(at("2026-11-20 22:00"), abs=1e-3)


def test_a_clock_that_nobody_sets_holds_nothing_for_long() -> None:
    clock, told = FakeClock(100.0), list[str]()
    link = night(clock, told)
    began = clock.passed
    link.hold(threading.Event())
    assert clock.passed - began == pytest.approx(CLOCK_PATIENCE_S, abs=1)
    assert told == ["waits until its clock is set, to know its download window", ""]
    clock.pass_(DAY_S)
    assert link.is_open()
    clock.now = at("2026-11-20 12:00")  # it is set after all
    clock.pass_(2)
    assert not link.is_open()


def test_a_clock_that_stands_still_does_not_hold_a_device_for_ever() -> None:
    class Stopped(FakeClock):
        def wall(self) -> float:
            return at("2026-11-20 12:00")

    clock = Stopped()
    link = night(clock)
    began = clock.passed
    link.hold(threading.Event())
    assert clock.passed - began == pytest.approx(DAY_S + SLACK_S, abs=60)
    clock.pass_(5)
    assert link.is_open()


def test_a_zone_that_the_device_lacks_is_its_own() -> None:
    link = Link(NetworkSettings(hours=NIGHT, zone="Mars/Base"), clock=FakeClock(at("2026-11-20")))
    link.is_open()


def test_the_device_s_own_zone_is_looked_at_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC)
    minute = (now.hour * 60 + now.minute + 1440 - 60) % 1440
    hours = Hours(begin=minute, end=(minute + 120) % 1440, days=tuple(range(7)))
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "UTC0")
        assert Link(NetworkSettings(hours=hours)).is_open()
        patched.setenv("TZ", "EAST-6")
        assert not Link(NetworkSettings(hours=hours)).is_open()
    time.tzset()
