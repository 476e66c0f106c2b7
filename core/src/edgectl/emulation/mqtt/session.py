"""Keeps what a client has subscribed to and what it has not acknowledged yet.

A session lives on after its connection for as long as the client asked for; messages with QoS 1
wait for it. Used by the server's event loop only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from edgectl.emulation.mqtt import building, packets
from edgectl.emulation.mqtt.packets import Message

MAX_IN_FLIGHT = 100
MAX_QUEUED = 1_000
_LAST_ID = 65_535

Write = Callable[[bytes], None]


class Session:
    """One client's state.

    Attributes:
        subscriptions: Granted QoS by filter.
        expires_at: When a session without a connection ends, in the loop's seconds; None while
            it has one.
    """

    def __init__(self, client_id: str) -> None:
        self.client_id = client_id
        self.subscriptions: dict[str, int] = {}
        self.expires_at: float | None = None
        self._version = packets.V5
        self._window = MAX_IN_FLIGHT
        self._write: Write | None = None
        self._in_flight: dict[int, Message] = {}
        self._queued: deque[Message] = deque(maxlen=MAX_QUEUED)
        self._last_id = 0

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection to write to."""
        return self._write is not None

    def attach(self, version: int, receive_maximum: int, write: Write) -> None:
        """Begin to write to a connection: first what was sent before and not acknowledged."""
        self._version = version
        self._window = max(1, min(MAX_IN_FLIGHT, receive_maximum))
        self._write = write
        self.expires_at = None
        for packet_id, message in self._in_flight.items():
            write(building.publish(version, message, packet_id, dup=True))
        self._fill()

    def detach(self) -> None:
        """The connection is gone."""
        self._write = None

    def deliver(self, message: Message, granted: int) -> None:
        """Send a message, or keep it for later when it has QoS 1."""
        qos = min(message.qos, granted)
        given = Message(
            topic=message.topic,
            payload=message.payload,
            qos=qos,
            retain=message.retain,
            properties=message.properties,
        )
        if qos:
            self._queued.append(given)
            self._fill()
        elif self._write is not None:
            self._write(building.publish(self._version, given, 0))

    def acknowledged(self, packet_id: int) -> None:
        """Forget a message that the client has taken."""
        self._in_flight.pop(packet_id, None)
        self._fill()

    def _fill(self) -> None:
        while self._write is not None and self._queued and len(self._in_flight) < self._window:
            message = self._queued.popleft()
            packet_id = self._next_id()
            self._in_flight[packet_id] = message
            self._write(building.publish(self._version, message, packet_id))

    def _next_id(self) -> int:
        while True:
            self._last_id = self._last_id % _LAST_ID + 1
            if self._last_id not in self._in_flight:
                return self._last_id
