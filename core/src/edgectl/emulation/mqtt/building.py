"""Decides how the server's own packets look on the wire. Pure."""

from __future__ import annotations

import struct
from typing import Any

from paho.mqtt.properties import Properties, VariableByteIntegers

from edgectl.emulation.mqtt.packets import V5, V311, Kind, Message


def connack(version: int, reason: int, *, present: bool, properties: dict[str, Any]) -> bytes:
    """Build a CONNACK; for 3.1.1 the reason is one of its return codes."""
    body = bytes([int(present), reason])
    return _packet(Kind.CONNACK, 0, body + _properties(version, Kind.CONNACK, properties))


def publish(version: int, message: Message, packet_id: int, *, dup: bool = False) -> bytes:
    """Build a PUBLISH."""
    flags = (int(dup) << 3) | (message.qos << 1) | int(message.retain)
    head = _text(message.topic) + (struct.pack("!H", packet_id) if message.qos else b"")
    properties = _properties(version, Kind.PUBLISH, message.properties)
    return _packet(Kind.PUBLISH, flags, head + properties + message.payload)


def puback(version: int, packet_id: int, reason: int = 0) -> bytes:
    """Build a PUBACK."""
    tail = bytes([reason, 0]) if version == V5 and reason else b""
    return _packet(Kind.PUBACK, 0, struct.pack("!H", packet_id) + tail)


def suback(version: int, packet_id: int, reasons: list[int]) -> bytes:
    """Build a SUBACK: a granted QoS or a failure for each filter."""
    plain = [0x80 if version == V311 and code >= 0x80 else code for code in reasons]
    head = struct.pack("!H", packet_id) + _properties(version, Kind.SUBACK, {})
    return _packet(Kind.SUBACK, 0, head + bytes(plain))


def unsuback(version: int, packet_id: int, reasons: list[int]) -> bytes:
    """Build an UNSUBACK."""
    head = struct.pack("!H", packet_id) + _properties(version, Kind.UNSUBACK, {})
    return _packet(Kind.UNSUBACK, 0, head + (bytes(reasons) if version == V5 else b""))


def pingresp() -> bytes:
    """Build a PINGRESP."""
    return _packet(Kind.PINGRESP, 0, b"")


def disconnect(reason: int, why: str) -> bytes:
    """Build a DISCONNECT, which only a server of MQTT 5 sends."""
    properties = _properties(V5, Kind.DISCONNECT, {"ReasonString": why})
    return _packet(Kind.DISCONNECT, 0, bytes([reason]) + properties)


def _properties(version: int, kind: Kind, values: dict[str, Any]) -> bytes:
    if version != V5:
        return b""
    if not values:
        return b"\0"
    packed = Properties(int(kind))  # type: ignore[no-untyped-call]  # paho has no types there
    for name, value in values.items():
        setattr(packed, name, value)
    return bytes(packed.pack())  # type: ignore[no-untyped-call]  # as above


def _packet(kind: Kind, flags: int, body: bytes) -> bytes:
    length = VariableByteIntegers.encode(len(body))  # type: ignore[no-untyped-call]  # as above
    return bytes([(kind << 4) | flags]) + bytes(length) + body


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("!H", len(raw)) + raw
