"""Decides how event-stream RPC messages look on the wire.

A message has a prelude (total length, headers' length, CRC), headers, payload and CRC; headers of
RPC are ``:message-type``, ``:message-flags`` and ``:stream-id``, 32-bit numbers. Reading is
botocore's; source of the framing: the ``vnd.amazon.eventstream`` documentation.
"""

from __future__ import annotations

import binascii
import enum
import json
import struct
from dataclasses import dataclass, field
from typing import Any

from botocore.eventstream import EventStreamBuffer, ParserError

VERSION = "0.1.0"
_INT, _STRING = 4, 7


class Type(enum.IntEnum):
    """Message types."""

    MESSAGE = 0
    ERROR = 1
    PING = 2
    PING_RESPONSE = 3
    CONNECT = 4
    CONNECT_ACK = 5
    PROTOCOL_ERROR = 6
    INTERNAL_ERROR = 7


ACCEPTED = 1
TERMINATE = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """A message; further headers are text."""

    type: int
    stream: int = 0
    flags: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    payload: bytes = b""


class Reader:
    """Takes bytes as they come, gives frames.

    Raises:
        ValueError: From ``feed``, when the bytes are no messages.
    """

    def __init__(self) -> None:
        self._buffer = EventStreamBuffer()

    def feed(self, data: bytes) -> list[Frame]:
        """Take bytes; return the messages that are whole."""
        self._buffer.add_data(data)
        found = []
        try:
            for message in self._buffer:
                headers = message.headers
                found.append(
                    Frame(
                        type=int(headers[":message-type"]),
                        flags=int(headers.get(":message-flags", 0)),
                        stream=int(headers.get(":stream-id", 0)),
                        headers={k: v for k, v in headers.items() if isinstance(v, str)},
                        payload=message.payload,
                    )
                )
        except (KeyError, TypeError, ParserError) as exc:
            raise ValueError(f"the message cannot be read: {exc!r}") from exc
        return found


def encode(frame: Frame) -> bytes:
    """Return a message's bytes."""
    numbers = {
        ":message-type": frame.type,
        ":message-flags": frame.flags,
        ":stream-id": frame.stream,
    }
    headers = b"".join(
        _name(name) + struct.pack("!Bi", _INT, number) for name, number in numbers.items()
    )
    for name, text in frame.headers.items():
        raw = text.encode()
        headers += _name(name) + struct.pack("!BH", _STRING, len(raw)) + raw
    prelude = struct.pack("!II", 16 + len(headers) + len(frame.payload), len(headers))
    start = prelude + struct.pack("!I", binascii.crc32(prelude)) + headers + frame.payload
    return start + struct.pack("!I", binascii.crc32(start))


def _name(name: str) -> bytes:
    raw = name.encode()
    return struct.pack("!B", len(raw)) + raw


def answer(stream: int, model: str, body: dict[str, Any], *, last: bool = True) -> Frame:
    """Return a response or an event of an operation."""
    return Frame(
        type=Type.MESSAGE,
        stream=stream,
        flags=TERMINATE if last else 0,
        headers={":content-type": "application/json", "service-model-type": model},
        payload=json.dumps(body).encode(),
    )


def error(stream: int, model: str, message: str) -> Frame:
    """Return an operation's error."""
    found = answer(stream, model, {"message": message, "_message": message})
    return Frame(
        type=Type.ERROR,
        stream=stream,
        flags=TERMINATE,
        headers=found.headers,
        payload=found.payload,
    )
