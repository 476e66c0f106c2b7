"""Text to ids without a tokenizer."""

from __future__ import annotations

import zlib
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_components.contract.pipeline import Text
from edge_components.pipeline.errors import PipelineError
from edge_components.pipeline.reading import Item
from edge_components.pipeline.text import TextStage


def ids(text: Any, lines: Any = (), **step: Any) -> list[int]:
    (found,) = TextStage(Text(**step), lines)(Item(text))
    assert not isinstance(found.value, str)
    assert found.value.dtype == np.int64
    return found.value.tolist()  # type: ignore[no-any-return]  # numpy says Any


def test_bytes_are_their_values_moved_by_the_offset_and_filled() -> None:
    assert ids("aB\u00e9", length=6, offset=3, lowercase=False) == [100, 69, 198, 172, 0, 0]


def test_longer_text_is_cut() -> None:
    assert len(ids("x" * 100, length=7)) == 7


def test_words_are_looked_up_with_signs_of_their_own() -> None:
    vocabulary = ("pump", "is", "hot", "!")
    found = ids("Pump is HOT! really", vocabulary, length=6, method="vocabulary", vocabulary="v")
    assert found == [2, 3, 4, 5, 1, 0]


def test_a_hash_is_the_same_on_every_machine() -> None:
    found = ids("pump pump hot", length=3, method="hash", buckets=4096, offset=2)
    assert found == [zlib.crc32(word) % 4096 + 2 for word in (b"pump", b"pump", b"hot")]
    assert found[0] == 495  # CRC-32 is what it is, on this machine too


@given(st.text(max_size=50), st.sampled_from(["bytes", "hash"]), st.integers(1, 20))
def test_any_text_becomes_ids_within_range(text: str, method: Any, length: int) -> None:
    found = ids(text, length=length, method=method, buckets=50, offset=2)
    assert len(found) == length
    assert all(one == 0 or 2 <= one < 2 + (256 if method == "bytes" else 50) for one in found)


def test_an_array_of_one_text_is_a_text() -> None:
    assert ids(np.array(["a"], dtype=object), length=1, offset=0) == [97]


def test_numbers_are_no_text() -> None:
    with pytest.raises(PipelineError, match="text takes a text"):
        ids(np.zeros(3, np.float32), length=1)


@pytest.mark.parametrize(
    "step",
    [{"length": 1, "method": "vocabulary"}, {"length": 1, "vocabulary": "v"}, {"length": 0}],
)
def test_a_step_that_makes_no_sense_is_refused_where_it_is_written(step: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"op": "text", **step}, Text)
