"""Decides what MQTT packets of 3.1.1 and 5.0 hold that this server reads or writes.

What a client may not send at all (malformed packets, QoS 2, MQTT 3.1) is a ``PacketError`` with the
reason code of MQTT 5.0 section 2.4.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any

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
    """The reason codes that a server here tells."""

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
    """CONNECT; a session expiry of None leaves it to the server (3.1.1 without a clean session).

    Without a user name or password those are None, as against empty ones.
    """

    version: int
    client_id: str
    clean_start: bool
    keep_alive_s: int
    session_expiry_s: int | None
    receive_maximum: int
    max_packet: int
    will: Message | None
    username: str | None = None
    password: bytes | None = None


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
