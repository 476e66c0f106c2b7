"""``edgectl telemetry``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from edge_components.contract.telemetry import Kind, TelemetryRecord
from edgectl.cli.app import App, command, target_options
from edgectl.cli.summary import is_misdated, summarize, whole
from edgectl.cli.summary_rows import COLUMNS as SUMMARY_COLUMNS
from edgectl.cli.summary_rows import row as summary_row
from edgectl.cli.summary_rows import text_row as summary_text
from edgectl.durations import parse_duration
from edgectl.records import Target
from edgectl.requests import TelemetryRequest
from edgectl.session import Session

COLUMNS = ("time", "device", "kind", "release", "body", "attributes")
LIMIT = 100
SUMMARY_LIMIT = 10_000


@click.command()
@target_options
@click.option(
    "--kind", type=click.Choice([str(kind) for kind in Kind]), help="Only records of this kind."
)
@click.option("--device", metavar="ID", help="Only records of this device.")
@click.option(
    "--since", default="1h", show_default=True, metavar="DURATION", help="How far to look back."
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    help="At most so many records; 100, and for a summary 10,000 of each kind.",
)
@click.option(
    "--summary", is_flag=True, help="The picture of each target and device instead of records."
)
@command
def telemetry(
    app: App,
    *,
    targets: tuple[str, ...],
    provider: str | None,
    kind: str | None,
    device: str | None,
    since: str,
    limit: int | None,
    summary: bool,
) -> None:
    """Show what the devices told, oldest first.

    A summary has one row a target and one a device: answers, error rate, latencies, drift, lost
    records, classes of the recorded predictions, what the machine suffers from, and when it was
    last heard. A time with a question mark is one that the device did not know.
    """
    try:
        look_back = parse_duration(since)
    except ValueError as exc:
        raise click.BadParameter(str(exc), param_hint="--since") from exc
    session = app.session()
    start = time.time_ns() - int(look_back * 1e9)
    chosen = app.choose(session, targets, provider)
    if summary:
        kinds = [Kind(kind)] if kind else list(Kind)
        query = Query(kinds=kinds, device=device, since_unix_ns=start, limit=limit or SUMMARY_LIMIT)
        app.out.rows(_summary(app, session, chosen, query), SUMMARY_COLUMNS, empty="no records")
        return
    as_row = text_row if app.out.form == "text" else row
    rows = (
        as_row(target, record)
        for target in chosen
        for record in records(
            session, target, kind=kind, device=device, since_unix_ns=start, limit=limit or LIMIT
        )
    )
    app.out.rows(rows, COLUMNS, empty="no records")


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which records are looked at; ``limit`` is of each kind and target."""

    kinds: list[Kind]
    device: str | None
    since_unix_ns: int
    limit: int


def _summary(
    app: App, session: Session, targets: list[Target], query: Query
) -> list[dict[str, Any]]:
    as_row = summary_text if app.out.form == "text" else summary_row
    rows = []
    for target in targets:
        pictures = summarize(all_kinds(app, session, target, query))
        if pictures:
            rows += [
                as_row(target.name, picture, stamp(picture.last_seen_unix_ns))
                for picture in (whole(pictures), *pictures)
            ]
    return rows


def all_kinds(
    app: App, session: Session, target: Target, query: Query
) -> Iterator[TelemetryRecord]:
    """Yield the records of each kind, and say where there are more."""
    for kind in query.kinds:
        found = records(
            session,
            target,
            kind=kind,
            device=query.device,
            since_unix_ns=query.since_unix_ns,
            limit=query.limit,
        )
        count = 0
        for record in found:
            count += 1
            yield record
        if count == query.limit:
            app.out.note(
                f"{target.name}: only the oldest {count} {kind} records are looked at;"
                " a shorter --since or a higher --limit shows the newest"
            )


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
    return {
        "target": target.name,
        "time": stamp(record.time_unix_ns),
        "misdated": is_misdated(record),
        "device": record.device,
        "kind": str(record.kind),
        "release": record.release,
        "package": record.package,
        "severity": record.severity,
        "sequence": record.sequence,
        "body": record.body,
        "attributes": _short(record),
    }


def text_row(target: Target, record: TelemetryRecord) -> dict[str, Any]:
    """Return a record as a row for a terminal."""
    plain = row(target, record)
    return {**plain, "time": plain["time"] + "?"} if plain["misdated"] else plain


def stamp(time_unix_ns: int) -> str:
    """Return a time as text (RFC 3339, UTC)."""
    when = datetime.fromtimestamp(time_unix_ns / 1e9, UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _short(record: TelemetryRecord) -> str:
    parts = (
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in sorted(record.attributes.items())
    )
    return " ".join(parts)
