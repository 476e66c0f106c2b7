"""The hub's built-in endpoint: what devices sent, in partitions, until its retention is over.

The MQTT side of the hub appends; an endpoint that speaks AMQP (or a test) reads. As in Event Hubs a
partition is an append-only log: each event has a sequence number that rises by one and an offset
that rises, and what a device sends is all in one partition, in its order. Times are UTC.

Source: learn.microsoft.com/azure/iot-hub, "Read device-to-cloud messages from the built-in
endpoint" and "Create and read IoT Hub messages" (system properties and annotations).
"""

from __future__ import annotations

import threading
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from edgectl.api import Record

PARTITIONS = 4
RETENTION = timedelta(days=1)
MAX_MESSAGE_BYTES = 256 << 10
MAX_KEPT = 200_000


class Event(Record, frozen=True, kw_only=True):
    """A device-to-cloud message.

    Attributes:
        partition: Its partition's number.
        sequence_number: Rises by one within a partition, from 0.
        offset: Rises within a partition; text, as Event Hubs has it.
        enqueued_at: When the hub took it (``x-opt-enqueued-time``).
        body: What was sent.
        properties: The application properties, all text.
        system: Message properties of AMQP by their names there: ``message-id``,
            ``correlation-id``, ``content-type``, ``content-encoding``, ``user-id``,
            ``creation-time``, ``absolute-expiry-time``.
        annotations: Message annotations of the hub: ``iothub-connection-device-id``,
            ``iothub-connection-module-id``, ``iothub-connection-auth-method``,
            ``iothub-connection-auth-generation-id``, ``iothub-enqueuedtime`` (milliseconds since
            1970), ``iothub-message-source`` (``Telemetry``, ``twinChangeEvents``), ``dt-subject``.
    """

    partition: int
    sequence_number: int
    offset: str
    enqueued_at: datetime
    body: bytes
    properties: Mapping[str, str]
    system: Mapping[str, str]
    annotations: Mapping[str, str | int]


class PartitionState(Record, frozen=True, kw_only=True):
    """What is in a partition.

    Attributes:
        begin: The oldest sequence number that is kept; the next one when nothing is.
        next: The sequence number of the event that comes next.
        last_offset: Of the newest event; "-1" when there never was one.
        last_enqueued_at: Of the newest event.
    """

    partition: int
    begin: int
    next: int
    last_offset: str
    last_enqueued_at: datetime | None


class EventLog:
    """All partitions; safe for many threads.

    Args:
        now: The account's time.
        partitions: How many; S1 hubs have 4 unless told otherwise.
        retention: Events older than this are gone.
    """

    def __init__(
        self,
        *,
        now: Callable[[], datetime],
        partitions: int = PARTITIONS,
        retention: timedelta = RETENTION,
    ) -> None:
        self.partitions = partitions
        self.retention = retention
        self._now = now
        self._changed = threading.Condition()
        self._logs: tuple[deque[Event], ...] = tuple(
            deque(maxlen=MAX_KEPT) for _ in range(partitions)
        )
        self._next = [0] * partitions
        self._offset = [0] * partitions
        self._last: list[Event | None] = [None] * partitions
        self._listeners: list[Callable[[Event], None]] = []

    def partition_of(self, device_id: str) -> int:
        """Return the partition that holds everything of a device."""
        return zlib.crc32(device_id.encode()) % self.partitions

    def append(
        self,
        device_id: str,
        body: bytes,
        *,
        annotations: Mapping[str, str | int],
        properties: Mapping[str, str] | None = None,
        system: Mapping[str, str] | None = None,
    ) -> Event:
        """Take a message; tell readers that wait and listeners.

        ``iothub-connection-device-id`` and ``iothub-enqueuedtime`` are added to the annotations.
        """
        number = self.partition_of(device_id)
        with self._changed:
            at = self._now()
            event = Event(
                partition=number,
                sequence_number=self._next[number],
                offset=str(self._offset[number]),
                enqueued_at=at,
                body=body,
                properties=dict(properties or {}),
                system=dict(system or {}),
                annotations={
                    "iothub-connection-device-id": device_id,
                    **annotations,
                    "iothub-enqueuedtime": int(at.timestamp() * 1000),
                },
            )
            self._next[number] += 1
            self._offset[number] += len(body) + 64
            self._last[number] = event
            self._logs[number].append(event)
            self._changed.notify_all()
        for listener in tuple(self._listeners):
            listener(event)
        return event

    def read(self, partition: int, sequence_number: int, limit: int = 300) -> tuple[Event, ...]:
        """Return the oldest events that are kept from a sequence number on.

        Raises:
            IndexError: There is no such partition.
        """
        with self._changed:
            self._forget(partition)
            log = self._logs[partition]
            if not log:
                return ()
            skipped = max(sequence_number - log[0].sequence_number, 0)
            return tuple(log[at] for at in range(skipped, min(skipped + limit, len(log))))

    def wait(self, partition: int, sequence_number: int, timeout_s: float) -> bool:
        """Wait until there is an event of this sequence number or a later one; say whether so."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._next[partition] > sequence_number, timeout_s
            )

    def state(self, partition: int) -> PartitionState:
        """Return where a partition begins and ends.

        Raises:
            IndexError: There is no such partition.
        """
        with self._changed:
            self._forget(partition)
            log, last = self._logs[partition], self._last[partition]
            return PartitionState(
                partition=partition,
                begin=log[0].sequence_number if log else self._next[partition],
                next=self._next[partition],
                last_offset=last.offset if last else "-1",
                last_enqueued_at=last.enqueued_at if last else None,
            )

    def after_offset(self, partition: int, offset: str, *, inclusive: bool) -> int:
        """Return the sequence number to begin with for an offset; "-1" is the very beginning.

        Raises:
            ValueError: The offset is no number.
        """
        wanted = int(offset)
        with self._changed:
            self._forget(partition)
            for event in self._logs[partition]:
                at = int(event.offset)
                if at > wanted or (inclusive and at == wanted):
                    return event.sequence_number
            return self._next[partition]

    def after_time(self, partition: int, at: datetime) -> int:
        """Return the sequence number of the first event that was enqueued later."""
        with self._changed:
            self._forget(partition)
            for event in self._logs[partition]:
                if event.enqueued_at > at:
                    return event.sequence_number
            return self._next[partition]

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Be told of each event, on the thread that appends it; must be quick."""
        self._listeners.append(listener)

    def _forget(self, partition: int) -> None:
        oldest = self._now() - self.retention
        log = self._logs[partition]
        while log and log[0].enqueued_at < oldest:
            log.popleft()
