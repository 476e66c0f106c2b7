"""In which order records are read back from the hub's built-in endpoint; pure.

The endpoint has partitions, each in order of arrival, and a message is a batch of records. A record
is placed at its own time, but at most ``SLACK_NS`` before its arrival: one that was long under way
stands where it came in, and everything before that place is known once ``SLACK_NS`` more of
arrivals were read in each partition. So the order is the same for everybody, whatever was read at
once, and a page can begin where another ended.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

from edgectl.api import Record, TelemetryRecord, TelemetryRequest, from_otlp

SLACK_NS = 30 * 10**9
MAX_BATCH_BYTES = 256 << 10
_CURSOR = re.compile(r"(\d{1,20})\|([^|]{0,200})")
_CONNECTION = re.compile(r"\s*([A-Za-z]+)=(.*)", re.DOTALL)


class Place(Record, frozen=True, kw_only=True, order=True):
    """Where a record stands in the order; the id decides between records of one time."""

    time_ns: int = 0
    id: str = ""

    def cursor(self) -> str:
        """Write it down for the next page."""
        return f"{self.time_ns}|{self.id}"


class Placed(Record, frozen=True, kw_only=True):
    """A record and where it stands."""

    place: Place
    record: TelemetryRecord


class Arrival(Record, frozen=True, kw_only=True):
    """A message of a device.

    Attributes:
        device: Who sent it, as the hub knows.
        at_ns: When the hub had it, nanoseconds since 1970 UTC.
    """

    device: str
    at_ns: int
    body: bytes


class Endpoint(Record, frozen=True, kw_only=True):
    """Where the built-in endpoint is, and who may read it.

    Attributes:
        host: Its host name.
        port: 0 is AMQP's own.
        name: The Event Hubs-compatible name.
        policy: The shared access policy, or "" for a login.
    """

    host: str
    port: int
    name: str
    policy: str = ""
    key: str = ""

    def __repr__(self) -> str:
        """Return what may be shown."""
        return f"Endpoint(host={self.host!r}, name={self.name!r}, policy={self.policy!r})"


def parse_endpoint(text: str) -> Endpoint | None:
    """Read an Event Hubs connection string; None where it is not one, its key is never told."""
    parts = {m[1]: m[2] for part in text.strip().split(";") if (m := _CONNECTION.fullmatch(part))}
    host, port = split_host(parts.get("Endpoint", "").removeprefix("sb://").strip("/"))
    name, policy = parts.get("EntityPath", ""), parts.get("SharedAccessKeyName", "")
    key = parts.get("SharedAccessKey", "")
    if not (host and name and policy and key):
        return None
    return Endpoint(host=host, port=port, name=name, policy=policy, key=key)


def split_host(address: str) -> tuple[str, int]:
    """Return host and port of ``host[:port]``; 0 for no port."""
    host, _, port = address.partition(":")
    return host, int(port) if port.isdecimal() else 0


def read_cursor(text: str) -> Place:
    """Read what ``Place.cursor`` wrote; the beginning for anything else."""
    match = _CURSOR.fullmatch(text)
    return Place(time_ns=int(match[1]), id=match[2]) if match else Place()


def records_of(arrival: Arrival) -> list[Placed]:
    """Return a message's records; none for what is no telemetry of ours.

    Whose records they are the hub says, not the message.
    """
    if len(arrival.body) > MAX_BATCH_BYTES:
        return []
    try:
        records = from_otlp(arrival.body)
    except (msgspec.DecodeError, ValueError):
        return []
    return [
        Placed(
            place=place_of(record, arrival.at_ns),
            record=msgspec.structs.replace(record, device=arrival.device),
        )
        for record in records
    ]


def place_of(record: TelemetryRecord, arrived_ns: int) -> Place:
    """Return where a record stands."""
    earliest = arrived_ns - SLACK_NS
    return Place(time_ns=min(max(record.time_unix_ns, earliest), arrived_ns), id=record.id)


def known_until(read_up_to_ns: Mapping[str, int | None]) -> int | None:
    """Return the place before which everything is known; None where nothing is missing.

    Args:
        read_up_to_ns: By partition, the arrival up to which it was read; None to its end.
    """
    behind = [at for at in read_up_to_ns.values() if at is not None]
    return min(behind) - SLACK_NS if behind else None


def wanted(
    placed: Iterable[Placed], request: TelemetryRequest, devices: frozenset[str]
) -> list[Placed]:
    """Return what a request asks for, behind its cursor, oldest first and each record once."""
    after = read_cursor(request.cursor)
    found: dict[str, Placed] = {}
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


def page(
    found: list[Placed], limit: int, until: int | None
) -> tuple[tuple[TelemetryRecord, ...], str]:
    """Return a page's records and the cursor of the next one, "" where there is none.

    Args:
        found: In order.
        limit: How many a page may have.
        until: The place before which all is known; None for everything.
    """
    ready = [one for one in found if until is None or one.place.time_ns < until]
    shown = ready[:limit]
    after = ""
    if len(ready) > limit:
        after = shown[-1].place.cursor()
    elif until is not None:
        after = Place(time_ns=until).cursor()
    return tuple(one.record for one in shown), after
