"""NumPy archives: hostile ones end in ModelError, ours have the same bytes everywhere."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgectl.errors import ModelError
from edgectl.model.npz import npz_bytes, parse_npy, read_npz

FUZZ = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
PLAIN = st.one_of(
    hnp.boolean_dtypes(), hnp.integer_dtypes(), hnp.floating_dtypes(sizes=(16, 32, 64)),
    hnp.unicode_string_dtypes(max_len=5),
)  # fmt: skip
SETS = st.dictionaries(
    st.text("abc.:/", min_size=1, max_size=5),
    hnp.arrays(PLAIN, hnp.array_shapes(min_dims=0, max_dims=3, max_side=3)),
    min_size=1,
    max_size=3,
)


def zipped(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, np.asarray(array), allow_pickle=True)
    return out.getvalue()


def header(text: str, version: int = 1) -> bytes:
    body = text.encode("latin-1")
    length = struct.pack("<H" if version == 1 else "<I", len(body))
    return b"\x93NUMPY" + bytes([version, 0]) + length + body


def test_arrays_come_back_as_they_were_saved(save_npz: Callable[..., Path]) -> None:
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "c": np.array(["x", "yz"]),
        "d": np.array(5, dtype=">i4"),
    }
    found = read_npz(save_npz(arrays))
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].shape == array.shape
    assert found["d"].dtype.isnative


@given(SETS)
@FUZZ
def test_what_is_written_is_read_back(tmp_path: Path, arrays: dict[str, Any]) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(npz_bytes(arrays))
    found = read_npz(path)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


def test_bytes_depend_on_content_only() -> None:
    a, b = np.arange(4, dtype="<f4"), np.ones((2, 2), "<i8")
    first = npz_bytes({"a": a, "b": b})
    assert first == npz_bytes({"b": np.asfortranarray(b), "a": a.astype(">f4")})
    assert first != npz_bytes({"a": a, "b": b + 1})


def test_entries_are_stored_sorted_and_dated_1980() -> None:
    with zipfile.ZipFile(io.BytesIO(npz_bytes({"b": np.ones(1), "a": np.ones(1)}))) as archive:
        infos = archive.infolist()
    assert [info.filename for info in infos] == ["a.npy", "b.npy"]
    assert {(i.compress_type, i.date_time, i.create_system) for i in infos} == {
        (zipfile.ZIP_STORED, (1980, 1, 1, 0, 0, 0), 3)
    }


def test_object_arrays_are_refused_by_key(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.npz", {"evil.npy": npy(np.array([{"a": 1}], dtype=object))})
    with pytest.raises(ModelError, match="'evil' is not a plain array") as caught:
        read_npz(path)
    assert "object arrays" in caught.value.hint


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not an array",
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }") + b"\0" * 7,
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }") + b"\0" * 4,
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (True,), 'x': 1}"),
        header("{'descr': '<V4', 'fortran_order': False, 'shape': (1,), }") + b"\0" * 4,
        header("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }") + b"\0" * 4,
        header("{'descr': '|S0', 'fortran_order': False, 'shape': (9,), }"),
        header("(" * 9000, version=2),
        header("[" * 200 + "]" * 200),
        header("__import__('os').abort()"),
        b"\x93NUMPY\x03\x00" + b"\0" * 20,
        b"\x93NUMPY\x01\x00\xff\xff",
    ],
)
def test_damaged_arrays_are_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="'a' is not a plain array"):
        read_npz(zipped(tmp_path / "x.npz", {"a.npy": data}))


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.npz", {"a.npy": b"\0" * 5_000_000}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10_000
    with pytest.raises(ModelError, match="holds 1 arrays of 5000000 bytes"):
        read_npz(path, max_bytes=1_000_000)


def test_a_bomb_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.npz", {"a.npy": b"\0" * 5_000_000}, zipfile.ZIP_DEFLATED)
    data = path.read_bytes().replace(struct.pack("<I", 5_000_000), struct.pack("<I", 100))
    path.write_bytes(data)
    with pytest.raises(ModelError):
        read_npz(path, max_bytes=1_000_000)


def test_too_large_a_file_and_too_many_arrays_are_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.npz", {f"a{i}.npy": npy([1]) for i in range(300)})
    with pytest.raises(ModelError, match="holds 300 arrays"):
        read_npz(path)
    with pytest.raises(ModelError, match="at most 100 are read"):
        read_npz(path, max_bytes=100)


def test_other_compression_and_foreign_entries_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="compressed in a way"):
        read_npz(zipped(tmp_path / "x.npz", {"a.npy": npy([1])}, zipfile.ZIP_LZMA))
    with pytest.raises(ModelError, match=r"entry 'readme\.txt' too many"):
        read_npz(zipped(tmp_path / "y.npz", {"readme.txt": b"hi"}))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_given_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", npy([1]))
        archive.writestr("a.npy", npy([2]))
    with pytest.raises(ModelError, match=r"'a\.npy' too many"):
        read_npz(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        read_npz(tmp_path / "none.npz")


@given(st.binary(max_size=400))
@FUZZ
def test_random_bytes_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(data)
    with pytest.raises(ModelError):
        read_npz(path)


@given(st.integers(0, 5000), st.binary(min_size=1, max_size=8), st.booleans())
@FUZZ
def test_a_damaged_archive_is_read_or_refused(
    tmp_path: Path, at: int, junk: bytes, compressed: bool
) -> None:
    arrays = {"input.x": np.arange(8, dtype=np.float32), "labels": np.arange(8)}
    good = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(good, **arrays)  # type: ignore[arg-type]  # names
    data = good.getvalue()
    at %= len(data)
    path = tmp_path / "x.npz"
    path.write_bytes(data[:at] + junk + data[at + len(junk) :])
    try:
        read_npz(path)
    except ModelError as exc:
        assert str(path) in exc.message


@given(st.binary(max_size=120), st.sampled_from([1, 2, 3]))
@FUZZ
def test_any_header_is_an_array_or_refused(tmp_path: Path, body: bytes, version: int) -> None:
    length = struct.pack("<H" if version == 1 else "<I", len(body))
    data = b"\x93NUMPY" + bytes([version, 0]) + length + body + b"\0" * 8
    with pytest.raises(ModelError):
        read_npz(zipped(tmp_path / "x.npz", {"a.npy": data}))


def test_a_good_header_of_version_2_is_read() -> None:
    text = "{'descr': '<f4', 'fortran_order': True, 'shape': (1, 2), }"
    found = parse_npy(header(text, version=2) + np.array([1, 2], "<f4").tobytes())
    assert found.tolist() == [[1.0, 2.0]]
