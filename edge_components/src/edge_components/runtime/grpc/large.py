"""Large ``ModelInferRequest`` messages: raw tensors stay where they lie in what came.

A parser of protobuf copies each of them twice, once into the message and once out of it; for a
picture that costs more than all else that is read. So the raw contents are cut out first, and the
parser gets the rest. Source of the wire format: protobuf.dev, Encoding.
"""

from __future__ import annotations

from typing import Any

from edge_components.runtime.grpc.schema import MESSAGES

LARGE = 64 << 10
_Request = MESSAGES["ModelInferRequest"]
_RAW = _Request.DESCRIPTOR.fields_by_name["raw_input_contents"].number
_VARINT, _I64, _LEN, _I32 = 0, 1, 2, 5
_FIXED = {_I64: 8, _I32: 4}
_MAX_VARINT_BITS = 63


class LargeRequest:
    """A message whose raw contents are views of the bytes that came; for the rest see the message.

    Attributes:
        raw_input_contents: The raw tensors, in the order of the inputs.
    """

    def __init__(self, message: Any, raws: list[memoryview], size: int) -> None:
        self.raw_input_contents = raws
        self._message = message
        self._size = size

    def ByteSize(self) -> int:  # noqa: N802  # protobuf's name
        """Return the size of the whole."""
        return self._size

    def __getattr__(self, name: str) -> Any:
        return getattr(self._message, name)


def parse_request(data: bytes) -> Any:
    """Parse a ``ModelInferRequest`` of any size.

    Raises:
        DecodeError: The bytes are no such message.
    """
    found = _cut(data) if len(data) > LARGE else None
    if found is None:
        return _Request.FromString(data)  # which says what is wrong, if something is
    rest, raws = found
    return LargeRequest(_Request.FromString(rest), raws, len(data))


def _cut(data: bytes) -> tuple[bytes, list[memoryview]] | None:
    """Return the message without its raw contents, and these; None if it is no message."""
    view, size = memoryview(data), len(data)
    rest: list[memoryview] = []
    raws: list[memoryview] = []
    at = 0
    while at < size:
        start = at
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if tag < 0:
            return None
        if kind == _LEN:
            length, at = _varint(data, at)
            at += length  # before where it began for a length that is none, which ends it below
        elif kind == _VARINT:
            length, at = _varint(data, at)
        elif kind in _FIXED:
            length = _FIXED[kind]
            at += length
        else:
            return None
        if at > size or length < 0:
            return None
        if number == _RAW and kind == _LEN:
            raws.append(view[at - length : at])
        else:
            rest.append(view[start:at])
    return b"".join(rest), raws


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number at a place and where it ends; -1 for none."""
    found = shift = 0
    while at < len(data) and shift <= _MAX_VARINT_BITS:
        byte = data[at]
        at += 1
        found |= (byte & 0x7F) << shift
        if byte < 0x80:
            return found, at
        shift += 7
    return -1, at
