"""Values of AMQP 1.0 on the wire (part 1 of the specification). Pure.

Decoded: null is None, numbers are int or float, strings str, symbols ``Symbol``, binary bytes,
lists and arrays list, maps dict, described values ``Described``. Encoding takes these, and
``Number`` for a number whose type matters; a plain int is a long, as Event Hubs sends them.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from edgectl.api import Record

MAX_DEPTH = 32


class AmqpError(Exception):
    """What a peer did wrong.

    Attributes:
        condition: AMQP's name of it, for example ``amqp:decode-error``.
        info: What else the peer is told.
    """

    def __init__(self, condition: str, message: str, info: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.condition = condition
        self.info = dict(info or {})


class Symbol(str):
    """A symbolic value."""

    __slots__ = ()


class Described(Record, frozen=True):
    """A value with a descriptor, a number or a symbol."""

    descriptor: Any
    value: Any


class Number(Record, frozen=True):
    """A number of a certain type: ``ubyte``, ``ushort``, ``uint``, ``ulong``, ``int``, ``long``."""

    kind: str
    value: int


class Encoded(Record, frozen=True):
    """Bytes of a value."""

    data: bytes


_FIXED = {
    "ubyte": (0x50, ">B"),
    "ushort": (0x60, ">H"),
    "uint": (0x70, ">I"),
    "ulong": (0x80, ">Q"),
    "int": (0x71, ">i"),
    "long": (0x81, ">q"),
}
_NUMBERS = {
    0x50: ">B", 0x51: ">b", 0x60: ">H", 0x61: ">h", 0x70: ">I", 0x71: ">i", 0x80: ">Q", 0x81: ">q",
    0x52: ">B", 0x53: ">B", 0x54: ">b", 0x55: ">b", 0x72: ">f", 0x82: ">d", 0x73: ">I", 0x83: ">q",
}  # fmt: skip
_CONSTANTS = {0x40: None, 0x41: True, 0x42: False, 0x43: 0, 0x44: 0}


def encode(value: Any) -> bytes:
    """Return a value's bytes.

    Raises:
        TypeError: AMQP has no such value here.
    """
    if isinstance(value, Described):
        return b"\0" + _descriptor(value.descriptor) + encode(value.value)
    return _fixed(value) or _variable(value)


def _fixed(value: Any) -> bytes:
    """Return the bytes of a value whose type has one size, else none."""
    found = b""
    match value:
        case None:
            found = b"\x40"
        case Encoded():
            found = value.data
        case bool():
            found = b"\x41" if value else b"\x42"
        case Number():
            code, form = _FIXED[value.kind]
            found = bytes([code]) + struct.pack(form, value.value)
        case int():
            found = b"\x81" + struct.pack(">q", value)
        case float():
            found = b"\x82" + struct.pack(">d", value)
        case datetime():
            found = b"\x83" + struct.pack(">q", int(value.timestamp() * 1000))
        case uuid.UUID():
            found = b"\x98" + value.bytes
    return found


def _descriptor(descriptor: Any) -> bytes:
    # The short form, which the Event Hubs SDK for Python takes for granted.
    return bytes([0x53, descriptor]) if isinstance(descriptor, int) else encode(descriptor)


def _variable(value: Any) -> bytes:
    match value:
        case Symbol():
            return _sized(0xA3, 0xB3, value.encode("ascii"))
        case str():
            return _sized(0xA1, 0xB1, value.encode())
        case bytes():
            return _sized(0xA0, 0xB0, value)
        case list() | tuple():
            items = [encode(item) for item in value]
            return _counted(0xD0, len(items), b"".join(items))
        case dict():
            pairs = [encode(part) for pair in value.items() for part in pair]
            return _counted(0xD1, len(pairs), b"".join(pairs))
    raise TypeError(f"AMQP has no value for {type(value).__name__}")


def symbols(values: list[str]) -> Encoded:
    """Return an array of symbols, as capabilities and mechanisms are."""
    return _array(0xB3, values)


def texts(values: list[str]) -> Encoded:
    """Return an array of strings."""
    return _array(0xB1, values)


def _array(code: int, values: list[str]) -> Encoded:
    items = [value.encode() for value in values]
    body = b"".join(struct.pack(">I", len(item)) + item for item in items)
    return Encoded(_counted(0xF0, len(items), bytes([code]) + body))


def _sized(short: int, long: int, data: bytes) -> bytes:
    if len(data) < 256:
        return bytes([short, len(data)]) + data
    return bytes([long]) + struct.pack(">I", len(data)) + data


def _counted(code: int, count: int, data: bytes) -> bytes:
    return bytes([code]) + struct.pack(">II", len(data) + 4, count) + data


class Reader:
    """Reads values from bytes that may come from anybody.

    Attributes:
        at: How far it has come.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    @property
    def left(self) -> int:
        """Bytes that are not read yet."""
        return len(self._data) - self.at

    def take(self, count: int) -> bytes:
        """Return the next bytes.

        Raises:
            AmqpError: There are fewer.
        """
        if count > self.left:
            raise AmqpError("amqp:decode-error", "a value ends before its bytes do")
        self.at += count
        return self._data[self.at - count : self.at]

    def value(self, depth: int = 0) -> Any:
        """Return the next value; raises ``AmqpError``."""
        if depth > MAX_DEPTH:
            raise AmqpError("amqp:decode-error", "values nest too deep")
        code = self.take(1)[0]
        if code == 0:
            descriptor = self.value(depth + 1)
            return Described(descriptor, self.value(depth + 1))
        return self._coded(code, depth)

    def _coded(self, code: int, depth: int) -> Any:
        if code in _CONSTANTS:
            return _CONSTANTS[code]
        if code in _NUMBERS or code in {0x45, 0x56, 0x98}:
            return self._number(code)
        if code in {0xA0, 0xA1, 0xA3, 0xB0, 0xB1, 0xB3}:
            return self._text(code)
        if code in {0xC0, 0xC1, 0xD0, 0xD1, 0xE0, 0xF0}:
            return self._compound(code, depth)
        raise AmqpError("amqp:decode-error", f"0x{code:02x} is no type that is read here")

    def _number(self, code: int) -> Any:
        if code == 0x45:
            return []
        if code == 0x56:
            return bool(self.take(1)[0])
        if code == 0x98:
            return uuid.UUID(bytes=self.take(16))
        form = _NUMBERS[code]
        found = struct.unpack(form, self.take(struct.calcsize(form)))[0]
        if code == 0x83:
            return _moment(found)
        return chr(found) if code == 0x73 and found < 0x110000 else found

    def _text(self, code: int) -> bytes | str:
        size = self.take(1)[0] if code < 0xB0 else struct.unpack(">I", self.take(4))[0]
        raw = self.take(size)
        if code in {0xA0, 0xB0}:
            return raw
        try:
            return raw.decode() if code in {0xA1, 0xB1} else Symbol(raw.decode("ascii"))
        except UnicodeDecodeError as exc:
            raise AmqpError("amqp:decode-error", "a text is not in its encoding") from exc

    def _compound(self, code: int, depth: int) -> Any:
        width, form = (1, ">BB") if code < 0xD0 or code == 0xE0 else (4, ">II")
        size, count = struct.unpack(form, self.take(2 * width))
        end = self.at + size - width
        if size < width or end > len(self._data) or count > max(size, 1):
            raise AmqpError("amqp:decode-error", "a compound value says a wrong size")
        items = self._array(count, depth) if code in {0xE0, 0xF0} else self._items(count, depth)
        if self.at != end:
            raise AmqpError("amqp:decode-error", "a compound value says a wrong size")
        return _pairs(items) if code in {0xC1, 0xD1} else items

    def _items(self, count: int, depth: int) -> list[Any]:
        return [self.value(depth + 1) for _ in range(count)]

    def _array(self, count: int, depth: int) -> list[Any]:
        code = self.take(1)[0]
        if code == 0:
            descriptor = self.value(depth + 1)
            code = self.take(1)[0]
            return [Described(descriptor, self._coded(code, depth + 1)) for _ in range(count)]
        return [self._coded(code, depth + 1) for _ in range(count)]


def _pairs(items: list[Any]) -> dict[Any, Any]:
    if len(items) % 2:
        raise AmqpError("amqp:decode-error", "a map has a key without a value")
    try:
        return dict(zip(items[::2], items[1::2], strict=True))
    except TypeError as exc:
        raise AmqpError("amqp:decode-error", "a map has a key that is a map or a list") from exc


def _moment(milliseconds: int) -> datetime | int:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (OverflowError, OSError, ValueError):
        return milliseconds
