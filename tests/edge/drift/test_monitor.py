"""Windows of requests against a golden set."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_components.contract.device import DriftSection
from edge_components.drift.features import MAX_ELEMENTS, features
from edge_components.drift.monitor import DriftMonitor, DriftReport
from edge_components.golden import Golden

SETTINGS = DriftSection(window_rows=300, window_s=60.0)


def scores(x: np.ndarray) -> np.ndarray:
    return np.stack([x.mean(axis=1), -x.mean(axis=1)], axis=1).astype(np.float32)


def golden(rng: np.random.Generator, samples: int = 64, width: int = 4) -> Golden:
    x = rng.normal(size=(samples, width)).astype(np.float32)
    return Golden({"x": x}, {"y": scores(x)})


def feed(monitor: DriftMonitor, x: np.ndarray, now: float = 0.0) -> DriftReport | None:
    for row in x.astype(np.float32):
        monitor.add(features({"x": row[None]}, {"y": scores(row[None])}))
    return monitor.report(now)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def test_the_same_distribution_is_no_drift_in_window_after_window(rng: Any) -> None:
    alarms = 0
    for _ in range(30):
        monitor = DriftMonitor(golden(rng), SETTINGS, now=0.0)
        report = feed(monitor, rng.normal(size=(300, 4)))
        assert report is not None
        alarms += bool(report.crossed or report.beyond_chance)
    assert alarms <= 1


def test_a_shifted_input_crosses_and_is_named(rng: Any) -> None:
    monitor = DriftMonitor(golden(rng), SETTINGS, now=0.0)
    x = rng.normal(size=(300, 4))
    x[:, 2] += 3.0
    report = feed(monitor, x)
    assert report is not None
    assert "input.x[2]" in report.crossed
    assert "input.x[1]" not in report.crossed
    assert report.attributes["input.x[2].psi"] > 1
    assert report.attributes["input.x[2].ks"] > 0.5


def test_classes_that_change_their_shares_cross(rng: Any) -> None:
    x = np.abs(rng.normal(size=(100, 2))) * np.where(np.arange(100) % 2, 1, -1)[:, None]
    monitor = DriftMonitor(Golden({"x": x}, {"y": scores(x)}), SETTINGS, now=0.0)
    report = feed(monitor, np.abs(rng.normal(size=(300, 2))))
    assert report is not None
    assert "output.y.class" in report.crossed
    assert "output.y.class.ks" not in report.attributes


def test_labels_that_the_golden_set_has_not_are_a_class_of_their_own() -> None:
    labels = np.array([1, 2] * 40, dtype=np.int64)
    monitor = DriftMonitor(Golden({"x": labels}, {"label": labels}), SETTINGS, now=0.0)
    monitor.add(features({}, {"label": np.full(16, 7)}))
    for _ in range(20):
        monitor.add(features({}, {"label": np.full(16, 9)}))
    report = monitor.report(0.0)
    assert report is not None
    assert report.attributes["output.label.psi"] > 2


def test_not_a_number_is_drift(rng: Any) -> None:
    monitor = DriftMonitor(golden(rng), SETTINGS, now=0.0)
    x = rng.normal(size=(300, 4))
    x[:100, 0] = np.nan
    report = feed(monitor, x)
    assert report is not None
    assert "input.x[0]" in report.crossed
    assert "input.x[1]" not in report.crossed


def test_a_window_ends_by_rows_or_by_time_with_enough_rows(rng: Any) -> None:
    monitor = DriftMonitor(golden(rng), SETTINGS, now=0.0)
    assert feed(monitor, rng.normal(size=(299, 4)), 1.0) is None
    assert feed(monitor, rng.normal(size=(1, 4)), 1.0) is not None
    assert feed(monitor, rng.normal(size=(29, 4)), 70.0) is None
    report = feed(monitor, rng.normal(size=(1, 4)), 71.0)
    assert report is not None
    assert report.attributes["rows"] == 30


def test_a_window_forgets_the_one_before(rng: Any) -> None:
    monitor = DriftMonitor(golden(rng), SETTINGS, now=0.0)
    first = feed(monitor, rng.normal(size=(300, 4)) + 5)
    second = feed(monitor, rng.normal(size=(300, 4)))
    assert first is not None
    assert second is not None
    assert first.crossed
    assert not second.crossed


def test_memory_does_not_grow_with_what_is_seen(rng: Any) -> None:
    monitor = DriftMonitor(golden(rng), DriftSection(window_rows=1 << 30), now=0.0)
    before = sum(sys.getsizeof(watch.observed) for watch in monitor._watches.values())
    feed(monitor, rng.normal(size=(2000, 4)))
    after = sum(sys.getsizeof(watch.observed) for watch in monitor._watches.values())
    assert after == before


def test_a_picture_is_sampled_and_not_kept_alive() -> None:
    picture = np.ones((1, 3, 224, 224), np.float32)
    (found,) = features({"image": picture}, {})
    assert found.values.size <= MAX_ELEMENTS
    assert not np.shares_memory(found.values, picture)


def test_text_and_bfloat16_are_left_out() -> None:
    text = np.array(["a"], dtype=np.object_)
    assert features({"t": text, "b": np.ones((1, 4), np.uint16)}, {}) == []


@given(
    st.lists(st.integers(0, 5), max_size=4),
    st.sampled_from(["f4", "f2", "i8", "u1", "?", "f8", "u2"]),
    st.booleans(),
)
def test_any_shape_and_type_gives_flat_numbers(
    shape: list[int], dtype: str, is_input: bool
) -> None:
    array = np.zeros(shape, dtype)
    found = features({"a": array}, {}) if is_input else features({}, {"a": array})
    assert all(f.values.ndim == 1 and f.values.dtype == np.float64 and f.rows > 0 for f in found)
