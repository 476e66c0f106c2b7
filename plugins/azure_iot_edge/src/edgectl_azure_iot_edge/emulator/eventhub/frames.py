"""Frames of AMQP 1.0 (part 2 of the specification): performatives, fields by name. Pure."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from edgectl_azure_iot_edge.emulator.eventhub.types import (
    AmqpError,
    Described,
    Number,
    Reader,
    Symbol,
    encode,
)

AMQP_HEADER = b"AMQP\x00\x01\x00\x00"
SASL_HEADER = b"AMQP\x03\x01\x00\x00"
MIN_FRAME = 512

_DESCRIPTORS: Mapping[str, tuple[int, tuple[str, ...]]] = {
    "open": (0x10, ("container-id", "hostname", "max-frame-size", "channel-max", "idle-time-out",
        "outgoing-locales", "incoming-locales", "offered-capabilities", "desired-capabilities",
        "properties")),
    "begin": (0x11, ("remote-channel", "next-outgoing-id", "incoming-window", "outgoing-window",
        "handle-max", "offered-capabilities", "desired-capabilities", "properties")),
    "attach": (0x12, ("name", "handle", "role", "snd-settle-mode", "rcv-settle-mode", "source",
        "target", "unsettled", "incomplete-unsettled", "initial-delivery-count",
        "max-message-size", "offered-capabilities", "desired-capabilities", "properties")),
    "flow": (0x13, ("next-incoming-id", "incoming-window", "next-outgoing-id", "outgoing-window",
        "handle", "delivery-count", "link-credit", "available", "drain", "echo", "properties")),
    "transfer": (0x14, ("handle", "delivery-id", "delivery-tag", "message-format", "settled",
        "more", "rcv-settle-mode", "state", "resume", "aborted", "batchable")),
    "disposition": (0x15, ("role", "first", "last", "settled", "state", "batchable")),
    "detach": (0x16, ("handle", "closed", "error")),
    "end": (0x17, ("error",)),
    "close": (0x18, ("error",)),
    "sasl-mechanisms": (0x40, ("sasl-server-mechanisms",)),
    "sasl-init": (0x41, ("mechanism", "initial-response", "hostname")),
    "sasl-challenge": (0x42, ("challenge",)),
    "sasl-response": (0x43, ("response",)),
    "sasl-outcome": (0x44, ("code", "additional-data")),
    "source": (0x28, ("address", "durable", "expiry-policy", "timeout", "dynamic",
        "dynamic-node-properties", "distribution-mode", "filter", "default-outcome", "outcomes",
        "capabilities")),
    "target": (0x29, ("address", "durable", "expiry-policy", "timeout", "dynamic",
        "dynamic-node-properties", "capabilities")),
    "error": (0x1D, ("condition", "description", "info")),
    "accepted": (0x24, ()),
}  # fmt: skip
_BY_CODE = {code: (name, fields) for name, (code, fields) in _DESCRIPTORS.items()}
_TYPES = {
    "max-frame-size": "uint", "channel-max": "ushort", "idle-time-out": "uint",
    "remote-channel": "ushort", "next-outgoing-id": "uint", "incoming-window": "uint",
    "outgoing-window": "uint", "handle-max": "uint", "handle": "uint", "snd-settle-mode": "ubyte",
    "rcv-settle-mode": "ubyte", "initial-delivery-count": "uint", "max-message-size": "ulong",
    "next-incoming-id": "uint", "delivery-count": "uint", "link-credit": "uint",
    "available": "uint", "delivery-id": "uint", "message-format": "uint", "first": "uint",
    "last": "uint", "code": "ubyte",
}  # fmt: skip
_BY_SYMBOL = {
    f"amqp:{name}:list": code for name, (code, _) in _DESCRIPTORS.items()
}  # a descriptor may be written as a symbol too

Fields = dict[str, Any]


def performative(name: str, /, **values: Any) -> Described:
    """Return a performative; underscores in names stand for dashes."""
    code, fields = _DESCRIPTORS[name]
    given = {key.replace("_", "-"): value for key, value in values.items()}
    unknown = given.keys() - set(fields)
    if unknown:
        raise TypeError(f"{name} has no field {sorted(unknown)}")
    # Fields at the end may be left out, but the Event Hubs SDK for Python looks at all of them.
    return Described(code, [_typed(field, given.get(field)) for field in fields])


def _typed(field: str, value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and field in _TYPES:
        return Number(_TYPES[field], value)
    return value


def error(condition: str, description: str, info: dict[str, Any] | None = None) -> Described:
    """Return an error, for detach, end and close."""
    told = {Symbol(key): value for key, value in (info or {}).items()}
    return performative(
        "error", condition=Symbol(condition), description=description, info=told or None
    )


def frame(
    body: Described | None, *, channel: int = 0, kind: int = 0, payload: bytes = b""
) -> bytes:
    """Return a frame; without a body it is the heartbeat."""
    data = b"" if body is None else encode(body) + payload
    return struct.pack(">IBBH", len(data) + 8, 2, kind, channel) + data


def read_body(data: bytes) -> tuple[str, Fields, bytes]:
    """Return a frame's performative, its fields by name, and the payload behind it.

    Raises:
        AmqpError: It is none.
    """
    reader = Reader(data)
    found = reader.value()
    name, fields = named(found)
    return name, fields, data[reader.at :]


def named(value: Any) -> tuple[str, Fields]:
    """Return the name and the fields of a described list.

    Raises:
        AmqpError: It is none that is known.
    """
    if not isinstance(value, Described):
        raise AmqpError("amqp:decode-error", "a performative is a described list")
    code = value.descriptor
    known = _BY_CODE.get(_BY_SYMBOL.get(code, -1) if isinstance(code, str) else code)
    if known is None or not isinstance(value.value, list):
        raise AmqpError("amqp:decode-error", f"'{code}' is no performative")
    name, fields = known
    if len(value.value) > len(fields):
        raise AmqpError("amqp:decode-error", f"a {name} has more fields than there are")
    padded = [*value.value, *[None] * (len(fields) - len(value.value))]
    return name, dict(zip(fields, padded, strict=True))
