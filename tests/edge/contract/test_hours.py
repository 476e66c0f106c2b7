"""Hours of the week: when they end, and how far apart they are."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_components.contract.window import DAYS, Hours, parse_clock

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp()


def hours(begin: str, end: str, *days: str) -> Hours:
    chosen = tuple(DAYS.index(day) for day in days or DAYS)
    return Hours(begin=parse_clock(begin), end=parse_clock(end), days=chosen)


@pytest.mark.parametrize(
    ("now", "closes"),
    [
        ("2026-11-20 21:59", None),
        ("2026-11-20 22:00", "2026-11-21 05:00"),
        ("2026-11-21 04:59", "2026-11-21 05:00"),
        ("2026-11-21 05:00", None),
    ],
)
def test_a_window_closes_at_its_end(now: str, closes: str | None) -> None:
    found = hours("22:00", "05:00").closes_at(at(now), BERLIN)
    assert found == (None if closes is None else at(closes))


def test_a_window_of_a_whole_day_stays_open() -> None:
    whole = hours("06:00", "06:00")
    assert whole.opens_at(at("2026-11-20 06:00"), BERLIN) is None
    assert whole.opens_at(at("2026-11-20 05:59"), BERLIN) is None


@pytest.mark.parametrize(
    ("days", "most"), [(DAYS, 1), (("mon",), 7), (("mon", "thu"), 4), (("sat", "sun"), 6)]
)
def test_the_longest_gap_is_that_between_two_beginnings(days: tuple[str, ...], most: int) -> None:
    assert hours("01:00", "02:00", *days).longest_gap_s == most * 86_400


week_hours = st.builds(
    Hours,
    begin=st.integers(0, 1439),
    end=st.integers(0, 1439),
    days=st.sets(st.integers(0, 6), min_size=1).map(lambda days: tuple(sorted(days))),
)


@given(week_hours, st.floats(min_value=1.5e9, max_value=2e9), st.sampled_from([None, BERLIN]))
def test_a_window_is_open_or_opens_within_its_longest_gap(
    window: Hours, now: float, place: ZoneInfo | None
) -> None:
    opens, closes = window.opens_at(now, place), window.closes_at(now, place)
    assert (opens is None) == (closes is not None)
    if opens is not None:
        assert now < opens <= now + window.longest_gap_s + 7200
        assert window.opens_at(opens, place) is None
    if closes is not None:
        assert closes > now
