"""In which order telemetry is read back from a store that keeps messages by their arrival; pure.

A message is a batch of records, so messages in order of arrival are not records in order of time. A
record is therefore placed at its own time, but at most ``SLACK_NS`` before its arrival: one that
was long under way stands where it came in, and everything before that place is known once
``SLACK_NS`` more of arrivals were read. So the order is the same for everybody, whatever was read
at once, and a page can begin where another ended.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Iterable

import msgspec

from edge_components.contract.telemetry import TelemetryRecord, from_otlp
from edgectl.records import Record
from edgectl.requests import TelemetryPage, TelemetryRequest

SLACK_NS = 30 * 10**9
_NS_PER_MS = 10**6
MAX_TELEMETRY_BATCH = 256 << 10
"""Bytes; a message that is longer is none of ours: devices send less at once."""
_CURSOR = re.compile(r"(\d{1,20})\|([^|]{0,200})")


class TelemetryMembers:
    """Whose records a target's are, as of a read's first page; safe to use from several threads.

    A fleet of ten thousand takes many calls to list, and a read of its telemetry many pages.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[bytes, frozenset[str]] = {}

    def of(self, request: TelemetryRequest, find: Callable[[], Iterable[str]]) -> frozenset[str]:
        """Return whose records are asked for.

        Args:
            request: For a page.
            find: Lists the target's devices; called for the first page of a read.
        """
        key = msgspec.json.encode(request.target)
        with self._lock:
            known = self._known.get(key) if request.cursor else None
        if known is None:
            known = frozenset(find())
            with self._lock:
                self._known[key] = known
        return known if request.device is None else known & {request.device}


class TelemetryPlace(Record, frozen=True, kw_only=True, order=True):
    """Where a record stands in the order; the id decides between records of one time."""

    time_ns: int = 0
    id: str = ""

    def cursor(self) -> str:
        """Write it down for the next page."""
        return f"{self.time_ns}|{self.id}"


class PlacedRecord(Record, frozen=True, kw_only=True):
    """A record and where it stands."""

    place: TelemetryPlace
    record: TelemetryRecord


def read_telemetry_cursor(text: str) -> TelemetryPlace:
    """Read what ``TelemetryPlace.cursor`` wrote; the beginning for anything else."""
    match = _CURSOR.fullmatch(text)
    return TelemetryPlace(time_ns=int(match[1]), id=match[2]) if match else TelemetryPlace()


def read_telemetry_batch(body: bytes) -> tuple[TelemetryRecord, ...]:
    """Return a message's records; none for what is no telemetry of ours."""
    if not body or len(body) > MAX_TELEMETRY_BATCH:
        return ()
    try:
        return tuple(from_otlp(body))
    except (msgspec.DecodeError, ValueError):
        return ()


def end_of_millisecond(number: int) -> int:
    """Return the last nanosecond of a millisecond; both since 1970 UTC.

    What a cloud dates in milliseconds had arrived by then. By its beginning it had not: records of
    one millisecond would all seem to come from the future, and lose their order.
    """
    return (number + 1) * _NS_PER_MS - 1


def place_record(record: TelemetryRecord, arrived_ns: int) -> PlacedRecord:
    """TelemetryPlace a record.

    Args:
        record: What a device told.
        arrived_ns: By when the cloud had it, nanoseconds since 1970 UTC.
    """
    time_ns = min(max(record.time_unix_ns, settled_before(arrived_ns)), arrived_ns)
    return PlacedRecord(place=TelemetryPlace(time_ns=time_ns, id=record.id), record=record)


def settled_before(arrived_ns: int) -> int:
    """Return the place before which all is known once arrivals up to this one were read."""
    return arrived_ns - SLACK_NS


def first_arrival(request: TelemetryRequest) -> int:
    """Return from which arrival on a page needs messages, nanoseconds since 1970 UTC.

    A device's clock may be a little ahead of the cloud's.
    """
    after = read_telemetry_cursor(request.cursor)
    return max(after.time_ns, settled_before(request.since_unix_ns), 0)


def records_in_order(
    placed: Iterable[PlacedRecord], request: TelemetryRequest, devices: Collection[str]
) -> list[PlacedRecord]:
    """Return what a request asks for, behind its cursor, oldest first and each record once.

    Args:
        placed: What was read, in any order.
        request: Says which records, but for the devices.
        devices: Whose.
    """
    after = read_telemetry_cursor(request.cursor)
    found: dict[str, PlacedRecord] = {}
    for one in placed:
        record = one.record
        fits = (
            one.place > after
            and record.application == request.application
            and record.device in devices
            and record.time_unix_ns >= request.since_unix_ns
            and request.kind in {None, record.kind}
        )
        if fits and (record.id not in found or one.place < found[record.id].place):
            found[record.id] = one
    return sorted(found.values(), key=lambda one: one.place)


def settled_records(found: list[PlacedRecord], until: int | None) -> list[PlacedRecord]:
    """Return the records whose place is final; all of them where ``until`` is None."""
    return [one for one in found if until is None or one.place.time_ns < until]


def record_page(found: list[PlacedRecord], limit: int, until: int | None) -> TelemetryPage:
    """Return a page, and the cursor of the next one where there is one.

    Args:
        found: In order.
        limit: How many a page may have.
        until: The place before which all is known; None for everything.
    """
    ready = settled_records(found, until)
    shown = ready[:limit]
    after = ""
    if len(ready) > limit:
        after = shown[-1].place.cursor()
    elif until is not None:
        after = TelemetryPlace(time_ns=until).cursor()
    return TelemetryPage(records=tuple(one.record for one in shown), next=after)
