"""Histograms that add up: what merging and sending them keeps."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_components.contract.histogram import (
    Histogram,
    counted,
    from_attributes,
    merge,
    to_attributes,
)

BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.1)
values = st.lists(st.floats(0, 1, allow_nan=False), max_size=60)


@given(values)
def test_a_histogram_comes_back_from_its_attributes_with_every_count(found: list[float]) -> None:
    histogram = counted(found, BOUNDS)
    back = from_attributes("h", to_attributes("h", histogram))
    if not found:
        assert back is None
        return
    assert back is not None
    assert back.count == histogram.count
    assert merge([back]).counts == merge([back, Histogram(bounds=BOUNDS)]).counts
    for share in (0.1, 0.5, 0.95, 1.0):
        assert back.quantile(share) == pytest.approx(histogram.quantile(share))


@given(values, values)
def test_sent_and_merged_is_the_same_as_counted_together(
    first: list[float], second: list[float]
) -> None:
    sent = [to_attributes("h", counted(part, BOUNDS)) for part in (first, second)]
    received = [found for item in sent if (found := from_attributes("h", item)) is not None]
    merged, whole = merge(received), counted([*first, *second], BOUNDS)
    assert merged.count == whole.count
    assert merged.total == pytest.approx(whole.total, abs=1e-6)
    for share in (0.25, 0.5, 0.99):
        assert merged.quantile(share) == pytest.approx(whole.quantile(share))


def test_a_quantile_is_at_most_a_bucket_off() -> None:
    taken = [random.Random(1).uniform(0, 0.1) for _ in range(2000)]
    fine = counted(taken, [step / 1000 for step in range(1, 101)])
    for share in (0.5, 0.95, 0.99):
        exact = sorted(taken)[int(share * len(taken))]
        assert fine.quantile(share) == pytest.approx(exact, abs=0.001)


def test_values_above_the_last_bound_count_as_that_bound() -> None:
    histogram = counted([5.0, 7.0], (0.1, 1.0))
    assert (histogram.quantile(0.5), histogram.counts) == (1.0, (0, 0, 2))


def test_histograms_of_other_bounds_keep_their_upper_ends() -> None:
    merged = merge([counted([0.5], (1.0,)), counted([0.5, 3.0], (0.6, 2.0))])
    assert merged.bounds == (0.6, 1.0, 2.0)
    assert merged.counts == (1, 1, 0, 1)


def test_nothing_counted_is_nothing_sent_and_has_no_quantile() -> None:
    assert to_attributes("h", Histogram(bounds=BOUNDS, counts=(0,) * 6)) == {}
    assert merge([]).quantile(0.5) is None
    assert counted([float("nan")], BOUNDS).count == 0


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"h.bounds": "1,2", "h.counts": "1,2"},
        {"h.bounds": "2,1", "h.counts": "1,2,3"},
        {"h.bounds": "nan", "h.counts": "1,2"},
        {"h.bounds": "1,inf", "h.counts": "1,2,3"},
        {"h.bounds": "1", "h.counts": "-1,2"},
        {"h.bounds": "1", "h.counts": "x,2"},
        {"h.bounds": 1, "h.counts": "1,2"},
        {"h.bounds": "1", "h.counts": "1,2", "h.sum": "much"},
        {"h.bounds": "1", "h.counts": "1,2", "h.sum": float("inf")},
        {"h.bounds": ",".join(map(str, range(300))), "h.counts": ",".join(["1"] * 301)},
    ],
)
def test_what_is_no_histogram_is_none(attributes: dict[str, Any]) -> None:
    assert from_attributes("h", attributes) is None
