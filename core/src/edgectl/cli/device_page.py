"""What is known of one device: where it stands, how its machine is, and how fast it is.

State comes from the provider, the rest from what the device told: its newest health record, and
its last ``edge-runtime bench``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from edge_components.contract.bench import BenchReport, from_attributes, table
from edge_components.contract.telemetry import Kind, TelemetryRecord, Value
from edgectl.cli.commands.telemetry_records import records
from edgectl.cli.summary import HOST
from edgectl.records import Target
from edgectl.session import Session

LIMIT = 10_000
_DAY_S = 86_400
_YEAR_9999_S = 253_370_000_000
_HEALTH_WINDOWS_S = (3600, _DAY_S, 30 * _DAY_S)
_BENCH_WINDOWS_S = (_DAY_S, 7 * _DAY_S, 30 * _DAY_S, 365 * _DAY_S)
T = TypeVar("T")


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a device told of itself.

    Attributes:
        health: The machine, by the newest health record.
        health_unix_ns: When that was, by the device's clock.
        bench: The last bench, or None.
    """

    health: dict[str, Value] = {}
    health_unix_ns: int = 0
    bench: BenchReport | None = None


def read_told(session: Session, target: Target, device: str) -> Told:
    """Read what a device told; nothing where the provider keeps no telemetry."""
    if not session.provider(target.provider).supports("telemetry"):
        return Told()

    def newest(kind: Kind, windows_s: tuple[int, ...], read: Callable[[Any], T | None]) -> T | None:
        # Records come oldest first, so a short time is looked at before a long one.
        for window_s in windows_s:
            since = time.time_ns() - window_s * 10**9
            found = records(
                session, target, kind=kind, device=device, since_unix_ns=since, limit=LIMIT
            )
            told = [value for record in found if (value := read(record)) is not None]
            if told:
                return told[-1]
        return None

    health = newest(Kind.HEALTH, _HEALTH_WINDOWS_S, lambda record: record)
    bench = newest(Kind.EVENT, _BENCH_WINDOWS_S, lambda record: from_attributes(record.attributes))
    if not isinstance(health, TelemetryRecord):
        return Told(bench=bench)
    host = {name: health.attributes[name] for name in HOST if name in health.attributes}
    return Told(health=host, health_unix_ns=health.time_unix_ns, bench=bench)


def as_row(row: dict[str, Any], told: Told) -> dict[str, Any]:
    """Return everything as plain data, for JSON."""
    bench = None if told.bench is None else msgspec.to_builtins(told.bench)
    health = {**told.health, "time": _stamp(told.health_unix_ns / 1e9)} if told.health else None
    return {**row, "health": health, "bench": bench}


def as_text(row: dict[str, Any], told: Told) -> str:
    """Return everything as text: state, machine, bench."""
    parts = ["\n".join(f"{key:20} {value}" for key, value in row.items() if value)]
    if told.health:
        lines = [f"{name:24} {_shown(name, value)}" for name, value in told.health.items()]
        when = _stamp(told.health_unix_ns / 1e9)
        parts.append("\n".join([f"health, {when}", *(f"  {line}" for line in lines)]))
    if told.bench is not None:
        bench = told.bench
        title = f"bench of {bench.model} {bench.version}".rstrip()
        head = f"{title}, {_stamp(bench.at_unix_s)}, {bench.engine}"
        parts.append("\n".join([head, *(f"  {_printable(line)}" for line in table(bench))]))
    return "\n\n".join(parts)


def _shown(name: str, value: Value) -> str:
    if name.endswith("_bytes") and isinstance(value, int):
        return f"{value / (1 << 20):,.0f} MiB"
    if name.endswith("_share") and isinstance(value, (int, float)):
        return f"{value:.0%}"
    return _printable(f"{value:g}" if isinstance(value, float) else str(value))


def _stamp(unix_s: float) -> str:
    if not 0 <= unix_s < _YEAR_9999_S:
        return "an unknown time"
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _printable(text: str) -> str:
    # A device's own words may hold anything; a terminal gets printable characters only.
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
