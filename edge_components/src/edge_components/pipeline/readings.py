"""A file to an array: images, ``.npy`` arrays and ``.json`` numbers, all bounded.

Images become uint8 ``[h, w]`` (grey) or ``[h, w, 3]`` (colour). Pillow is imported when the first
image arrives; a picture with too many pixels is refused before it is decoded.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import msgspec
import numpy as np

from edge_components.golden import Array, GoldenError, parse_npy
from edge_components.pipeline.errors import PipelineError

MAX_FILE_BYTES = 64 << 20
MAX_PIXELS = 64_000_000
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".ppm"})
SUFFIXES = IMAGE_SUFFIXES | {".npy", ".json"}
_IMAGE_FORMATS = ("PNG", "JPEG", "BMP", "PPM")
_GREY = frozenset({"1", "L", "I", "F", "I;16", "I;16B"})


def read_reading(path: Path) -> Array:
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
        if suffix in IMAGE_SUFFIXES:
            return _read_image(path)
        data = path.read_bytes()
    except OSError as exc:
        raise PipelineError(f"'{path.name}' cannot be read: {exc}") from exc
    return _read_npy(path.name, data) if suffix == ".npy" else _read_json(path.name, data)


def _read_image(path: Path) -> Array:
    from PIL import Image  # noqa: PLC0415  # a device without images does not pay for Pillow

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=_IMAGE_FORMATS) as image:
                width, height = image.size
                if width * height <= MAX_PIXELS:
                    if image.mode == "1":
                        return np.asarray(image.convert("L"))
                    grey = image.mode in _GREY
                    return np.array(image) if grey else np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as exc:
        raise PipelineError(f"'{path.name}' is not a whole image: {exc}") from exc
    raise PipelineError(f"'{path.name}' has {width} x {height} pixels, at most {MAX_PIXELS}")


def _read_npy(name: str, data: bytes) -> Array:
    try:
        return parse_npy(data, name=name)
    except GoldenError as exc:
        raise PipelineError(str(exc)) from exc


def _read_json(name: str, data: bytes) -> Array:
    try:
        values = msgspec.json.decode(data)
        array = np.array(values, dtype=np.float32)
    except (msgspec.DecodeError, ValueError, TypeError, RecursionError) as exc:
        raise PipelineError(f"'{name}' is not an array of numbers: {exc}") from exc
    if not array.ndim or not np.isfinite(array).all():
        raise PipelineError(f"'{name}' is not an array of finite numbers")
    return array
