"""What a soak calls wrong."""

from __future__ import annotations

from typing import Any

import pytest
from report import Counts, Sample, judge, slope_bytes_per_hour

STEADY = [Sample(float(at), 100_000_000 + at % 3, 30, 14) for at in range(100)]
GROWING = [Sample(float(at), 100_000_000 + at * 200_000, 30, 14) for at in range(100)]
MORE_THREADS = [Sample(float(at), 100_000_000, 30, 14 + at // 10) for at in range(100)]
WELL: dict[str, Any] = {
    "samples": STEADY,
    "final": Sample(100.0, 100_000_000, 28, 14),
    "lost": 0,
    "dropped": 0,
    "taken": 10,
    "release": (1, 1),
    "exit_code": 0,
    "slope": 0.0,
}


def counts(*failed: str) -> Counts:
    found = Counts()
    found.done["REST JSON"] = 1000
    found.failed.extend(failed)
    return found


def test_a_runtime_that_stays_as_it_was_is_well() -> None:
    report = judge(counts=counts(), **WELL)
    assert report.ok
    assert report.table().endswith("all is well\n")


@pytest.mark.parametrize(
    ("changed", "row"),
    [
        ({"samples": GROWING}, "memory"),
        ({"samples": MORE_THREADS}, "threads"),
        ({"final": Sample(100.0, 100_000_000, 60, 14)}, "files"),
        ({"lost": 3, "dropped": 2}, "telemetry"),
        ({"taken": 0}, "telemetry"),
        ({"release": (2, 1)}, "release"),
        ({"exit_code": 4}, "exit code"),
    ],
)
def test_what_grew_was_lost_or_is_not_as_it_should_be_is_wrong(
    changed: dict[str, Any], row: str
) -> None:
    report = judge(counts=counts(), **{**WELL, **changed})
    assert [found.name for found in report.rows if found.wrong] == [row]
    assert "WRONG" in report.table()


def test_one_good_request_that_failed_is_wrong_and_shown() -> None:
    report = judge(counts=counts("REST JSON: (500, 'internal error')"), **WELL)
    assert "failed     1  WRONG: REST JSON: (500, 'internal error')" in report.table()


def test_what_was_dropped_is_not_lost() -> None:
    assert judge(counts=counts(), **{**WELL, "lost": 3, "dropped": 3}).ok


def test_the_slope_is_in_bytes_an_hour() -> None:
    assert slope_bytes_per_hour(GROWING) == pytest.approx(200_000 * 3600)
    assert slope_bytes_per_hour(GROWING[:1]) == 0
