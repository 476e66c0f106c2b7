"""Telemetry through a Greengrass nucleus to AWS IoT Core: each batch is one message with QoS 1.

``greengrass-ipc:edgectl/{thing}/parking/telemetry?max_bytes=4000``: behind the colon stands the
topic, where ``{thing}`` is the core device's name. The payload is plain OTLP JSON, because topic
rules read JSON. ``max_bytes`` is 128 KB, AWS IoT Core's own limit; nucleus lite moves messages of
some 4 KB only. A batch that is longer is halved. The nucleus keeps what it has taken while the
link is down, in a queue of its own size; what it does not take stays in ours.
"""

from __future__ import annotations

import os
from urllib.parse import parse_qs, unquote, urlsplit

from edge_components.greengrass.ipc import THING_VARIABLE, NucleusError, NucleusLink
from edge_components.telemetry.sender import Answer, Outcome, SenderError, UplinkSettings

MAX_BYTES = 128 << 10


class GreengrassSender:
    """Publishes through the nucleus.

    Raises:
        SenderError: The address names no topic, or a thing that is not known here.
    """

    def __init__(self, settings: UplinkSettings) -> None:
        parts = urlsplit(settings.url)
        if "#" in settings.url:  # elsewhere the start of a fragment, which would vanish silently
            raise SenderError(f"'{settings.url}' has a '#', so it is no topic to publish to")
        self._topic = _topic(unquote(parts.path).strip("/"))
        given = parse_qs(parts.query).get("max_bytes", [str(MAX_BYTES)])[-1]
        if not given.isdecimal():
            raise SenderError(f"'max_bytes' of a Greengrass uplink is a number, not '{given}'")
        self._max_bytes = min(int(given), MAX_BYTES)
        self._link = NucleusLink(settings.read_timeout_s)

    def send(self, body: bytes) -> Answer:
        """Publish a batch; it is delivered when the nucleus has it."""
        if len(body) > self._max_bytes:
            why = f"{len(body)} bytes, the nucleus takes {self._max_bytes} at most"
            return Answer(Outcome.POISON, why)
        try:
            self._link.publish(self._topic, body)
        except NucleusError as exc:
            return Answer(Outcome.KEPT, str(exc))
        return Answer(Outcome.DELIVERED)

    def close(self) -> None:
        """End the connection."""
        self._link.close()


def _topic(given: str) -> str:
    thing = os.environ.get(THING_VARIABLE, "")
    if "{thing}" in given and not thing:
        raise SenderError(f"'{{thing}}' needs '{THING_VARIABLE}', which the nucleus sets")
    topic = given.replace("{thing}", thing)
    if not topic or any(character in topic for character in "+#\0"):
        raise SenderError(f"'{topic}' is no topic to publish to")
    return topic
