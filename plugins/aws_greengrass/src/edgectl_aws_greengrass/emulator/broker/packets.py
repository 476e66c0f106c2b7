"""Decides what MQTT packets of 3.1.1 and 5.0 mean and how the server's own look on the wire.

Pure: bytes in, records out. What a client may not send at all (malformed packets, QoS 2, MQTT 3.1)
is a ``PacketError`` with the reason code of MQTT 5.0 section 2.4.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from paho.mqtt.exception import MalformedPacket, MQTTException
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties, VariableByteIntegers

_T = TypeVar("_T")

V311 = 4
V5 = 5


class Kind(enum.IntEnum):
    """Packet types (section 2.1.2)."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14


class Reason(enum.IntEnum):
    """The reason codes that AWS IoT Core uses."""

    SUCCESS = 0x00
    NO_SUBSCRIPTION = 0x11
    UNSPECIFIED = 0x80
    MALFORMED = 0x81
    PROTOCOL_ERROR = 0x82
    UNSUPPORTED_VERSION = 0x84
    CLIENT_ID_INVALID = 0x85
    NOT_AUTHORIZED = 0x87
    SERVER_SHUTTING_DOWN = 0x8B
    KEEP_ALIVE_TIMEOUT = 0x8D
    SESSION_TAKEN_OVER = 0x8E
    TOPIC_FILTER_INVALID = 0x8F
    TOPIC_NAME_INVALID = 0x90
    RECEIVE_MAXIMUM = 0x93
    TOPIC_ALIAS_INVALID = 0x94
    PACKET_TOO_LARGE = 0x95
    QUOTA_EXCEEDED = 0x97
    QOS_NOT_SUPPORTED = 0x9B
    SHARED_NOT_SUPPORTED = 0x9E
    SUBSCRIPTION_IDS_NOT_SUPPORTED = 0xA1


