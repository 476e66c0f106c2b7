"""An uplink's far end: takes a batch as OTLP JSON and says what became of it."""

from __future__ import annotations

import enum
from typing import Protocol

import msgspec


class Outcome(enum.Enum):
    """What becomes of a batch."""

    DELIVERED = "delivered"
    POISON = "poison"
    KEPT = "kept"


class Answer(msgspec.Struct, frozen=True):
    """What became of a batch, why, and how long the receiver wants to be left alone."""

    outcome: Outcome
    why: str = ""
    retry_after_s: float = 0.0


class SenderError(Exception):
    """There can be no uplink as the settings say; the message is for the operator."""


class UplinkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where records go.

    Attributes:
        url: ``http(s)://`` an OTLP logs endpoint, ``mqtt(s)://host/topic``, ``file:///path``,
            ``greengrass-ipc:topic``, or ``edgehub:output``.
        authorization: Value of the HTTP Authorization header, or "".
        ca: Path of a PEM file with the authorities to trust, or "".
        certificate: Path of the device's client certificate (PEM), with ``key``, or "".
    """

    url: str
    authorization: str = ""
    ca: str = ""
    certificate: str = ""
    key: str = ""
    interval_s: float = 10.0
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 15.0


class Sender(Protocol):
    """An uplink's far end. Called by one thread only."""

    def send(self, body: bytes) -> Answer:
        """Deliver a batch, an ``ExportLogsServiceRequest`` in JSON; does not raise for the link.

        Raises:
            SenderError: The settings cannot be used.
        """
        ...

    def close(self) -> None:
        """Let go of connections and files."""
        ...
