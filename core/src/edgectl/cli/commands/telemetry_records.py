"""Reading records of targets, for the commands that show them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import click
import msgspec

from edge_components.contract.telemetry import Kind, TelemetryRecord
from edgectl.cli.app import App
from edgectl.durations import parse_duration
from edgectl.records import Target
from edgectl.requests import TelemetryRequest
from edgectl.session import Session


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which records are looked at; ``limit`` is of each kind and target."""

    kinds: list[Kind]
    device: str | None
    since_unix_ns: int
    limit: int


def since_unix_ns(look_back: str) -> int:
    """Return the time so long ago; a wrong duration is a wrong ``--since``."""
    try:
        return time.time_ns() - int(parse_duration(look_back) * 1e9)
    except ValueError as exc:
        raise click.BadParameter(str(exc), param_hint="--since") from exc


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
