"""Links of a session, from the server's side: it sends on some and receives on others.

Credit and delivery counts are AMQP's (part 2, section 2.6.7): nothing is sent without credit.
"""

from __future__ import annotations

import itertools
from typing import Protocol

from edgectl_azure_iot_edge.emulator.eventhub.endpoint import Endpoint
from edgectl_azure_iot_edge.emulator.eventhub.frames import Fields, performative
from edgectl_azure_iot_edge.emulator.eventhub.messages import event_message
from edgectl_azure_iot_edge.emulator.eventhub.places import (
    Stream,
    first_sequence,
    partition_number,
    selector_of,
)
from edgectl_azure_iot_edge.emulator.eventhub.types import AmqpError, Described

CREDIT = 100
_BATCH = 100
_EPOCH = "com.microsoft:epoch"
_MODULO = 1 << 32


class Channel(Protocol):
    """The session that a link is on."""

    def send(self, body: Described, payload: bytes = b"") -> None:
        """Send a frame."""

    def transfer(self, handle: int, tag: bytes, payload: bytes) -> int:
        """Send a message, in as many frames as it takes; return its delivery id."""

    def room(self) -> bool:
        """Say whether the client's window and socket have room for more."""

    def detach(self, link: Outgoing, error: AmqpError) -> None:
        """End a link with an error."""


class Outgoing:
    """A link on which the server sends.

    Attributes:
        handle: The server's.
        path: What the client reads.
    """

    def __init__(self, channel: Channel, handle: int, path: str) -> None:
        self.channel = channel
        self.handle = handle
        self.path = path
        self.credit = 0
        self.delivery_count = 0
        self.drain = False
        self._tags = itertools.count(1)

    def flow(self, fields: Fields) -> None:
        """Take the client's word on credit."""
        limit = (fields["delivery-count"] or 0) + (fields["link-credit"] or 0)
        self.credit = max((limit - self.delivery_count) % _MODULO, 0)
        if self.credit > _MODULO // 2:
            self.credit = 0
        self.drain = bool(fields["drain"])
        self.pump()

    def deliver(self, payload: bytes) -> None:
        """Send one message."""
        self.credit -= 1
        self.delivery_count = (self.delivery_count + 1) % _MODULO
        self.channel.transfer(self.handle, next(self._tags).to_bytes(8, "big"), payload)

    def pump(self) -> None:
        """Send what there is and may be sent."""

    def drained(self) -> None:
        """Give back credit that nothing is there for (section 2.6.7, drain)."""
        if not self.drain:
            return
        self.delivery_count = (self.delivery_count + self.credit) % _MODULO
        self.credit, self.drain = 0, False
        self.channel.send(performative("flow", **{**self.window(), "drain": True}))

    def window(self) -> dict[str, int]:
        """Return what a flow frame says of this link."""
        return {
            "incoming_window": 2048,
            "next_outgoing_id": 0,
            "outgoing_window": 2048,
            "handle": self.handle,
            "delivery_count": self.delivery_count,
            "link_credit": self.credit,
        }

    def close(self) -> None:
        """Forget the link."""


class Replies(Outgoing):
    """Answers of a node; they wait for credit."""

    def __init__(self, channel: Channel, handle: int, path: str, address: str) -> None:
        super().__init__(channel, handle, path)
        self.address = address
        self._waiting: list[bytes] = []

    def answer(self, payload: bytes) -> None:
        """Send an answer as soon as there is credit."""
        self._waiting.append(payload)
        self.pump()

    def pump(self) -> None:
        """Send what waits."""
        while self._waiting and self.credit:
            self.deliver(self._waiting.pop(0))


class EventLink(Outgoing):
    """A partition's events, from where the client wants them.

    Attributes:
        epoch: The reader's rank; None for one that shares.

    Raises:
        AmqpError: There is no such stream, or it cannot be read from there.
    """

    def __init__(
        self, channel: Channel, handle: int, stream: Stream, fields: Fields, endpoint: Endpoint
    ) -> None:
        super().__init__(channel, handle, stream.path)
        endpoint.check(stream)
        self.partition = partition_number(stream, endpoint.log.partitions)
        properties = fields["properties"] or {}
        epoch = properties.get(_EPOCH) if isinstance(properties, dict) else None
        self.epoch = epoch if isinstance(epoch, int) else None
        self._endpoint = endpoint
        source = fields["source"]
        selector = selector_of(source["filter"])
        self._next = first_sequence(selector, endpoint.log, self.partition)
        endpoint.admit(stream.group, self.partition, self)

    def pump(self) -> None:
        """Send events while there are events, credit and room."""
        while self.credit and self.channel.room():
            events = self._endpoint.log.read(self.partition, self._next, min(self.credit, _BATCH))
            if not events:
                self.drained()
                return
            for event in events:
                self.deliver(event_message(event))
                self._next = event.sequence_number + 1

    def steal(self, message: str) -> None:
        """End this link: another reader takes its place."""
        self.close()
        self.channel.detach(self, AmqpError("amqp:link:stolen", message))

    def close(self) -> None:
        """Let another reader in."""
        self._endpoint.dismiss(self)


class Incoming:
    """A link on which the server receives: requests to a node.

    Attributes:
        handle: The server's.
        path: The node.
    """

    def __init__(self, handle: int, path: str) -> None:
        self.handle = handle
        self.path = path
        self.delivery_count = 0
        self.credit = CREDIT
        self.first: Fields | None = None
        self.parts: list[bytes] = []

    def take(self, fields: Fields, payload: bytes, limit: int) -> tuple[Fields, bytes] | None:
        """Take a transfer; return the first frame's fields and the message once it is whole.

        Raises:
            AmqpError: It is too long, or there was no credit for it.
        """
        if self.first is None:
            if not self.credit:
                raise AmqpError("amqp:link:transfer-limit-exceeded", "There was no credit.")
            self.first = fields
        self.parts.append(payload)
        if sum(map(len, self.parts)) > limit:
            raise AmqpError("amqp:link:message-size-exceeded", "The message is too long.")
        if fields["more"]:
            return None
        found = self.first, b"".join(self.parts)
        self.first, self.parts = None, []
        self.credit -= 1
        self.delivery_count = (self.delivery_count + 1) % _MODULO
        return found
