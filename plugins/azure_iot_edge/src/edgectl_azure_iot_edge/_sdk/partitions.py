"""Reads the partitions of the built-in endpoint with the Event Hubs SDK, up to where they end now.

How far a partition goes is asked first, so that reading ends when it is reached: nothing is waited
for, however idle the devices are.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from azure.core.credentials import AzureNamedKeyCredential
from azure.eventhub import EventData, EventHubConsumerClient, TransportType
from azure.eventhub.exceptions import AuthenticationError, EventHubError

from edgectl.api import (
    AuthError,
    ProviderError,
    Record,
    ThrottledError,
    UnreachableError,
    end_of_millisecond,
)
from edgectl_azure_iot_edge._sdk.endpoint import trusted
from edgectl_azure_iot_edge._sdk.login import credential
from edgectl_azure_iot_edge.telemetry import Arrival, Endpoint

AT_ONCE = 8
SILENCE_S = 30.0
_LOOK_S = 0.5
_BALANCE_S = 1.0
_PAUSES_S = (0.5, 2.0)
_FINAL = ("unauthorized", "not-found", "not-allowed", "resource-limit", "stolen", "argument")
_RIGHT_HINT = (
    "take a policy with ServiceConnect, or give the login the role Azure Event Hubs Data Receiver; "
    "docs/providers/azure.md has what each step needs"
)
_GROUP_HINT = "set `consumer_group` of providers.azure.telemetry to one that edgectl has alone"


class Span(Record, frozen=True, kw_only=True):
    """What a partition holds: sequence numbers of its oldest and its newest event."""

    first: int
    last: int

    @property
    def is_empty(self) -> bool:
        """Whether it holds nothing."""
        return self.last < self.first


class Read(Record, frozen=True, kw_only=True):
    """What was read of a partition.

    Attributes:
        arrivals: Messages of devices, in order.
        next: The sequence number to go on with.
        at_end: Whether that is where the partition ended.
    """

    arrivals: tuple[Arrival, ...]
    next: int
    at_end: bool


class Partitions:
    """The endpoint's partitions.

    Args:
        endpoint: Which.
        group: The consumer group.
    """

    def __init__(self, endpoint: Endpoint, group: str) -> None:
        self._endpoint = endpoint
        self._group = group
        self._ids: tuple[str, ...] = ()

    def spans(self) -> dict[str, Span]:
        """Return what each partition holds now.

        Raises:
            ProviderError: The endpoint refuses, or cannot be reached.
        """
        with self._client() as client:
            if not self._ids:
                self._ids = tuple(self._translating(client.get_partition_ids))
            with ThreadPoolExecutor(AT_ONCE) as pool:
                found = list(pool.map(lambda one: self._span(client, one), self._ids))
        return dict(zip(self._ids, found, strict=True))

    def read(self, wanted: dict[str, tuple[int | datetime, Span]], limit: int) -> dict[str, Read]:
        """Read partitions at the same time.

        Args:
            wanted: By partition: a sequence number or time of arrival to begin with, and its end.
            limit: Most events of each.

        Raises:
            ProviderError: The endpoint refuses, or cannot be reached.
        """
        with ThreadPoolExecutor(AT_ONCE) as pool:
            jobs = {
                one: pool.submit(self._read, one, start, span, limit)
                for one, (start, span) in wanted.items()
            }
            return {one: job.result() for one, job in jobs.items()}

    def _read(self, partition: str, start: int | datetime, span: Span, limit: int) -> Read:
        if span.is_empty or (isinstance(start, int) and start > span.last):
            return Read(arrivals=(), next=span.last + 1, at_end=True)
        first = max(start, span.first) if isinstance(start, int) else start
        reading = _Reading(self._client, partition, span, limit)
        for pause_s in _PAUSES_S:
            try:
                reading.run(first)
            except EventHubError as exc:
                if not _is_passing(exc):
                    raise translated(exc, self._endpoint) from exc
                time.sleep(pause_s)
            else:
                return reading.result()
        self._translating(lambda: reading.run(first))
        return reading.result()

    def _span(self, client: EventHubConsumerClient, partition: str) -> Span:
        found = self._translating(lambda: client.get_partition_properties(partition))
        last = int(found["last_enqueued_sequence_number"])
        if found["is_empty"]:
            return Span(first=last + 1, last=last)
        return Span(first=int(found["beginning_sequence_number"]), last=last)

    def _client(self) -> EventHubConsumerClient:
        endpoint = self._endpoint
        address = f"sb://{endpoint.host}:{endpoint.port}" if endpoint.port else None
        return EventHubConsumerClient(
            fully_qualified_namespace=endpoint.host,
            eventhub_name=endpoint.name,
            consumer_group=self._group,
            credential=(
                AzureNamedKeyCredential(endpoint.policy, endpoint.key)
                if endpoint.policy
                else credential()
            ),
            custom_endpoint_address=address,
            connection_verify=trusted(),
            transport_type=TransportType.Amqp,
            # It does not tell of an error while it may try again, so trying again is done here.
            retry_total=0,
            load_balancing_interval=_BALANCE_S,
        )

    def _translating(self, call: Any) -> Any:
        try:
            return call()
        except EventHubError as exc:
            raise translated(exc, self._endpoint) from exc
        except TimeoutError as exc:
            raise UnreachableError(f"{_what(self._endpoint)}: {exc}") from exc


class _Reading:
    """One partition being read, in the thread that calls ``run``."""

    def __init__(
        self,
        connect: Callable[[], EventHubConsumerClient],
        partition: str,
        span: Span,
        limit: int,
    ) -> None:
        self._connect = connect
        self._partition = partition
        self._span = span
        self._limit = limit
        self._arrivals: list[Arrival] = []
        self._next: int | None = None
        self._heard = 0.0
        self._error: Exception | None = None

    def run(self, start: int | datetime) -> None:
        """Read until the end or the limit; again, to go on where an error ended it.

        Raises:
            EventHubError: The endpoint refuses, or the connection is lost for good.
            TimeoutError: Nothing comes although there is something.
        """
        self._heard, self._error = time.monotonic(), None
        self._client = self._connect()
        with self._client:
            self._client.receive_batch(
                on_event_batch=self._take,
                on_error=self._failed,
                partition_id=self._partition,
                starting_position=start if self._next is None else self._next,
                starting_position_inclusive=True,
                max_wait_time=_LOOK_S,
            )
        if self._error is not None:
            raise self._error

    def result(self) -> Read:
        """Return what was read."""
        after = self._span.first if self._next is None else self._next
        return Read(arrivals=tuple(self._arrivals), next=after, at_end=after > self._span.last)

    @property
    def _is_done(self) -> bool:
        at_end = self._next is not None and self._next > self._span.last
        return at_end or len(self._arrivals) >= self._limit

    def _take(self, _context: object, events: list[EventData]) -> None:
        now = time.monotonic()
        for event in events:
            self._heard = now
            self._next = int(event.sequence_number or 0) + 1
            if (arrival := arrival_of(event)) is not None:
                self._arrivals.append(arrival)
            if self._is_done:
                break
        if self._is_done:
            self._end()
        elif now - self._heard > SILENCE_S:
            self._error = TimeoutError(f"partition {self._partition} sends nothing")
            self._end()

    def _failed(self, _context: object, error: Exception) -> None:
        self._error = error
        self._end()

    def _end(self) -> None:
        # Closing from another thread: here the client waits for this very callback.
        threading.Thread(target=self._client.close, daemon=True).start()


def arrival_of(event: EventData) -> Arrival | None:
    """Return an event as a message of a device; None where no device sent it."""
    system = event.system_properties or {}
    device = system.get(b"iothub-connection-device-id")
    at = event.enqueued_time
    body: Any = event.body
    if not isinstance(device, bytes) or not isinstance(at, datetime):
        return None
    return Arrival(
        device=device.decode(errors="replace"),
        at_ns=end_of_millisecond(round(at.astimezone(UTC).timestamp() * 1000)),
        body=b"".join(body) if event.body_type.value == "data" else b"",
    )


def translated(error: EventHubError, endpoint: Endpoint) -> ProviderError:
    """Return the error in edgectl's words; the endpoint's own is kept as the vendor's code."""
    code = error.error or type(error).__name__
    said = _said(error) or code
    what = _what(endpoint)
    if isinstance(error, AuthenticationError) or "unauthorized" in code:
        return AuthError(f"{what}: {said}", hint=_RIGHT_HINT, vendor_code=code)
    if "resource-limit" in code or "stolen" in code or "stolen" in said:
        return ThrottledError(f"{what}: {said}", hint=_GROUP_HINT, vendor_code=code)
    if "not-found" in code:
        return ProviderError(f"{what}: {said}", hint=_GROUP_HINT, vendor_code=code)
    return UnreachableError(f"{what}: {said}", vendor_code=code)


def _is_passing(error: EventHubError) -> bool:
    """Return whether trying again may help."""
    words = f"{error.error} {error.message}"
    return not isinstance(error, AuthenticationError) and not any(w in words for w in _FINAL)


def _said(error: EventHubError) -> str:
    """Return the endpoint's own words out of the SDK's several lines."""
    lines = str(error.message).strip().splitlines()
    told = [line.partition("Description: ")[2] for line in lines if "Description: " in line]
    return (told or lines or [""])[0][:300]


def _what(endpoint: Endpoint) -> str:
    return f"cannot read telemetry from '{endpoint.name}' at '{endpoint.host}'"
