"""Tensor values in JSON to arrays: typed, range-checked and without a detour over Any.

One decoder is built per datatype and nesting depth and kept. A flat list of floats is packed with
``struct``, which is quicker than ``np.array`` on a list and refuses numbers that the type cannot
hold.
"""

from __future__ import annotations

import functools
import math
import re
import struct
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
import numpy as np

from edge_components.runtime.oip.datatypes import (
    FLOATS,
    NUMPY_TYPES,
    SIGNED,
    UNSIGNED,
    Array,
    bf16_to_float32,
    float32_to_bf16,
)
from edge_components.runtime.oip.messages import ProtocolError

_PACK = {"FP32": "f", "FP64": "d", "FP16": "e"}
_MAYBE_DEEPER = b" \t\r\n["
_OPENING = re.compile(rb"[ \t\r\n\[]*")


def array_from_json(name: str, datatype: str, shape: tuple[int, ...], raw: memoryview) -> Array:
    """Read an input from the JSON text of its ``data``: flat, or nested as its shape.

    Raises:
        ProtocolError: Wrong element type, out of range, or not as many elements as the shape says.
    """
    depth = _depth(raw)
    if depth not in {1, len(shape)}:
        raise ProtocolError(
            f"input '{name}' nests its data {depth} deep, expected a flat list or {len(shape)} deep"
        )
    try:
        values = _decoder(datatype, depth).decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise ProtocolError(
            f"input '{name}' has data that is not {datatype}: {str(exc)[:200]}"
        ) from exc
    count = math.prod(shape)
    if depth == 1 and len(values) != count:
        raise ProtocolError(
            f"input '{name}' has {len(values)} values, shape {list(shape)} needs {count}"
        )
    try:
        return _to_array(datatype, shape, values, depth)
    except (OverflowError, struct.error) as exc:
        raise ProtocolError(f"input '{name}' has a number that {datatype} cannot hold") from exc
    except ValueError as exc:
        raise ProtocolError(
            f"input '{name}' has nested data that does not have shape {list(shape)}"
        ) from exc


def flat_reader(datatype: str, shape: tuple[int, ...]) -> Callable[[msgspec.Raw], Array] | None:
    """Return a reader for flat lists of this type and shape, or None where there is no quick way.

    The reader does what ``array_from_json`` does to a well-formed list, in a few calls, and raises
    any error for everything else, nested lists included; then ``array_from_json`` decides.
    """
    code = _PACK.get(datatype)
    if code is None:
        return None
    decode = _decoder(datatype, 1).decode
    pack = _packer(math.prod(shape), code).pack
    dtype = NUMPY_TYPES[datatype]
    frombuffer = np.frombuffer

    def read(raw: msgspec.Raw) -> Array:
        array: Array = frombuffer(pack(*decode(raw)), dtype)
        return array.reshape(shape)

    return read


def flat_decoder(datatype: str) -> Callable[[msgspec.Raw], list[Any]]:
    """Return what reads a flat list of this type, and raises ``msgspec.DecodeError`` for others."""
    return _decoder(datatype, 1).decode


def _depth(raw: memoryview) -> int:
    if len(raw) > 1 and raw[0] == 0x5B and raw[1] not in _MAYBE_DEEPER:
        return 1  # nearly always
    opening = _OPENING.match(raw)  # pretty-printed JSON has much space between its brackets
    return 0 if opening is None else opening.group().count(b"[")


def _to_array(datatype: str, shape: tuple[int, ...], values: list[Any], depth: int) -> Array:
    if datatype == "BF16":
        narrow = float32_to_bf16(_to_array("FP32", shape, values, depth))
        if np.isinf(bf16_to_float32(narrow)).any():  # above its largest number, below float32's
            raise OverflowError
        return narrow
    dtype = NUMPY_TYPES[datatype]
    if depth == 1 and datatype in _PACK:
        packed = _packer(len(values), _PACK[datatype]).pack(*values)
        array: Array = np.frombuffer(packed, dtype=dtype)
    else:
        with np.errstate(over="ignore"):
            array = np.array(values, dtype=dtype)
        if datatype in _PACK and not np.isfinite(array).all():
            raise OverflowError
    if depth == 1:
        return array.reshape(shape)
    if array.shape != shape:
        raise ValueError(shape)
    return array


@functools.lru_cache(maxsize=64)
def _packer(count: int, code: str) -> struct.Struct:
    return struct.Struct(f"={count}{code}")  # only standard sizes are range-checked


@functools.lru_cache(maxsize=512)
def _decoder(datatype: str, depth: int) -> msgspec.json.Decoder[list[Any]]:
    kind: Any = _element(datatype)
    for _ in range(depth):
        kind = list[kind]
    return msgspec.json.Decoder(kind)


def _element(datatype: str) -> Any:
    if datatype in FLOATS:
        return float
    if datatype in SIGNED:
        bits = NUMPY_TYPES[datatype].itemsize * 8 - 1
        return Annotated[int, msgspec.Meta(ge=-(1 << bits), le=(1 << bits) - 1)]
    if datatype == "UINT64":  # msgspec's bounds end at 63 bits, numpy refuses what is above 64
        return Annotated[int, msgspec.Meta(ge=0)]
    if datatype in UNSIGNED:
        return Annotated[int, msgspec.Meta(ge=0, le=(1 << NUMPY_TYPES[datatype].itemsize * 8) - 1)]
    return bool if datatype == "BOOL" else str
