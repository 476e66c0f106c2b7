"""``edgectl doctor``."""

from __future__ import annotations

import platform
from typing import Any

import click

from edgectl.cli.app import App, command
from edgectl.errors import EdgectlError
from edgectl.requests import CheckRequest
from edgectl.session import Session

COLUMNS = ("check", "ok", "detail", "hint")


@click.command()
@click.option("--provider", metavar="NAME", help="Only this provider.")
@command
def doctor(app: App, provider: str | None) -> None:
    """Check the project, credentials and prerequisites; changes nothing.

    Exits 0 when everything is in order, 1 when something is not.
    """
    session = app.session()
    rows = [_row("python", True, platform.python_version()), _project_row(session)]
    names = sorted({t.provider for t in session.project.spec.targets.values()})
    for name in [provider] if provider else names:
        rows += _provider_rows(session, name)
    app.out.rows(rows, COLUMNS)
    if not all(row["ok"] == "yes" for row in rows):
        click.get_current_context().exit(1)


def _project_row(session: Session) -> dict[str, Any]:
    spec = session.project.spec
    return _row("project", True, f"{spec.name} {spec.version}, {len(spec.targets)} targets")


def _provider_rows(session: Session, name: str) -> list[dict[str, Any]]:
    targets = tuple(
        session.project.target(target)
        for target, spec in sorted(session.project.spec.targets.items())
        if spec.provider == name
    )
    try:
        findings = session.provider(name).check(CheckRequest(targets=targets))
    except EdgectlError as exc:
        return [_row(name, False, exc.message, exc.hint)]
    return [_row(f"{name}: {f.name}", f.ok, f.detail, f.hint) for f in findings]


def _row(check: str, ok: bool, detail: str, hint: str = "") -> dict[str, Any]:
    return {"check": check, "ok": "yes" if ok else "NO", "detail": detail, "hint": hint}
