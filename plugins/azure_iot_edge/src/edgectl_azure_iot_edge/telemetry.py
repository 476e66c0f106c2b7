"""In which order records are read back from the hub's built-in endpoint; pure.

The endpoint has partitions, each in order of arrival, and a message is a batch of records. What is
known of the order is what is known in every partition.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from edgectl.api import PlacedRecord, Record, place_record, read_telemetry_batch, settled_before

_CONNECTION = re.compile(r"\s*([A-Za-z]+)=(.*)", re.DOTALL)


class Arrival(Record, frozen=True, kw_only=True):
    """A message of a device.

    Attributes:
        device: Who sent it, as the hub knows.
        at_ns: By when the hub had it, nanoseconds since 1970 UTC.
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


def records_of(arrival: Arrival) -> list[PlacedRecord]:
    """Return a message's records; none for what is no telemetry of ours.

    Whose records they are the hub says, not the message.
    """
    return [
        place_record(msgspec.structs.replace(record, device=arrival.device), arrival.at_ns)
        for record in read_telemetry_batch(arrival.body)
    ]


def known_until(read_up_to_ns: Mapping[str, int | None]) -> int | None:
    """Return the place before which everything is known; None where nothing is missing.

    Args:
        read_up_to_ns: By partition, the arrival up to which it was read; None to its end.
    """
    behind = [at for at in read_up_to_ns.values() if at is not None]
    return settled_before(min(behind)) if behind else None
