"""The nodes that answer requests: ``$cbs`` takes tokens, ``$management`` tells of the partitions.

Sources: "AMQP 1.0 … protocol guide" (claims-based security, management); the requests are those of
the Event Hubs SDKs (``READ`` of ``com.microsoft:eventhub`` and ``com.microsoft:partition``).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from edgectl_azure_iot_edge.emulator.eventhub.access import Claim, Gate, Refused
from edgectl_azure_iot_edge.emulator.eventhub.messages import Request, response
from edgectl_azure_iot_edge.emulator.eventhub.types import Number, texts
from edgectl_azure_iot_edge.emulator.events import EventLog

_HUB, _PARTITION = "com.microsoft:eventhub", "com.microsoft:partition"
_NEVER = datetime(1, 1, 1, tzinfo=UTC)
_CREATED = datetime(2024, 1, 1, tzinfo=UTC)


def put_token(request: Request, gate: Gate) -> tuple[bytes, Claim | None]:
    """Answer a request to ``$cbs``; the claim is None where the token is refused."""
    told = request.application
    if told.get("operation") != "put-token":
        return response(request, 400, f"The operation '{told.get('operation')}' is none."), None
    kind, name, token = told.get("type"), told.get("name"), request.body
    if isinstance(token, bytes):
        token = token.decode(errors="replace")
    if not (isinstance(kind, str) and isinstance(name, str) and isinstance(token, str)):
        return response(request, 400, "The put-token message is malformed."), None
    try:
        claim = gate.put(kind, token, name)
    except Refused as exc:
        return response(request, exc.status, str(exc)), None
    return response(request, 202, "Accepted"), claim


def read(request: Request, log: EventLog, hub: str, *, allowed: bool) -> bytes:
    """Answer a request to ``$management``."""
    told = request.application
    name = str(told.get("name"))
    if told.get("operation") != "READ" or told.get("type") not in {_HUB, _PARTITION}:
        return response(request, 400, "The request is not supported.", condition="amqp:not-allowed")
    if name.lower() != hub.lower():
        said = f"The messaging entity '{name}' could not be found."
        return response(request, 404, said, condition="amqp:not-found")
    if not allowed:
        said = f"Unauthorized access. 'Listen' claim(s) are required. Resource: '{name}'"
        return response(request, 401, said, condition="amqp:unauthorized-access")
    if told["type"] == _HUB:
        return response(request, 200, "OK", _hub(log, hub))
    partition = str(told.get("partition"))
    if not partition.isdecimal() or int(partition) >= log.partitions:
        said = f"The specified partition '{partition}' is invalid."
        condition = "com.microsoft:argument-out-of-range"
        return response(request, 400, said, condition=condition)
    return response(request, 200, "OK", _partition(log, hub, int(partition)))


def _hub(log: EventLog, hub: str) -> dict[str, Any]:
    return {
        "name": hub,
        "type": _HUB,
        "created_at": _CREATED,
        "partition_count": Number("int", log.partitions),
        "partition_ids": texts([str(number) for number in range(log.partitions)]),
    }


def _partition(log: EventLog, hub: str, number: int) -> dict[str, Any]:
    state = log.state(number)
    return {
        "name": hub,
        "type": _PARTITION,
        "partition": str(number),
        "begin_sequence_number": state.begin,
        "last_enqueued_sequence_number": state.next - 1,
        "last_enqueued_offset": state.last_offset,
        "last_enqueued_time_utc": state.last_enqueued_at or _NEVER,
        "is_partition_empty": state.begin == state.next,
    }
