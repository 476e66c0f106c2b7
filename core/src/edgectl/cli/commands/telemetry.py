"""``edgectl telemetry``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import click

from edge_components.contract.telemetry import Kind, TelemetryRecord
from edgectl.cli.app import App, command, target_options
from edgectl.durations import parse_duration
from edgectl.records import Target
from edgectl.requests import TelemetryRequest
from edgectl.session import Session

COLUMNS = ("time", "device", "kind", "release", "body", "attributes")


@click.command()
@target_options
@click.option(
    "--kind", type=click.Choice([str(kind) for kind in Kind]), help="Only records of this kind."
)
@click.option("--device", metavar="ID", help="Only records of this device.")
@click.option(
    "--since", default="1h", show_default=True, metavar="DURATION", help="How far to look back."
)
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1), help="At most.")
@command
def telemetry(
    app: App,
    *,
    targets: tuple[str, ...],
    provider: str | None,
    kind: str | None,
    device: str | None,
    since: str,
    limit: int,
) -> None:
    """Show what the devices told, oldest first."""
    try:
        look_back = parse_duration(since)
    except ValueError as exc:
        raise click.BadParameter(str(exc), param_hint="--since") from exc
    session = app.session()
    start = time.time_ns() - int(look_back * 1e9)
    rows = (
        row(target, record)
        for target in app.choose(session, targets, provider)
        for record in records(
            session, target, kind=kind, device=device, since_unix_ns=start, limit=limit
        )
    )
    app.out.rows(rows, COLUMNS, empty="no records")


def records(
    session: Session,
    target: Target,
    *,
    kind: str | None = None,
    device: str | None = None,
    since_unix_ns: int = 0,
    limit: int = 100,
) -> Iterator[TelemetryRecord]:
    """Yield a target's records, oldest first, at most ``limit``."""
    request = TelemetryRequest(
        target=target,
        application=session.project.spec.name,
        kind=Kind(kind) if kind else None,
        device=device,
        since_unix_ns=since_unix_ns,
        limit=min(limit, 500),
    )
    left = limit
    for page in session.provider(target.provider).telemetry(request):
        yield from page.records[:left]
        left -= len(page.records)
        if left <= 0:
            return


def row(target: Target, record: TelemetryRecord) -> dict[str, Any]:
    """Return a record as a row."""
    when = datetime.fromtimestamp(record.time_unix_ns / 1e9, UTC)
    return {
        "target": target.name,
        "time": when.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "device": record.device,
        "kind": str(record.kind),
        "release": record.release,
        "package": record.package,
        "severity": record.severity,
        "body": record.body,
        "attributes": _short(record),
    }


def _short(record: TelemetryRecord) -> str:
    parts = (
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in sorted(record.attributes.items())
    )
    return " ".join(parts)
