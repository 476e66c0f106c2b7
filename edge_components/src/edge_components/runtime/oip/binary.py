"""Raw tensor bytes: the binary tensor data extension, and gRPC's raw contents.

Fixed-size types are little-endian, row-major, without padding. A BYTES element is its length in
four bytes, little-endian, and then its UTF-8 text. Every size is checked against what is there
before anything is allocated for it.
"""

from __future__ import annotations

import math
import struct
import sys

import numpy as np

from edge_components.runtime.oip.datatypes import NUMPY_TYPES, Array
from edge_components.runtime.oip.messages import ProtocolError

_LENGTH = struct.Struct("<I")


def array_from_bytes(
    name: str, datatype: str, shape: tuple[int, ...], data: bytes | memoryview
) -> Array:
    """Read an input from its raw bytes, without copying where alignment allows.

    Raises:
        ProtocolError: The bytes do not hold exactly what shape and datatype say.
    """
    count = math.prod(shape)
    if datatype == "BYTES":
        return _strings(name, count, bytes(data)).reshape(shape)
    dtype = NUMPY_TYPES[datatype]
    if len(data) != count * dtype.itemsize:
        raise ProtocolError(
            f"input '{name}' has {len(data)} bytes, {datatype} {list(shape)} "
            f"needs {count * dtype.itemsize}"
        )
    array = np.frombuffer(data, dtype=dtype.newbyteorder("<")).reshape(shape)
    if datatype == "BOOL" and bool((array.view(np.uint8) > 1).any()):
        raise ProtocolError(f"input '{name}' has a BOOL that is neither 0 nor 1")
    if sys.byteorder == "big" or not array.flags.aligned:
        array = array.astype(dtype)
    return array


def array_to_bytes(datatype: str, array: Array) -> bytes | memoryview:
    """Write an output as raw bytes; a view of the array where that is possible."""
    if datatype == "BYTES":
        texts = (_text_bytes(item) for item in array.ravel())
        return b"".join(_LENGTH.pack(len(text)) + text for text in texts)
    if sys.byteorder == "big":
        array = array.astype(array.dtype.newbyteorder("<"))
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _text_bytes(item: object) -> bytes:
    return item if isinstance(item, bytes) else str(item).encode("utf-8", "surrogatepass")


def _strings(name: str, count: int, data: bytes) -> Array:
    if count * _LENGTH.size > len(data):
        raise ProtocolError(f"input '{name}' has {len(data)} bytes, too few for {count} strings")
    texts: list[str] = []
    position = 0
    while position < len(data):
        if position + _LENGTH.size > len(data):
            raise ProtocolError(f"input '{name}' ends inside the length of a string")
        (length,) = _LENGTH.unpack_from(data, position)
        position += _LENGTH.size
        if position + length > len(data):
            raise ProtocolError(
                f"input '{name}' says a string has {length} bytes, {len(data) - position} are left"
            )
        texts.append(text_element(name, data[position : position + length]))
        position += length
    if len(texts) != count:
        raise ProtocolError(f"input '{name}' has {len(texts)} strings, its shape needs {count}")
    return np.array(texts, dtype=np.object_)


def text_element(name: str, data: bytes) -> str:
    """Return the text of one BYTES element.

    Raises:
        ProtocolError: It is not UTF-8.
    """
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise ProtocolError(
            f"input '{name}' has a BYTES element that is not UTF-8; ONNX strings are text"
        ) from exc
