"""``telemetry``: records read back from the hub's built-in endpoint, oldest first and each once.

What was read stays in memory, because pages overlap and the endpoint has no way to ask for one
device or one kind. A page that what is known can fill asks nobody.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from edgectl.api import (
    PlacedRecord,
    TelemetryPage,
    TelemetryRequest,
    first_arrival,
    read_telemetry_cursor,
    record_page,
    records_in_order,
    settled_records,
)
from edgectl_azure_iot_edge._sdk.account import Account
from edgectl_azure_iot_edge._sdk.endpoint import find_endpoint
from edgectl_azure_iot_edge._sdk.partitions import Partitions, Read, Span
from edgectl_azure_iot_edge.telemetry import Endpoint, known_until, records_of

MAX_READ = 2_000
"""Events of a partition that are read at once; a page may end where that ends."""
MAX_KNOWN = 200_000
"""Records that are kept in memory."""


def telemetry(account: Account, request: TelemetryRequest) -> TelemetryPage:
    """Return one page of records, oldest first.

    Raises:
        ProjectError: Nothing says where the built-in endpoint is.
        AuthError: It may not be read.
        UnreachableError: It does not answer.
    """
    members = frozenset(account.members(request.target).all())
    devices = members if request.device is None else members & {request.device}
    if not devices:
        return TelemetryPage(records=())
    log = _shared(find_endpoint(account.config), account.config.telemetry.consumer_group)
    return log.page(request, devices)


class Log:
    """What is known of the endpoint's records.

    Args:
        partitions: The endpoint's partitions.
    """

    def __init__(self, partitions: Partitions) -> None:
        self._partitions = partitions
        self._lock = threading.Lock()
        self._forget(0)

    def _forget(self, since_ns: int) -> None:
        self._since_ns = since_ns
        self._placed: list[PlacedRecord] = []
        self._next: dict[str, int] = {}
        self._behind: dict[str, int | None] = {}

    def page(self, request: TelemetryRequest, devices: frozenset[str]) -> TelemetryPage:
        """Return a page."""
        after = read_telemetry_cursor(request.cursor)
        since_ns = first_arrival(request)
        with self._lock:
            if since_ns < self._since_ns or len(self._placed) > MAX_KNOWN:
                self._forget(since_ns)
            if not request.cursor or not self._next:
                self._read()
            while True:
                until = known_until(self._behind)
                found = records_in_order(self._placed, request, devices)
                ready = settled_records(found, until)
                if len(ready) > request.limit or until is None:
                    break
                if until > after.time_ns and ready:
                    break
                self._read()
        return record_page(found, request.limit, until)

    def _read(self) -> None:
        """Read on in each partition that is not at its end."""
        spans = self._partitions.spans()
        if any(self._next.get(one, 0) > span.last + 1 for one, span in spans.items()):
            self._forget(self._since_ns)  # it is not the endpoint that was read before
        start = datetime.fromtimestamp(self._since_ns / 1e9, UTC) - timedelta(milliseconds=1)
        asked: dict[str, tuple[int | datetime, Span]] = {
            one: (self._next.get(one, start if self._since_ns else span.first), span)
            for one, span in spans.items()
        }
        for partition, read in self._partitions.read(asked, MAX_READ).items():
            self._take(partition, read)

    def _take(self, partition: str, read: Read) -> None:
        self._next[partition] = read.next
        known = self._behind.get(partition) or self._since_ns
        last = read.arrivals[-1].at_ns if read.arrivals else known
        self._behind[partition] = None if read.at_end else last
        for arrival in read.arrivals:
            self._placed += records_of(arrival)


_LOCK = threading.Lock()
_LOGS: dict[tuple[Endpoint, str], Log] = {}


def _shared(endpoint: Endpoint, group: str) -> Log:
    with _LOCK:
        key = (endpoint, group)
        if key not in _LOGS:
            _LOGS[key] = Log(Partitions(endpoint, group))
        return _LOGS[key]
