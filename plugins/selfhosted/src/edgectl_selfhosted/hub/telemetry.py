"""Telemetry: OTLP/HTTP log records in from devices, records out to operators.

Delivery is at least once, so a device's second record with the same id is dropped. A device may
only speak for itself; a gateway may speak for all. What is kept is bounded by bytes and by time.
"""

from __future__ import annotations

import asyncio
import sqlite3
import zlib

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgectl.api import (
    MAX_DEPTH,
    ContractError,
    Kind,
    TelemetryRecord,
    from_otlp,
    json_depth,
)
from edgectl_selfhosted.hub.auth import equal
from edgectl_selfhosted.hub.config import TelemetryLimits
from edgectl_selfhosted.hub.ddi.identity import PEER_NAME
from edgectl_selfhosted.hub.errors import Fault, HubError
from edgectl_selfhosted.hub.http import body_bytes, hub_of, integer, to_integer
from edgectl_selfhosted.hub.hub import Hub
from edgectl_selfhosted.hub.store import settings, targets
from edgectl_selfhosted.hub.store import telemetry as store

MAX_RECORDS = 2_000


async def speakers(hub: Hub, authorization: str, peer_name: str) -> frozenset[str] | None:
    """Return the devices that the sender may speak for; None means all.

    Raises:
        HubError: ``UNAUTHORIZED``.
    """
    scheme, _, token = authorization.partition(" ")
    switches = hub.settings
    if scheme == "GatewayToken" and switches.flag(settings.GATEWAY_ENABLED):
        if equal(token, switches.text(settings.GATEWAY_KEY)):
            return None
    elif scheme == "TargetToken" and switches.flag(settings.TARGET_TOKEN):
        found = await hub.read(lambda conn: targets.devices_of_token(conn, token))
        mine = frozenset(t.controller_id for t in found if equal(t.token, token))
        if mine:
            return mine
    elif peer_name:
        return frozenset({peer_name})
    raise HubError(Fault.UNAUTHORIZED, "the device's credentials are missing or wrong")


def inflate(data: bytes, max_bytes: int) -> bytes:
    """Undo gzip, up to a limit.

    Raises:
        HubError: ``TOO_LARGE`` or ``BODY``.
    """
    unzip = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        plain = unzip.decompress(data, max_bytes + 1)
    except zlib.error as exc:
        raise HubError(Fault.BODY, f"the request is not gzip: {exc}") from exc
    if len(plain) > max_bytes:
        raise HubError(Fault.TOO_LARGE, f"a request has at most {max_bytes} bytes when inflated")
    if not unzip.eof:
        raise HubError(Fault.BODY, "the request's gzip stream ends early")
    return plain


def read_records(
    data: bytes, encoding: str, limits: TelemetryLimits, speakers_: frozenset[str] | None
) -> list[TelemetryRecord]:
    """Return the records of a request.

    Raises:
        HubError: ``BODY``, ``TOO_LARGE``, ``MEDIA_TYPE``, or ``FORBIDDEN`` when a record names a
            device that the sender may not speak for.
    """
    if encoding not in {"", "identity", "gzip"}:
        raise HubError(Fault.MEDIA_TYPE, f"the content encoding '{encoding[:50]}' is not taken")
    plain = inflate(data, limits.inflated_bytes) if encoding == "gzip" else data
    try:
        if json_depth(plain) > MAX_DEPTH:
            raise HubError(Fault.BODY, f"the request nests more than {MAX_DEPTH} levels deep")
        records = from_otlp(plain)
    except (ContractError, msgspec.DecodeError, ValueError, RecursionError) as exc:
        raise HubError(Fault.BODY, f"the request is not OTLP JSON: {exc}") from exc
    for record in records:
        if speakers_ is not None and record.device not in speakers_:
            raise HubError(
                Fault.FORBIDDEN, f"the sender may not speak for the device '{record.device[:100]}'"
            )
        if len(record.id) > 256 or not -(1 << 63) <= record.time_unix_ns < 1 << 63:
            raise HubError(Fault.BODY, "a record's id is too long, or its time is none")
    return records


async def post_logs(request: Request) -> Response:
    """Take an OTLP ``ExportLogsServiceRequest`` in JSON."""
    hub = hub_of(request)
    limits = hub.config.telemetry
    allowed = await speakers(
        hub, request.headers.get("authorization", ""), request.scope.get(PEER_NAME, "")
    )
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HubError(Fault.MEDIA_TYPE, f"'{kind[:100]}' is not taken here, application/json is")
    data = await body_bytes(request, limits.request_bytes)
    encoding = request.headers.get("content-encoding", "").strip().lower()
    records = await asyncio.to_thread(read_records, data, encoding, limits, allowed)
    if records:
        await hub.write(lambda tx: store.add(tx, records), actor="device")
    return Response(b"{}", media_type="application/json")


def read_cursor(text: str) -> store.Place | None:
    """Read a cursor that a page ended with; "" is the beginning.

    Raises:
        HubError: ``CONSTRAINT`` for anything else.
    """
    if not text:
        return None
    when, separator, number = text.partition(":")
    if not separator:
        raise HubError(Fault.CONSTRAINT, f"'{text[:50]}' is no cursor of this hub")
    return store.Place(to_integer(when, "the cursor"), to_integer(number, "the cursor"))


async def get_records(request: Request) -> Response:
    """Answer records, oldest first, page by page."""
    params = request.query_params
    kind = params.get("kind", "")
    if kind and kind not in set(Kind):
        raise HubError(Fault.CONSTRAINT, f"'{kind[:50]}' is not a kind: {', '.join(Kind)}")
    wanted = store.Wanted(
        application=params.get("application", ""),
        device=params.get("device", ""),
        kind=kind,
        since_unix_ns=integer(request, "since", 0),
        limit=min(max(1, integer(request, "limit", 500)), MAX_RECORDS),
        after=read_cursor(params.get("cursor", "")),
    )

    def work(conn: sqlite3.Connection) -> bytes:
        records, cursor = store.find(conn, wanted)
        joined = b",".join(records)
        return b'{"records":[%s],"next":%s}' % (joined, msgspec.json.encode(cursor))

    return Response(await hub_of(request).read(work), media_type="application/json")


ROUTES = [
    Route("/v1/logs", post_logs, methods=["POST"]),
    Route("/telemetry/v1/records", get_records, methods=["GET"]),
]
