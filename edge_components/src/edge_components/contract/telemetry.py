"""The telemetry record: prediction, health, event or drift, in OpenTelemetry's terms.

On the wire it is an OTLP log record in JSON (OpenTelemetry protocol 1.x, ``/v1/logs``): the
resource names the device, ``edgectl.kind`` the kind, ``edgectl.id`` lets a receiver drop
duplicates (delivery is at least once), and ``edgectl.sequence`` orders a device's records.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Any

import msgspec

from edge_components.contract.jsonio import decoder

Value = str | int | float | bool
BRISK_RECORDS = 10
BRISK_SHARE = 1 / 6
"""After a switch, so many health records come after this share of the usual interval each."""


class Kind(enum.StrEnum):
    """What a record tells."""

    PREDICTION = "prediction"
    HEALTH = "health"
    EVENT = "event"
    DRIFT = "drift"


class TelemetryRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a device tells.

    Attributes:
        id: Unique for ever; a receiver drops a second record with the same id.
        time_unix_ns: When it happened on the device's clock, nanoseconds since 1970 UTC.
        queued_unix_ns: When it was safe on the device's disk, by the same clock (OTLP's observed
            time); 0 where unknown.
        sequence: Rises with each record of a device, whatever its clock does; 0 where unknown.
        severity: OTLP severity number: 9 info, 13 warning, 17 error.
        body: A short text for people.
        attributes: Flat values; names follow OpenTelemetry where it has one.
    """

    id: str
    kind: Kind
    time_unix_ns: int
    device: str
    application: str = ""
    release: int = 0
    package: str = ""
    severity: int = 9
    body: str = ""
    attributes: dict[str, Value] = {}
    sequence: int = 0
    queued_unix_ns: int = 0


_RESOURCE = {
    "device.id": "device",
    "service.name": "application",
    "edgectl.release": "release",
    "edgectl.package": "package",
}


def to_otlp(records: Iterable[TelemetryRecord]) -> bytes:
    """Encode records as an OTLP/HTTP JSON ``ExportLogsServiceRequest``."""
    groups: dict[tuple[Value, ...], list[dict[str, Any]]] = {}
    for record in records:
        key = tuple(getattr(record, field) for field in _RESOURCE.values())
        groups.setdefault(key, []).append(_log_record(record))
    resource_logs = [
        {
            "resource": {"attributes": _attributes(dict(zip(_RESOURCE, key, strict=True)))},
            "scopeLogs": [{"scope": {"name": "edgectl"}, "logRecords": logs}],
        }
        for key, logs in groups.items()
    ]
    return msgspec.json.encode({"resourceLogs": resource_logs})


class _AnyValue(msgspec.Struct, rename="camel"):
    string_value: str | None = None
    int_value: int | str | None = None
    double_value: float | None = None
    bool_value: bool | None = None

    def plain(self) -> Value:
        if self.string_value is not None:
            return self.string_value
        if self.int_value is not None:
            return int(self.int_value)
        if self.double_value is not None:
            return self.double_value
        return bool(self.bool_value)


class _Attribute(msgspec.Struct):
    key: str
    value: _AnyValue = msgspec.field(default_factory=_AnyValue)


class _LogRecord(msgspec.Struct, rename="camel"):
    time_unix_nano: int | str = 0
    observed_time_unix_nano: int | str = 0
    severity_number: int = 9
    body: _AnyValue = msgspec.field(default_factory=lambda: _AnyValue(string_value=""))
    attributes: list[_Attribute] = []


class _ScopeLogs(msgspec.Struct, rename="camel"):
    log_records: list[_LogRecord] = []


class _Resource(msgspec.Struct):
    attributes: list[_Attribute] = []


class _ResourceLogs(msgspec.Struct, rename="camel"):
    resource: _Resource = msgspec.field(default_factory=_Resource)
    scope_logs: list[_ScopeLogs] = []


class _Request(msgspec.Struct, rename="camel"):
    resource_logs: list[_ResourceLogs] = []


def from_otlp(data: bytes) -> list[TelemetryRecord]:
    """Read the records of an OTLP/HTTP JSON request; log records that are not ours are left out.

    Raises:
        msgspec.DecodeError: The request is not OTLP JSON.
    """
    request = decoder(_Request).decode(data)
    decoder(TelemetryRecord)  # what `convert` needs to know of it; targets are read side by side
    return [
        record
        for group in request.resource_logs
        for scope in group.scope_logs
        for log in scope.log_records
        if (record := _record(group.resource, log)) is not None
    ]


def _record(resource: _Resource, log: _LogRecord) -> TelemetryRecord | None:
    about = {a.key: a.value.plain() for a in resource.attributes}
    attributes = {a.key: a.value.plain() for a in log.attributes}
    identity = attributes.pop("edgectl.id", None)
    kind = attributes.pop("edgectl.kind", None)
    sequence = attributes.pop("edgectl.sequence", 0)
    if not isinstance(identity, str) or kind not in set(Kind):
        return None
    fields = {field: about[name] for name, field in _RESOURCE.items() if name in about}
    return msgspec.convert(
        {
            "id": identity,
            "kind": kind,
            "time_unix_ns": int(log.time_unix_nano),
            "severity": log.severity_number,
            "body": str(log.body.plain()),
            "attributes": attributes,
            "sequence": sequence if isinstance(sequence, int) else 0,
            "queued_unix_ns": int(log.observed_time_unix_nano),
            "device": "",
            **fields,
        },
        TelemetryRecord,
        strict=False,
    )


def _log_record(record: TelemetryRecord) -> dict[str, Any]:
    identity: dict[str, Value] = {"edgectl.id": record.id, "edgectl.kind": record.kind.value}
    if record.sequence:
        identity["edgectl.sequence"] = record.sequence
    observed = {"observedTimeUnixNano": str(record.queued_unix_ns)} if record.queued_unix_ns else {}
    return {
        "timeUnixNano": str(record.time_unix_ns),
        **observed,
        "severityNumber": record.severity,
        "body": {"stringValue": record.body},
        "attributes": _attributes({**identity, **record.attributes}),
    }


def _attributes(values: dict[str, Value]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _any_value(value)} for key, value in values.items()]


def _any_value(value: Value) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case _:
            return {"stringValue": value}
