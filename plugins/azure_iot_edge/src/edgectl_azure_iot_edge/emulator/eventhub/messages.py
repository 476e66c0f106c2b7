"""Messages of AMQP 1.0 (part 3 of the specification): sections to bytes and back. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from edgectl.api import Record
from edgectl_azure_iot_edge.emulator.eventhub.types import (
    AmqpError,
    Described,
    Number,
    Reader,
    Symbol,
    encode,
)
from edgectl_azure_iot_edge.emulator.events import Event

_ANNOTATIONS, _PROPERTIES, _APPLICATION, _DATA, _VALUE = 0x72, 0x73, 0x74, 0x75, 0x77
_SECTIONS = frozenset(
    {0x70, 0x71, _ANNOTATIONS, _PROPERTIES, _APPLICATION, _DATA, 0x76, _VALUE, 0x78}
)
_PROPERTY_NAMES = (
    "message-id", "user-id", "to", "subject", "reply-to", "correlation-id", "content-type",
    "content-encoding", "absolute-expiry-time", "creation-time", "group-id", "group-sequence",
    "reply-to-group-id",
)  # fmt: skip
_SYMBOLS = frozenset({"content-type", "content-encoding"})
_BINARY = frozenset({"user-id"})


class Request(Record, frozen=True, kw_only=True):
    """A message that a client sent to ``$cbs`` or ``$management``.

    Attributes:
        properties: By AMQP's names.
        application: Application properties.
        body: The value section, or the data.
    """

    properties: dict[str, Any]
    application: dict[str, Any]
    body: Any


def read_request(data: bytes) -> Request:
    """Read a message.

    Raises:
        AmqpError: It is malformed.
    """
    reader = Reader(data)
    properties: dict[str, Any] = {}
    application: dict[str, Any] = {}
    body: Any = None
    while reader.left:
        section = reader.value()
        if not isinstance(section, Described) or section.descriptor not in _SECTIONS:
            raise AmqpError("amqp:decode-error", "a message has a section that is none")
        if section.descriptor == _PROPERTIES:
            properties = dict(zip(_PROPERTY_NAMES, section.value, strict=False))
        elif section.descriptor == _APPLICATION:
            application = section.value
        elif section.descriptor in {_VALUE, _DATA}:
            body = section.value
    return Request(properties=properties, application=application, body=body)


def response(
    to: Request, status: int, description: str, body: Any = None, condition: str = ""
) -> bytes:
    """Return the answer of a management node (AMQP management, "status-code")."""
    told: dict[str, Any] = {
        "status-code": Number("int", status),
        "status-description": description,
    }
    if condition:
        told["error-condition"] = Symbol(condition)
    wanted = to.properties
    correlation = wanted.get("correlation-id") or wanted.get("message-id")
    listed = [None, None, wanted.get("reply-to"), None, None, correlation]
    return _sections(
        (_PROPERTIES, listed),
        (_APPLICATION, told),
        (_VALUE, body),
    )


def event_message(event: Event) -> bytes:
    """Return a device-to-cloud message as Event Hubs hands it out."""
    annotations: dict[Any, Any] = {
        Symbol("x-opt-sequence-number"): event.sequence_number,
        Symbol("x-opt-offset"): event.offset,
        Symbol("x-opt-enqueued-time"): event.enqueued_at,
        Symbol("x-opt-partition-key"): event.annotations.get("iothub-connection-device-id"),
    }
    for key, value in event.annotations.items():
        moment = key == "iothub-enqueuedtime" and isinstance(value, int)
        annotations[Symbol(key)] = (
            datetime.fromtimestamp(float(value) / 1000, UTC) if moment else value
        )
    listed = [_property(name, event.system.get(name)) for name in _PROPERTY_NAMES]
    sections: list[tuple[int, Any]] = [(_ANNOTATIONS, annotations), (_PROPERTIES, listed)]
    if event.properties:
        sections.append((_APPLICATION, dict(event.properties)))
    return _sections(*sections, (_DATA, event.body))


def _property(name: str, value: str | None) -> Any:
    if value is None:
        return None
    if name in _SYMBOLS:
        return Symbol(value)
    return value.encode() if name in _BINARY else value


def _sections(*sections: tuple[int, Any]) -> bytes:
    return b"".join(encode(Described(code, value)) for code, value in sections)
