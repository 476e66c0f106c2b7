"""``edgectl telemetry plot``."""

from __future__ import annotations

import time
from pathlib import Path

import click

from edge_components.contract.telemetry import Kind, TelemetryRecord
from edgectl.cli.app import App, command, target_options
from edgectl.cli.commands.telemetry_records import Query, all_kinds, since_unix_ns
from edgectl.cli.plot.series import Measure, Panel, panels
from edgectl.cli.summary import by_device

LIMIT = 100_000
_FUTURE_S = 3600


@click.command()
@target_options
@click.option("--device", metavar="ID", help="Only this device.")
@click.option(
    "--since", default="24h", show_default=True, metavar="DURATION", help="How far to look back."
)
@click.option(
    "--file",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    default="telemetry.svg",
    show_default=True,
    metavar="PATH",
    help="Where the picture goes; its ending, .svg or .png, decides what it is.",
)
@click.option(
    "--measure",
    type=click.Choice(["psi", "ks"]),
    default="psi",
    show_default=True,
    help="The measure of drift: population stability index or Kolmogorov-Smirnov distance.",
)
@click.option(
    "--latency-limit",
    "limit_ms",
    type=click.FloatRange(0, min_open=True),
    metavar="MS",
    help="Draw a line at this latency.",
)
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=LIMIT,
    show_default=True,
    help="At most so many records of each kind and target.",
)
@command
def plot(
    app: App,
    *,
    targets: tuple[str, ...],
    providers: tuple[str, ...],
    device: str | None,
    since: str,
    file: Path,
    measure: Measure,
    limit_ms: float | None,
    limit: int,
) -> None:
    """Draw latency and drift over time as SVG or PNG.

    Each target has a diagram of the latency of all answers (p50, p95, p99), one of the p95 of its
    devices, and one of their drift with its threshold. Up to six devices have a line each; of
    more there is the median device, the one at 95 %, and the worst.
    """
    if file.suffix.lower() not in {".svg", ".png"}:
        raise click.BadParameter(f"'{file}' ends neither in .svg nor in .png", param_hint="--file")
    kinds = [Kind.HEALTH, Kind.DRIFT]
    query = Query(kinds=kinds, device=device, since_unix_ns=since_unix_ns(since), limit=limit)
    session = app.session()
    drawn: list[Panel] = []
    seen = 0
    for target in app.choose(session, targets, providers):
        records = _without_future(app, list(all_kinds(app, session, target, query)))
        seen += len(by_device(records))
        drawn += panels(target.name, records, measure=measure, limit_ms=limit_ms)
    file.write_bytes(_rendered(drawn, file.suffix.lower()))
    if not seen:
        app.out.note("there are no records in this time")
    app.out.one(
        {"file": str(file), "devices": seen, "diagrams": [panel.title for panel in drawn]},
        str(file),
    )


def _without_future(app: App, records: list[TelemetryRecord]) -> list[TelemetryRecord]:
    latest = time.time_ns() + _FUTURE_S * 10**9
    known = [record for record in records if record.time_unix_ns <= latest]
    if len(known) < len(records):
        app.out.note(f"{len(records) - len(known)} records from the future are left out")
    return known


def _rendered(drawn: list[Panel], suffix: str) -> bytes:
    if suffix == ".png":
        from edgectl.cli.plot import png  # noqa: PLC0415 - only a PNG pays for Pillow

        return png.render(drawn)
    from edgectl.cli.plot import svg  # noqa: PLC0415 - see above

    return svg.render(drawn)
