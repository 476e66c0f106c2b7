"""What the memory provider writes down: releases, and what virtual devices told.

Records are numbered without gaps, also when the oldest fall out, so a cursor stays right.
"""

from __future__ import annotations

from collections.abc import Iterable

from edge_components.contract.telemetry import Kind, TelemetryRecord
from edgectl.errors import ConflictError, NotFoundError
from edgectl.records import Release, ReleaseRecord
from edgectl.requests import TelemetryRequest
from edgectl.testing.memory_fleet import Behaviour, FleetState, behaviour_of, step

MAX_TELEMETRY = 20_000


def add_release(state: FleetState, release: Release, now: float) -> None:
    """Remember a release.

    Raises:
        ConflictError: Its number exists with other content.
    """
    document = release.document
    known = state.releases.setdefault(document.application, [])
    content = document.content_digest()
    for record in known:
        if record.number == document.number and record.content != content:
            raise ConflictError(
                f"release {document.number} of '{document.application}' exists with package "
                f"{record.package}",
                hint="give the new content a new release number",
            )
        if record.number == document.number:
            return
    known.append(
        ReleaseRecord(
            number=document.number,
            package=document.package,
            version=document.version,
            content=content,
            created_at=now,
        )
    )


def require_release(state: FleetState, release: Release) -> None:
    """Check that a release was brought here.

    Raises:
        NotFoundError: It was not.
    """
    known = state.releases.get(release.application, [])
    content = release.document.content_digest()
    if not any(r.number == release.number and r.content == content for r in known):
        raise NotFoundError(
            f"release {release.number} of '{release.application}' was not brought here",
            hint="the hook `package` comes before `deploy`",
        )


def find_records(
    state: FleetState, request: TelemetryRequest, devices: frozenset[str], size: int
) -> tuple[list[TelemetryRecord], str]:
    """Return a page of records, and the number of the record where the next one begins."""
    first = state.told - len(state.telemetry)
    start = max(int(request.cursor or 0) - first, 0)
    found: list[TelemetryRecord] = []
    for number, record in enumerate(state.telemetry[start:], start=first + start):
        if (
            record.device in devices
            and record.application == request.application
            and request.kind in {None, record.kind}
            and request.device in {None, record.device}
            and record.time_unix_ns >= request.since_unix_ns
        ):
            if len(found) == size:
                return found, str(number)
            found.append(record)
    return found, ""


def advance(
    state: FleetState,
    application: str,
    devices: Iterable[str],
    behaviours: dict[str, Behaviour],
    now: float,
) -> None:
    """Move the devices that are under way by one step; those whose state changed tell it."""
    given = state.given.get(application, {})
    moving = ((name, given[name]) for name in devices if name in given)
    moved = [
        name
        for name, one in moving
        if not one.state.is_settled and step(one, behaviour_of(behaviours, name, one.version), now)
    ]
    last_ns = state.telemetry[-1].time_unix_ns if state.telemetry else 0
    _tell(state, application, moved, max(int(now * 1e9), last_ns))


def _tell(state: FleetState, application: str, moved: Iterable[str], time_ns: int) -> None:
    """Add one event for each device that moved; the oldest records fall out."""
    for device in moved:
        given = state.given[application][device]
        state.told += 1
        failed = given.state.is_failure
        state.telemetry.append(
            TelemetryRecord(
                id=f"{state.told}-{device}",
                kind=Kind.EVENT,
                time_unix_ns=time_ns,
                device=device,
                application=application,
                release=given.release,
                package=given.package,
                severity=17 if failed else 9,
                body=f"release {given.release}: {given.state}",
                attributes={"state": given.state.value, "reason": given.reason},
            )
        )
    del state.telemetry[:-MAX_TELEMETRY]
