"""Wave sizes and the limits of a policy."""

from __future__ import annotations

from typing import Any

import pytest

from edgectl.rollout.policy import FailureThreshold, RolloutPolicy, WaveSize, parse_waves


def test_counts_and_percentages_are_read() -> None:
    assert parse_waves([1, "2.5 %", 30]) == (
        WaveSize(amount=1.0, unit="devices"),
        WaveSize(amount=2.5, unit="percent"),
        WaveSize(amount=30.0, unit="devices"),
    )


@pytest.mark.parametrize(
    ("waves", "message"),
    [
        ([], "0 waves"),
        ([0], "not a size"),
        ([-1], "not a size"),
        ([True], "not a size"),
        ([1.5], "not a size"),
        (["10"], "not a size"),
        (["ten%"], "not a size"),
        (["0%"], "not larger"),
        (["101%"], "more than 100%"),
        (["20%", "10%"], "'10%' is not larger"),
        ([5, "10%", 5], "'5' is not larger"),
        (["100%", 7], "after 100%"),
    ],
)
def test_sizes_that_make_no_waves_are_refused_with_what_is_allowed(
    waves: list[Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse_waves(waves)
    assert "for example [1, '10%', '100%']" in str(caught.value)


@pytest.mark.parametrize(
    ("percent", "total", "expected"), [(10, 11, 2), (10, 10, 1), (7, 100, 7), (0.1, 3, 1)]
)
def test_percentages_are_rounded_up(percent: float, total: int, expected: int) -> None:
    assert WaveSize(amount=percent, unit="percent").of(total) == expected


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("concurrency", 0),
        ("soak_s", -1.0),
        ("soak_s", float("nan")),
        ("timeout_s", float("inf")),
        ("unreachable_grace_s", -0.1),
        ("failure_threshold", FailureThreshold(percent=101)),
        ("failure_threshold", FailureThreshold(percent=5, min_devices=0)),
        ("waves", ()),
    ],
)
def test_policy_that_no_rollout_can_keep_is_refused(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match="allowed"):
        RolloutPolicy(**{field: value})
