"""``telemetry``: records of a target's devices, from the hub or from a collector's files.

The order is the hub's: that of arrival, so that who reads on misses no record that came late.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from edgectl.api import (
    NotFoundError,
    TelemetryMembers,
    TelemetryPage,
    TelemetryRecord,
    TelemetryRequest,
    UnsupportedError,
    read_otlp_files,
)
from edgectl_selfhosted import fiql
from edgectl_selfhosted._sdk.client import Client
from edgectl_selfhosted._sdk.devices import Scope
from edgectl_selfhosted.config import SelfhostedConfig, in_project

RECORDS = "/telemetry/v1/records"

Connect = Callable[[str | None], Client]


class RecordsPage(msgspec.Struct, frozen=True, kw_only=True):
    """The hub's answer."""

    records: tuple[TelemetryRecord, ...]
    next: str = ""


def records(
    config: SelfhostedConfig,
    project_dir: Path,
    connect: Connect,
    request: TelemetryRequest,
    members: TelemetryMembers,
) -> TelemetryPage:
    """Return one page of records, oldest first.

    Raises:
        UnsupportedError: The server keeps no records, as a real hawkBit does not.
    """
    selector = fiql.selector_query(request.target)
    devices: frozenset[str] | None = None
    if selector and request.device is None:

        def find() -> Iterable[str]:
            with connect(None) as client:
                return Scope(client, selector).find()

        devices = members.of(request, find)

    def wanted(record: TelemetryRecord) -> bool:
        return _wanted(record, request, devices)

    if config.telemetry_files:
        pattern = str(in_project(config.telemetry_files, project_dir))
        found, after = read_otlp_files(
            pattern, wanted=wanted, cursor=request.cursor, limit=request.limit
        )
        return TelemetryPage(records=found, next=after)
    with connect(config.telemetry_server) as client:
        page = _ask(client, request)
    return TelemetryPage(records=tuple(filter(wanted, page.records)), next=page.next)


def _ask(client: Client, request: TelemetryRequest) -> RecordsPage:
    query: dict[str, str | int | bool] = {
        "application": request.application,
        "since": request.since_unix_ns,
        "limit": request.limit,
        "cursor": request.cursor,
    }
    if request.kind is not None:
        query["kind"] = request.kind.value
    if request.device is not None:
        query["device"] = request.device
    try:
        return client.get("read telemetry", RECORDS, RecordsPage, query)
    except NotFoundError as exc:
        raise UnsupportedError(
            f"'{client.server}' keeps no telemetry",
            hint="set `telemetry_url` of providers.selfhosted to a hub, or `telemetry_files` to "
            "what an OpenTelemetry collector writes",
            vendor_code=exc.vendor_code,
        ) from exc


def _wanted(
    record: TelemetryRecord, request: TelemetryRequest, devices: frozenset[str] | None
) -> bool:
    return (
        record.application == request.application
        and record.time_unix_ns >= request.since_unix_ns
        and request.kind in {None, record.kind}
        and request.device in {None, record.device}
        and (devices is None or record.device in devices)
    )
