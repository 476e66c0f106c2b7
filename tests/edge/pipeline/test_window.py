"""Windows: which readings stand together, per key, over pauses and restarts."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_components.contract.pipeline import Window
from edge_components.pipeline.errors import PipelineError
from edge_components.pipeline.reading import Item
from edge_components.pipeline.window import WindowStage


def item(value: Any, key: str = "", time_s: float = 0.0) -> Item:
    array = np.array(value, dtype=np.float32)
    return Item(array, name="r", key=key, time_ns=int(time_s * 1e9))


def windows(stage: WindowStage, readings: list[Any], **more: Any) -> list[Any]:
    found = [after for value in readings for after in stage(item(value, **more))]
    return [np.asarray(one.value).tolist() for one in found]


def reference(readings: list[Any], size: int, stride: int) -> list[Any]:
    return [readings[at : at + size] for at in range(0, len(readings) - size + 1, stride)]


@given(
    st.integers(1, 6),
    st.integers(1, 8),
    st.lists(st.integers(0, 9), max_size=30),
    st.lists(st.integers(1, 7), max_size=8),
)
def test_windows_are_slices_however_the_readings_come(
    size: int, stride: int, numbers: list[int], chunks: list[int]
) -> None:
    stage = WindowStage(Window(size=size, stride=stride), "k")
    rows = [[float(number)] for number in numbers]
    found, rest = [], rows
    for chunk in chunks:  # several rows in one reading, and the state through a restart
        if rest[:chunk]:
            found += windows(stage, [rest[:chunk]])
        rest = rest[chunk:]
        again = WindowStage(Window(size=size, stride=stride), "k")
        again.restore(stage.dump())
        stage = again
    found += windows(stage, rest)
    assert found == reference(rows, size, stride)


def test_each_key_has_windows_of_its_own() -> None:
    stage = WindowStage(Window(size=2), "k")
    assert windows(stage, [[1]], key="a") == []
    assert windows(stage, [[5]], key="b") == []
    assert windows(stage, [[2]], key="a") == [[[1], [2]]]
    assert windows(stage, [[6]], key="b") == [[[5], [6]]]


def test_the_key_that_was_silent_longest_makes_room() -> None:
    stage = WindowStage(Window(size=2, max_keys=2), "k")
    for key in ("a", "b", "a", "c"):
        windows(stage, [[1]], key=key)
    assert stage.forgotten == 1
    assert windows(stage, [[2]], key="b") == []


def test_a_pause_begins_the_window_anew() -> None:
    stage = WindowStage(Window(size=2, max_gap_s=10), "k")
    assert windows(stage, [[1]], time_s=100) == []
    assert windows(stage, [[2]], time_s=111) == []
    assert windows(stage, [[3]], time_s=120) == [[[2], [3]]]


def test_single_numbers_are_readings_too() -> None:
    stage = WindowStage(Window(size=3, rank=0), "k")
    assert windows(stage, [[1], [2], [3, 4]]) == [[1, 2, 3], [2, 3, 4]]


@pytest.mark.parametrize("wrong", [[1, 2, 3], [[[1, 2]]]])
def test_a_reading_of_another_form_is_refused_and_changes_nothing(wrong: Any) -> None:
    stage = WindowStage(Window(size=2), "k")
    windows(stage, [[1, 2]])
    with pytest.raises(PipelineError):
        stage(item(wrong))
    assert windows(stage, [[3, 4]]) == [[[1, 2], [3, 4]]]


@pytest.mark.parametrize("data", [b"", b"\x93", b"junk", b"\x91\x91\x01"])
def test_a_state_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises((ValueError, msgspec.MsgspecError)):
        WindowStage(Window(size=2), "k").restore(data)


def test_a_reading_of_another_form_costs_no_window_and_two_in_a_row_begin_anew() -> None:
    stage = WindowStage(Window(size=2), "k")
    assert windows(stage, [[1]]) == []
    with pytest.raises(PipelineError, match="does not follow"):
        windows(stage, [[8, 8]])
    assert windows(stage, [[2]]) == [[[1], [2]]]
    with pytest.raises(PipelineError, match="does not follow"):
        windows(stage, [[3, 3]])
    assert windows(stage, [[4, 4], [5, 5]]) == [[[4, 4], [5, 5]]]