class PacketError(Exception):
    """A packet that ends the connection; ``reason`` says why."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """An application message; ``properties`` are those that a server passes on."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    properties: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Connect:
    """CONNECT; a session expiry of None leaves it to the server (3.1.1 without a clean session)."""

    version: int
    client_id: str
    clean_start: bool
    keep_alive_s: int
    session_expiry_s: int | None
    receive_maximum: int
    max_packet: int
    will: Message | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Publish:
    """PUBLISH; an alias of 0 means none."""

    message: Message
    packet_id: int
    alias: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Subscribe:
    """SUBSCRIBE: each filter with the QoS asked for."""

    packet_id: int
    filters: tuple[tuple[str, int], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Unsubscribe:
    """UNSUBSCRIBE."""

    packet_id: int
    filters: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PubAck:
    """PUBACK of a message that the server sent."""

    packet_id: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Ping:
    """PINGREQ."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Disconnect:
    """DISCONNECT; with reason 4 the will is to be published although the client says goodbye."""

    reason: int


Packet = Connect | Publish | Subscribe | Unsubscribe | PubAck | Ping | Disconnect


class _Reader:
    """Reads fields off a packet's body."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._body) - self._at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise PacketError(Reason.MALFORMED, "a packet ends before its fields do")
        self._at += count
        return self._body[self._at - count : self._at]

    def byte(self) -> int:
        return self.take(1)[0]

    def short(self) -> int:
        return int(struct.unpack("!H", self.take(2))[0])

    def binary(self) -> bytes:
        return self.take(self.short())

    def text(self) -> str:
        try:
            text = self.binary().decode()
        except UnicodeDecodeError as exc:
            raise PacketError(Reason.MALFORMED, "a string is not UTF-8") from exc
        if "\0" in text:
            raise PacketError(Reason.MALFORMED, "a string holds a null")
        return text

    def properties(self, kind: int) -> dict[str, Any]:
        found = Properties(kind)  # type: ignore[no-untyped-call]  # paho has no types there
        try:
            _, length = found.unpack(self._body[self._at :])  # type: ignore[no-untyped-call]  # as above
        except (
            MQTTException,
            MalformedPacket,
            LookupError,
            ValueError,
            TypeError,
            struct.error,
        ) as exc:
            raise PacketError(Reason.MALFORMED, f"the properties are malformed: {exc}") from exc
        if length > self.left:
            raise PacketError(Reason.MALFORMED, "the properties are longer than their packet")
        self.take(length)
        return {
            name.replace(" ", ""): getattr(found, name.replace(" ", ""))
            for name in found.names
            if hasattr(found, name.replace(" ", ""))
        }


def parse(kind: int, flags: int, body: bytes, version: int) -> Packet:
    """Read one packet.

    Args:
        kind: The first four bits of the fixed header.
        flags: The other four.
        body: Variable header and payload.
        version: Of the connection, 4 or 5; of no matter for CONNECT.

    Raises:
        PacketError: It is malformed, or nothing that a client may send here.
    """
    reader = _Reader(body)
    readers: dict[int, Callable[[], Packet]] = {
        Kind.CONNECT: lambda: _connect(reader),
        Kind.PUBLISH: lambda: _publish(reader, flags, version),
        Kind.SUBSCRIBE: lambda: _subscribe(reader, version),
        Kind.UNSUBSCRIBE: lambda: _unsubscribe(reader, version),
        Kind.PUBACK: lambda: PubAck(packet_id=reader.short()),
        Kind.PINGREQ: Ping,
        Kind.DISCONNECT: lambda: Disconnect(reason=reader.byte() if reader.left else 0),
    }
    if kind not in readers:
        raise PacketError(Reason.PROTOCOL_ERROR, f"a client does not send packets of type {kind}")
    return readers[kind]()


def _connect(reader: _Reader) -> Connect:
    name, version = reader.text(), reader.byte()
    if name != "MQTT" or version not in {V311, V5}:
        raise PacketError(Reason.UNSUPPORTED_VERSION, f"'{name}' {version} is not spoken here")
    flags, keep_alive = reader.byte(), reader.short()
    if flags & 1 or (flags >> 3) & 3 == 3:
        raise PacketError(Reason.MALFORMED, "CONNECT has impossible flags")
    properties = reader.properties(PacketTypes.CONNECT) if version == V5 else {}
    clean = bool(flags & 2)
    client_id = reader.text()
    will = _will(reader, flags, version) if flags & 4 else None
    if flags & 0x80:
        reader.text()
    if flags & 0x40:
        reader.binary()
    expiry = properties.get("SessionExpiryInterval", 0) if version == V5 else (0 if clean else None)
    return Connect(
        version=version,
        client_id=client_id,
        clean_start=clean,
        keep_alive_s=keep_alive,
        session_expiry_s=expiry,
        receive_maximum=properties.get("ReceiveMaximum", 65535),
        max_packet=properties.get("MaximumPacketSize", 0),
        will=will,
    )


def _will(reader: _Reader, flags: int, version: int) -> Message:
    properties = reader.properties(PacketTypes.WILLMESSAGE) if version == V5 else {}
    properties.pop("WillDelayInterval", None)
    topic, payload = reader.text(), reader.binary()
    qos = (flags >> 3) & 3
    if qos > 1:
        raise PacketError(Reason.QOS_NOT_SUPPORTED, "QoS 2 is not served")
    retain = bool(flags & 0x20)
    return Message(topic=topic, payload=payload, qos=qos, retain=retain, properties=properties)


def _publish(reader: _Reader, flags: int, version: int) -> Publish:
    qos = (flags >> 1) & 3
    if qos > 1:
        raise PacketError(Reason.QOS_NOT_SUPPORTED, "QoS 2 is not served")
    topic = reader.text()
    packet_id = reader.short() if qos else 0
    if qos and not packet_id:
        raise PacketError(Reason.PROTOCOL_ERROR, "a message with QoS 1 has no packet identifier")
    properties = reader.properties(PacketTypes.PUBLISH) if version == V5 else {}
    alias = int(properties.pop("TopicAlias", 0))
    message = Message(
        topic=topic,
        payload=reader.take(reader.left),
        qos=qos,
        retain=bool(flags & 1),
        properties=properties,
    )
    return Publish(message=message, packet_id=packet_id, alias=alias)


def _subscribe(reader: _Reader, version: int) -> Subscribe:
    packet_id = reader.short()
    properties = reader.properties(PacketTypes.SUBSCRIBE) if version == V5 else {}
    if "SubscriptionIdentifier" in properties:
        raise PacketError(
            Reason.SUBSCRIPTION_IDS_NOT_SUPPORTED, "subscription identifiers are not served"
        )
    filters = []
    while reader.left:
        name = reader.text()
        filters.append((name, reader.byte() & 3))
    return Subscribe(packet_id=packet_id, filters=_some(filters))


def _unsubscribe(reader: _Reader, version: int) -> Unsubscribe:
    packet_id = reader.short()
    if version == V5:
        reader.properties(PacketTypes.UNSUBSCRIBE)
    filters = []
    while reader.left:
        filters.append(reader.text())
    return Unsubscribe(packet_id=packet_id, filters=_some(filters))


def _some(items: list[_T]) -> tuple[_T, ...]:
    if not items:
        raise PacketError(Reason.PROTOCOL_ERROR, "a subscription names no filter")
    return tuple(items)


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
