"""``edgectl telemetry``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click
from click.core import ParameterSource

from edge_components.contract.telemetry import Kind, TelemetryRecord
from edgectl.cli.app import App, command, target_options
from edgectl.cli.commands.telemetry_plot import plot
from edgectl.cli.commands.telemetry_records import Query, all_kinds, records, since_unix_ns
from edgectl.cli.summary import is_misdated, summarize, whole
from edgectl.cli.summary_rows import COLUMNS as SUMMARY_COLUMNS
from edgectl.cli.summary_rows import row as summary_row
from edgectl.cli.summary_rows import text_row as summary_text
from edgectl.records import Target
from edgectl.session import Session

COLUMNS = ("time", "device", "kind", "release", "body", "attributes")
LIMIT = 100
SUMMARY_LIMIT = 10_000


@click.group(invoke_without_command=True, subcommand_metavar="[plot …]")
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
    providers: tuple[str, ...],
    kind: str | None,
    device: str | None,
    since: str,
    limit: int | None,
    summary: bool,
) -> None:
    """Show what the devices told, oldest first.

    ``edgectl telemetry plot`` draws it.

    A summary has one row a target and one a device: answers, error rate, latencies, drift, lost
    records, classes of the recorded predictions, what the machine suffers from, and when it was
    last heard. A time with a question mark is one that the device did not know.
    """
    context = click.get_current_context()
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return
    start = since_unix_ns(since)
    session = app.session()
    chosen = app.choose(session, targets, providers)
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


def _refuse_options(context: click.Context) -> None:
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
    ]
    if given:
        raise click.UsageError(f"{', '.join(given)} belongs behind '{context.invoked_subcommand}'")


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


telemetry.add_command(plot)
