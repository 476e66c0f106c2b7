"""Files to arrays: what is read, and what is refused without harm."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_components.pipeline.decode import read_body, read_file
from edge_components.pipeline.errors import PipelineError


def png(array: Any, mode: str | None = None) -> bytes:
    out = io.BytesIO()
    image = Image.fromarray(array)
    (image if mode is None else image.convert(mode)).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".pgm", ".jpg"])
def test_grey_images_are_two_dimensional(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(np.full((4, 6), 200, np.uint8)).save(path)
    found = read_file(path).value
    assert found.shape == (4, 6)
    assert found.dtype == np.uint8
    assert abs(int(found[0, 0]) - 200) < 3


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "LA"])
def test_colour_images_become_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).convert(mode).save(path)
    assert read_file(path).value.shape == (4, 6, 3)


def test_black_and_white_images_have_the_full_range(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1").save(path)
    assert read_file(path).value.tolist() == [[0, 255]]


def test_npy_and_json_are_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(4, dtype=np.int16))
    (tmp_path / "b.json").write_text("[[1, 2.5], [3, 4]]")
    assert read_file(tmp_path / "a.npy").value.dtype == np.int16
    assert read_file(tmp_path / "b.json").value.tolist() == [[1.0, 2.5], [3.0, 4.0]]


def bomb() -> bytes:
    """A PNG that says it has 100,000 x 100,000 pixels."""
    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + head
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + struct.pack(">I", 0)
        + b"IDAT"
    )


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.exe", b""),
        ("noending", b""),
        ("a.png", b""),
        ("a.png", b"not an image"),
        ("a.png", png(np.zeros((50, 50), np.uint8))[:60]),
        ("a.png", bomb()),
        ("a.npy", b"\x93NUMPY"),
        ("a.json", b"{}"),
        ("a.json", b'["x"]'),
        ("a.json", b"[[1],[1,2]]"),
        ("a.json", b"[1e999]"),
        ("a.json", b"null"),
        ("a.json", b"[" * 50_000),
    ],
)
def test_what_cannot_be_used_is_a_pipeline_error(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(PipelineError):
        read_file(path)


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(PipelineError, match="not taken"):
        read_file(tmp_path / "a.npy")


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    data=st.binary(max_size=80),
    at=st.integers(0, 100),
    suffix=st.sampled_from([".png", ".bmp", ".pgm", ".jpg", ".json", ".npy"]),
)
def test_any_damage_is_an_array_or_a_pipeline_error(
    tmp_path: Path, data: bytes, at: int, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    whole = png(np.zeros((4, 4), np.uint8))
    path.write_bytes(whole[:at] + data + whole[at + len(data) :])
    with contextlib.suppress(PipelineError):
        found = read_file(path).value
        assert isinstance(found, str) or found.ndim >= 1


STARTS = [
    b"",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff\xe0",
    b"BM",
    b"P5\n",
    b"\x93NUMPY\x01\0",
    b"[",
    b"{",
]


@settings(max_examples=300, deadline=None)
@given(start=st.sampled_from(STARTS), rest=st.binary(max_size=120))
def test_any_body_is_a_value_or_a_pipeline_error(start: bytes, rest: bytes) -> None:
    with contextlib.suppress(PipelineError):
        found = read_body("r", start + rest).value
        assert isinstance(found, str) or found.ndim >= 1


@pytest.mark.parametrize(
    ("body", "expected", "key"),
    [
        (b"[1, 2]", [1, 2], ""),
        (b"3.5", [3.5], ""),
        (b"1,2\n3,4\n", [[1, 2], [3, 4]], ""),
        (b"a,b\n3,4\n", [3, 4], ""),
        (b'{"key": "pump", "values": [1]}', [1], "pump"),
        (b'{"key": 7, "value": 2}', [2], "7"),
        (b'"hot"', "hot", ""),
        (b'{"text": "hot", "key": "k"}', "hot", "k"),
        (b"BMW is a car", "BMW is a car", ""),
    ],
)
def test_a_body_says_by_itself_what_it_is(body: bytes, expected: Any, key: str) -> None:
    found = read_body("r", body)
    value = found.value if isinstance(found.value, str) else found.value.tolist()
    assert (value, found.key) == (expected, key)


@pytest.mark.parametrize(
    "body", [b"", b" \n", b"[1, 2", b'{"values": [1]', b"\xff\xfe", b'{"x": 1}', b"[[]]x"]
)
def test_a_body_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(PipelineError):
        read_body("r", body)
