"""What a reading holds: images, ``.npy`` arrays, numbers as JSON or CSV, and text, all bounded.

A file says by its name what it is, a body by its first bytes. Images become uint8 ``[h, w]``
(grey) or ``[h, w, 3]`` (colour); numbers float32. Pillow is imported when the first image
arrives; a picture with too many pixels is refused before it is decoded.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from edge_components.golden import Array, GoldenError, parse_npy
from edge_components.pipeline.errors import PipelineError
from edge_components.pipeline.reading import Value

MAX_FILE_BYTES = 64 << 20
MAX_PIXELS = 64_000_000
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".ppm"})
SUFFIXES = IMAGE_SUFFIXES | {".npy", ".json", ".csv", ".txt"}
_IMAGE_FORMATS = ("PNG", "JPEG", "BMP", "PPM")
_IMAGE_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"P2", b"P3", b"P5", b"P6")
_GREY = frozenset({"1", "L", "I", "F", "I;16", "I;16B"})
_MEMBERS = ("values", "value", "text")


class Decoded(NamedTuple):
    """What a reading holds, and whose it says that it is."""

    value: Value
    key: str = ""


def read_file(path: Path) -> Decoded:
    """Read one file.

    Raises:
        PipelineError: It is too large, of an unknown kind, or broken.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        known = ", ".join(sorted(SUFFIXES))
        raise PipelineError(f"'{path.name}' is of no kind that can be read ({known})")
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise PipelineError(f"'{path.name}' has {size} bytes, at most {MAX_FILE_BYTES}")
        data = path.read_bytes()
    except OSError as exc:
        raise PipelineError(f"'{path.name}' cannot be read: {exc}") from exc
    if suffix in IMAGE_SUFFIXES:
        return Decoded(_image(path.name, data))
    if suffix == ".npy":
        return Decoded(_npy(path.name, data))
    if suffix == ".json":
        return _json(path.name, data)
    return Decoded(_csv(path.name, data) if suffix == ".csv" else _text(path.name, data))


def read_body(name: str, data: bytes) -> Decoded:
    """Read what came without a file name: an image, an array, JSON, CSV, else text.

    Raises:
        PipelineError: It is empty, too large or broken.
    """
    if not data.strip():
        raise PipelineError(f"'{name}' is empty")
    if len(data) > MAX_FILE_BYTES:
        raise PipelineError(f"'{name}' has {len(data)} bytes, at most {MAX_FILE_BYTES}")
    if data.startswith(b"\x93NUMPY"):
        return Decoded(_npy(name, data))
    if data.startswith(_IMAGE_STARTS) and _is_binary(data):
        return Decoded(_image(name, data))
    try:
        return from_plain(name, msgspec.json.decode(data))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    if data.lstrip()[:1] in b"[{":
        raise PipelineError(f"'{name}' looks like JSON, but is not whole")
    try:
        return Decoded(_csv(name, data))
    except PipelineError:
        return Decoded(_text(name, data))


def from_plain(name: str, found: Any) -> Decoded:
    """Read plain data: numbers, a text, or an object with ``values``, ``value`` or ``text``.

    Raises:
        PipelineError: It is none of these.
    """
    key = ""
    if isinstance(found, dict):
        member = next((one for one in _MEMBERS if one in found), None)
        if member is None:
            raise PipelineError(f"'{name}' is an object without {', '.join(_MEMBERS)}")
        key = str(found.get("key", ""))
        found = found[member]
    if isinstance(found, str):
        return Decoded(found, key)
    try:
        array = np.atleast_1d(np.array(found, dtype=np.float32))
    except (ValueError, TypeError, RecursionError, OverflowError) as exc:
        raise PipelineError(f"'{name}' is not an array of numbers: {exc}") from exc
    if found is None or not np.isfinite(array).all():
        raise PipelineError(f"'{name}' is not an array of finite numbers")
    return Decoded(array, key)


def _is_binary(data: bytes) -> bool:
    """Tell an image from a text that begins like one, such as 'BM' or 'P5'."""
    head = data[:64]
    return data[:1] in {b"\x89", b"\xff"} or b"\0" in head or data[2:3] in b"\n\r\t "


def _image(name: str, data: bytes) -> Array:
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415  # a device without images does not pay for Pillow

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=_IMAGE_FORMATS) as image:
                width, height = image.size
                if width * height <= MAX_PIXELS:
                    if image.mode == "1":
                        return np.asarray(image.convert("L"))
                    grey = image.mode in _GREY
                    return np.array(image) if grey else np.asarray(image.convert("RGB"))
    except UnidentifiedImageError as exc:  # its text names our buffer, not the picture
        raise PipelineError(f"'{name}' is not a whole image of a kind that can be read") from exc
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as exc:
        raise PipelineError(f"'{name}' is not a whole image: {exc}") from exc
    raise PipelineError(f"'{name}' has {width} x {height} pixels, at most {MAX_PIXELS}")


def _npy(name: str, data: bytes) -> Array:
    try:
        return parse_npy(data, name=name)
    except GoldenError as exc:
        raise PipelineError(str(exc)) from exc


def _json(name: str, data: bytes) -> Decoded:
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise PipelineError(f"'{name}' is not an array of numbers: {exc}") from exc
    return from_plain(name, found)


def _csv(name: str, data: bytes) -> Array:
    """Read rows of numbers; a first row of names is left out, one row has one axis."""
    rows = [row for row in _text(name, data).splitlines() if row.strip()]
    try:
        if len(rows) > 1 and not _numeric(rows[0]):
            rows = rows[1:]
        array = np.array([[float(cell) for cell in row.split(",")] for row in rows], np.float32)
    except ValueError as exc:
        raise PipelineError(f"'{name}' is not rows of numbers: {exc}") from exc
    if not array.size or not np.isfinite(array).all():
        raise PipelineError(f"'{name}' is not rows of finite numbers")
    return array[0] if len(array) == 1 else array


def _numeric(row: str) -> bool:
    try:
        return bool([float(cell) for cell in row.split(",")])
    except ValueError:
        return False


def _text(name: str, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise PipelineError(f"'{name}' is neither numbers nor UTF-8 text: {exc}") from exc
