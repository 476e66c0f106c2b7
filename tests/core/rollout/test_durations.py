"""Durations as people write them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl.durations import MAX_DURATION_S, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2m", 120.0),
        ("90s", 90.0),
        ("1h30m", 5400.0),
        ("1.5h", 5400.0),
        ("250ms", 0.25),
        ("1d", 86_400.0),
        ("90", 90.0),
        (" 5s ", 5.0),
        (0, 0.0),
        (2.5, 2.5),
    ],
)
def test_duration_is_read(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "value",
    [
        *("", "m", "1m2h", "1m1m", "-5s", "5 s", "five", "1e3", "٣s", "99999999999s"),
        *(True, -1, math.nan, None, [], -(10**400)),
    ],
)
def test_what_is_no_duration_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(value)


@pytest.mark.parametrize("value", ["400d", 10**400, math.inf, MAX_DURATION_S + 1])
def test_more_than_a_year_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="longer than a year"):
        parse_duration(value)


@given(st.integers(min_value=0, max_value=int(MAX_DURATION_S)))
def test_whole_seconds_are_written_and_read_back(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.text(max_size=20))
def test_any_text_gives_seconds_or_a_value_error(text: str) -> None:
    try:
        assert 0 <= parse_duration(text) <= MAX_DURATION_S
    except ValueError as exc:
        assert "duration" in str(exc) or "year" in str(exc)
