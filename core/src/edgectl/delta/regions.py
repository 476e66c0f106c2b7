"""Where the tensors of an ONNX model lie in its files, without loading them.

Only the framing of the protobuf message is read: field numbers are those of ``onnx.proto``
(ModelProto.graph 7, GraphProto.initializer 5, TensorProto.dims 1, data_type 2, name 8,
raw_data 9, external_data 13). What is not understood has no regions, and is then no worse than any
other file.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from edge_components.contract.delta import Width

_GRAPH, _INITIALIZER = 7, 5
_DIMS, _DATA_TYPE, _NAME, _RAW, _EXTERNAL = 1, 2, 8, 9, 13
_VARINT, _I64, _LEN, _I32 = 0, 1, 2, 5
# Bytes of an element by TensorProto.DataType, and the types that are floats.
_WIDTHS: dict[int, Width] = {
    **dict.fromkeys((2, 3, 9), 1),
    **dict.fromkeys((4, 5, 10, 16), 2),
    **dict.fromkeys((1, 6, 12), 4),
    **dict.fromkeys((7, 11, 13), 8),
}
_FLOATS = {1, 10, 11, 16}


class Region(NamedTuple):
    """A tensor's bytes.

    Attributes:
        name: Of the initializer.
        data_type: ONNX's number for its type.
        shape: Its dimensions.
        file: The external file, relative to the model's folder; "" for the model itself.
    """

    name: str
    data_type: int
    shape: tuple[int, ...]
    file: str
    at: int
    size: int

    @property
    def width(self) -> Width:
        """Bytes of an element."""
        return _WIDTHS.get(self.data_type, 1)

    @property
    def is_float(self) -> bool:
        """Whether its elements are floats that can be ordered by their bits."""
        return self.data_type in _FLOATS


def find_regions(path: Path) -> list[Region]:
    """Return the tensors of a model with their bytes, in any order; none for what is no model."""
    if path.stat().st_size == 0:
        return []
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return list(_model(data))
        except (ValueError, IndexError):
            return []


def _model(data: mmap.mmap) -> Iterator[Region]:
    for number, at, size in _fields(data, 0, len(data)):
        if number == _GRAPH:
            for inner, begin, length in _fields(data, at, at + size):
                if inner == _INITIALIZER:
                    region = _tensor(data, begin, begin + length)
                    if region is not None:
                        yield region


def _tensor(data: mmap.mmap, at: int, end: int) -> Region | None:
    name, data_type = "", 0
    shape: list[int] = []
    raw = None
    external: dict[str, str] = {}
    for number, begin, size in _fields(data, at, end, varints=True):
        if number == _NAME:
            name = bytes(data[begin : begin + size]).decode("utf-8", "replace")
        elif number == _DATA_TYPE:
            data_type = _varint(data, begin)[0]
        elif number == _DIMS:
            shape += _dims(data, begin, size)
        elif number == _RAW:
            raw = (begin, size)
        elif number == _EXTERNAL:
            key, value = _entry(data, begin, begin + size)
            external[key] = value
    if external:
        where = int(external.get("offset", "0")), int(external.get("length", "0"))
        return Region(name, data_type, tuple(shape), external.get("location", ""), *where)
    return None if raw is None else Region(name, data_type, tuple(shape), "", *raw)


def _dims(data: mmap.mmap, at: int, size: int) -> list[int]:
    """Return dimensions, packed or one by one."""
    found, end = [], at + size
    while at < end:
        number, at = _varint(data, at)
        found.append(number)
    return found


def _entry(data: mmap.mmap, at: int, end: int) -> tuple[str, str]:
    texts = {
        number: bytes(data[begin : begin + size]).decode("utf-8", "replace")
        for number, begin, size in _fields(data, at, end)
    }
    return texts.get(1, ""), texts.get(2, "")


def _fields(
    data: mmap.mmap, at: int, end: int, *, varints: bool = False
) -> Iterator[tuple[int, int, int]]:
    """Yield number, place and size of a message's fields.

    Raises:
        ValueError: It is no message.
    """
    while at < end:
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            begin = at
            _, at = _varint(data, at)
            if varints:
                yield number, begin, at - begin
            continue
        if kind == _LEN:
            size, at = _varint(data, at)
        else:
            size = {_I64: 8, _I32: 4}.get(kind, -1)
        if size < 0 or at + size > end:
            raise ValueError("no protobuf message")
        yield number, at, size
        at += size


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    found = shift = 0
    while shift < 70:
        byte = data[at]
        at += 1
        found |= (byte & 0x7F) << shift
        if byte < 0x80:
            return found, at
        shift += 7
    raise ValueError("no protobuf number")
