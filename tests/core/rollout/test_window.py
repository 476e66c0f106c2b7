"""Maintenance windows: when they open, by the clock on the wall, also when clocks change."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_components.contract.window import DAYS, parse_clock
from edgectl.rollout.window import Window

BERLIN = "Europe/Berlin"


def at(text: str, zone: str = BERLIN) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def window(begin: str, end: str, *days: str) -> Window:
    chosen = tuple(DAYS.index(day) for day in days or DAYS)
    return Window(begin=parse_clock(begin), end=parse_clock(end), days=chosen)


@pytest.mark.parametrize(
    ("now", "opens"),
    [
        ("2026-11-20 21:59", "2026-11-20 22:00"),
        ("2026-11-20 22:00", None),
        ("2026-11-21 04:59", None),
        ("2026-11-21 05:00", "2026-11-21 22:00"),
    ],
)
def test_a_window_past_midnight_is_open_on_both_days(now: str, opens: str | None) -> None:
    found = window("22:00", "05:00").opens_at(at(now), BERLIN)
    assert found == (None if opens is None else at(opens))


def test_a_window_belongs_to_the_day_on_which_it_begins() -> None:
    saturday = window("22:00", "05:00", "sat")
    assert saturday.opens_at(at("2026-11-22 04:00"), BERLIN) is None  # a Sunday
    assert saturday.opens_at(at("2026-11-22 06:00"), BERLIN) == at("2026-11-28 22:00")


def test_each_site_has_its_own_clock() -> None:
    night = window("01:00", "04:00")
    now = at("2026-11-20 02:00", "America/New_York")
    assert night.opens_at(now, "America/New_York") is None
    assert night.opens_at(now, BERLIN) == at("2026-11-21 01:00")


def test_a_time_that_is_left_out_comes_after_the_change() -> None:
    # On 29 March 2026 clocks in Berlin go from 02:00 to 03:00.
    opens = window("02:30", "04:00").opens_at(at("2026-03-29 01:59"), BERLIN)
    assert opens == at("2026-03-29 03:30")


def test_a_time_that_comes_twice_is_its_first() -> None:
    # On 25 October 2026 clocks in Berlin go from 03:00 back to 02:00.
    opens = window("02:30", "04:00").opens_at(at("2026-10-25 01:00"), BERLIN)
    assert opens == at("2026-10-25 01:00") + 90 * 60


@pytest.mark.parametrize(
    "text", ["24:00", "7:30", "22", "22:60", "", "22:30:00", "\u0662\u0662:\u0660\u0660"]
)
def test_what_is_no_time_of_the_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time of the day"):
        parse_clock(text)


@pytest.mark.parametrize("zone", ["Mars/Phobos", "../etc/passwd", "", "a" * 300])
def test_an_unknown_zone_is_refused(zone: str) -> None:
    with pytest.raises(ValueError, match="there is no time zone"):
        Window(begin=0, end=60, zone=zone).zone_of({})


def test_a_device_may_name_its_zone() -> None:
    given_ = Window(begin=0, end=60, zone=BERLIN, zone_label="tz")
    assert given_.zone_of({"tz": "Asia/Tokyo"}) == "Asia/Tokyo"
    assert given_.zone_of({}) == BERLIN


@given(
    now=st.floats(1.6e9, 2.0e9),
    begin=st.integers(0, 1439),
    end=st.integers(0, 1439),
    days=st.sets(st.integers(0, 6), min_size=1),
    zone=st.sampled_from([BERLIN, "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]),
)
def test_a_window_opens_within_eight_days_and_is_open_then(
    now: float, begin: int, end: int, days: set[int], zone: str
) -> None:
    found = Window(begin=begin, end=end, days=tuple(sorted(days)))
    opens = found.opens_at(now, zone)
    if opens is not None:
        assert now < opens <= now + timedelta(days=8).total_seconds()
        assert found.opens_at(opens, zone) is None or (end - begin) % 1440 <= 60
