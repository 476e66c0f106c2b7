"""What addresses and filters of the telemetry endpoint mean. Pure.

Sources: "AMQP 1.0 in Azure Service Bus and Event Hubs protocol guide"; the filters are those that
the Event Hubs SDKs write (``event_position_selector``); conditions and texts of refusals are those
that Event Hubs' users report.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from edgectl.api import Record
from edgectl_azure_iot_edge.emulator.eventhub.types import AmqpError, Described
from edgectl_azure_iot_edge.emulator.events import EventLog

CBS, MANAGEMENT = "$cbs", "$management"
BUILT_IN = "messages/events"
_SELECTOR = "apache.org:selector-filter:string"
_PARTITION = re.compile(
    r"(?P<hub>.+?)/consumergroups/(?P<group>[^/]+)/partitions/(?P<partition>[^/]+)", re.IGNORECASE
)
_CLAUSE = re.compile(
    r"\s*amqp\.annotation\.x-opt-(?P<field>offset|sequence-number|enqueued-time)"
    r"\s*(?P<sign>>=?)\s*'(?P<value>[^']*)'\s*"
)


class Stream(Record, frozen=True, kw_only=True):
    """One partition as one consumer group sees it; ``path`` is its address below the host."""

    path: str
    hub: str
    group: str
    partition: str


def path_of(address: str) -> str:
    """Return an address without scheme, host and slashes at its ends."""
    found = urlsplit(address)
    return (found.path if found.scheme else address).strip("/")


def stream_of(path: str) -> Stream | None:
    """Read ``<hub>/ConsumerGroups/<group>/Partitions/<n>``; None for anything else."""
    match = _PARTITION.fullmatch(path)
    if match is None:
        return None
    return Stream(path=path, hub=match["hub"], group=match["group"], partition=match["partition"])


def partition_number(stream: Stream, partitions: int) -> int:
    """Return a partition's number.

    Raises:
        AmqpError: There is none of that name.
    """
    if not stream.partition.isdecimal() or int(stream.partition) >= partitions:
        raise AmqpError(
            "com.microsoft:argument-out-of-range",
            "The specified partition is invalid for an EventHub partition sender or receiver. It "
            f"should be between 0 and {partitions - 1}.",
        )
    return int(stream.partition)


def selector_of(filters: Any) -> str:
    """Return the selector of a source's filter; "" for none.

    Raises:
        AmqpError: There is another kind of filter.
    """
    if filters is None:
        return ""
    for name, value in filters.items() if isinstance(filters, dict) else ():
        text = value.value if isinstance(value, Described) else None
        if name != _SELECTOR or not isinstance(text, str):
            raise AmqpError(
                "amqp:not-allowed",
                "The link contains invalid filter type. System only support Jms or Apache selector "
                f"filter type but we found a value associated with key '{name}'.",
            )
        return text
    return ""


def first_sequence(selector: str, log: EventLog, partition: int) -> int:
    """Return the sequence number of the first event that a selector asks for.

    Without a selector only what comes later is wanted.

    Raises:
        AmqpError: The selector cannot be read, or is beyond the partition's end.
    """
    state = log.state(partition)
    if not selector:
        return state.next
    match = _CLAUSE.fullmatch(selector)
    if match is None:
        raise AmqpError("amqp:invalid-field", f"The filter '{selector[:200]}' cannot be read.")
    value, inclusive = match["value"], match["sign"] == ">="
    if match["field"] == "enqueued-time":
        return log.after_time(partition, _moment(value))
    if match["field"] == "sequence-number":
        return _after_sequence(value, inclusive=inclusive, last=state.next - 1)
    return _after_offset(value, log, partition, inclusive=inclusive)


def _after_offset(value: str, log: EventLog, partition: int, *, inclusive: bool) -> int:
    state = log.state(partition)
    if value == "@latest":
        return state.next
    if not re.fullmatch(r"-1|\d+", value):
        raise AmqpError(
            "com.microsoft:argument-error", f"The supplied offset '{value}' is invalid."
        )
    if int(value) > int(state.last_offset) and value != "-1":
        raise AmqpError(
            "com.microsoft:argument-error",
            f"The supplied offset '{value}' is invalid. The last offset in the system is "
            f"'{state.last_offset}'",
        )
    return log.after_offset(partition, value, inclusive=inclusive)


def _after_sequence(value: str, *, inclusive: bool, last: int) -> int:
    if not re.fullmatch(r"-1|\d{1,18}", value):
        raise AmqpError(
            "com.microsoft:argument-error", f"The supplied sequence number '{value}' is invalid."
        )
    if int(value) > last + 1:
        raise AmqpError(
            "com.microsoft:argument-error",
            f"The supplied sequence number '{value}' is invalid. The last sequence number in the "
            f"system is '{last}'",
        )
    return max(int(value) if inclusive else int(value) + 1, 0)


def _moment(value: str) -> datetime:
    try:
        return datetime.fromtimestamp(int(value) / 1000, UTC)
    except (ValueError, OverflowError, OSError) as exc:
        raise AmqpError(
            "com.microsoft:argument-error", f"The supplied time '{value}' is invalid."
        ) from exc
