"""The golden set's reader and its comparison."""

from __future__ import annotations

import contextlib
import io
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_components.golden import GoldenError, compare, parse_npy, read_golden


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def test_inputs_outputs_and_labels_are_read(build: Any, tmp_path: Path) -> None:
    arrays = {
        "input.x": np.ones((3, 2), np.float32),
        "output.y": np.zeros((3, 1)),
        "labels": np.arange(3),
    }
    golden = read_golden(write(tmp_path / "g.npz", build.golden(arrays)))
    assert golden.samples == 3
    assert golden.inputs["x"].dtype == np.float32
    assert golden.labels is not None
    assert golden.labels.tolist() == [0, 1, 2]


def test_compressed_entries_are_refused(build: Any, tmp_path: Path) -> None:
    data = build.golden({"input.x": np.zeros((9, 9)), "output.y": np.zeros((9, 9))}, compress=True)
    with pytest.raises(GoldenError, match="compressed"):
        read_golden(write(tmp_path / "g.npz", data))


def test_the_size_limit_counts_before_reading(build: Any, tmp_path: Path) -> None:
    data = build.golden({"input.x": np.zeros((9, 9)), "output.y": np.zeros((9, 9))})
    with pytest.raises(GoldenError, match="larger than 1000"):
        read_golden(write(tmp_path / "g.npz", data), max_bytes=1000)


def test_unequal_sample_counts_are_refused(build: Any, tmp_path: Path) -> None:
    arrays = {"input.a": np.zeros((2, 1)), "input.b": np.zeros((3, 1)), "output.y": np.zeros(2)}
    with pytest.raises(GoldenError, match="same number"):
        read_golden(write(tmp_path / "g.npz", build.golden(arrays)))


def test_a_shape_larger_than_the_data_is_refused() -> None:
    data = npy(np.zeros((2, 2), np.float32)).replace(b"(2, 2)", b"(9, 9)")
    with pytest.raises(GoldenError, match="declares 324 bytes, 16 are there"):
        parse_npy(data, name="x")


def test_an_object_array_is_refused_without_unpickling() -> None:
    out = io.BytesIO()
    np.save(out, np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(GoldenError, match="not taken"):
        parse_npy(out.getvalue(), name="x")


@given(st.binary(max_size=300))
def test_any_bytes_are_an_array_or_a_golden_error(data: bytes) -> None:
    for candidate in (data, b"\x93NUMPY\x01\x00" + data, npy(np.zeros(3))[:-20] + data):
        with contextlib.suppress(GoldenError):
            parse_npy(candidate, name="x")


@given(st.binary(max_size=400))
def test_any_file_is_a_golden_set_or_a_golden_error(data: bytes) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("input.x.npy", data)
    for content in (data, out.getvalue(), out.getvalue()[: len(data)] + data):
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            with pytest.raises(GoldenError):
                read_golden(Path(file.name))


def row(*values: float) -> dict[str, Any]:
    return {"y": np.array([values], dtype=np.float32)}


@pytest.mark.parametrize(
    ("actual", "expected", "within"),
    [
        (row(1.0, 2.0), row(1.0, 2.05), True),
        (row(1.0, 2.0), row(1.0, 2.2), False),
        (row(np.nan, 2.0), row(1.0, 2.0), False),
        (row(1.0, 2.0), row(np.nan, 2.0), False),
        (row(np.nan, 2.0), row(np.nan, 2.0), True),
        (row(np.inf, 2.0), row(np.inf, 2.0), True),
        (row(np.inf, 2.0), row(-np.inf, 2.0), False),
        (row(1.0, 2.0), row(np.inf, 2.0), False),
        (row(1.0), row(1.0, 2.0), False),
        ({}, row(1.0, 2.0), False),
    ],
)
def test_tolerance_is_nan_safe(actual: Any, expected: Any, within: bool) -> None:
    assert compare(actual, expected, atol=0.1, rtol=0.0).within is within


def test_relative_tolerance_counts_from_the_expected_value() -> None:
    assert compare(row(109.0), row(100.0), atol=0.0, rtol=0.1).within
    assert not compare(row(111.0), row(100.0), atol=0.0, rtol=0.1).within


def test_label_agreement_is_the_smallest_over_the_outputs() -> None:
    scores = np.array([[1, 0], [0, 1], [1, 0], [1, 0]], dtype=np.float32)
    labels = np.array([0, 1, 0, 0])
    flipped = np.array([[1, 0], [1, 0], [1, 0], [1, 0]], dtype=np.float32)
    found = compare({"p": flipped, "l": labels}, {"p": scores, "l": labels}, atol=9, rtol=0)
    assert found.label_agreement == 0.75
    assert found.holds(0.75)
    assert not found.holds(0.8)


def test_discrete_outputs_must_be_equal_where_no_agreement_is_asked() -> None:
    found = compare({"l": np.array([1, 2])}, {"l": np.array([1, 3])}, atol=9, rtol=9)
    assert not found.holds(0.0)
    assert found.holds(0.5)
