"""Decides what the bytes of a client's packet mean. Pure."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, TypeVar

from paho.mqtt.exception import MalformedPacket, MQTTException
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edgectl.emulation.mqtt.packets import (
    V5,
    V311,
    Connect,
    Disconnect,
    Kind,
    Message,
    Packet,
    PacketError,
    Ping,
    PubAck,
    Publish,
    Reason,
    Subscribe,
    Unsubscribe,
)

_T = TypeVar("_T")


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
    username = reader.text() if flags & 0x80 else None
    password = reader.binary() if flags & 0x40 else None
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
        username=username,
        password=password,
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
