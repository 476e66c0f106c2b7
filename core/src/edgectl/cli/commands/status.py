"""``edgectl status``."""

from __future__ import annotations

from typing import Any

import click

from edgectl.cli.app import App, command, target_options
from edgectl.cli.output import show_error
from edgectl.errors import EdgectlError
from edgectl.records import Target
from edgectl.requests import InventoryRequest, ObserveRequest
from edgectl.session import Session
from edgectl.workflow.shared import Shared

COLUMNS = ("target", "device", "state", "release", "active", "digest", "variant", "reason")


@click.command()
@target_options
@command
def status(app: App, targets: tuple[str, ...], providers: tuple[str, ...]) -> None:
    """Show where each device stands, in its own words.

    ACTIVE is the release that answers now, RELEASE the one that the state is about.
    """
    session = app.session()
    rows = []
    code = 0
    chosen = app.choose(session, targets, providers)
    for target in chosen:
        try:
            rows += device_rows(session, target)
            _show_control(app, session, target)
        except EdgectlError as exc:
            if len(chosen) == 1:
                raise
            # A provider that cannot be asked does not hide the others.
            show_error(f"{target.name}: {exc.message}", exc.hint, exc.vendor_code)
            code = exc.exit_code
    app.out.rows(rows, COLUMNS, empty="no device matches")
    click.get_current_context().exit(code)


def device_rows(session: Session, target: Target) -> list[dict[str, Any]]:
    """Return one row a device of the target."""
    provider = session.provider(target.provider)
    request = ObserveRequest(target=target, application=session.project.spec.name)
    states = {state.device: state for state in provider.observe(request)}
    rows = []
    for device in provider.inventory(InventoryRequest(target=target)):
        state = states.get(device.id)
        rows.append(
            {
                "target": target.name,
                "device": device.id,
                "hardware": device.hardware or target.hardware or "",
                "state": str(state.state) if state else "",
                "release": state.release if state else None,
                "active": state.active_release if state else None,
                "digest": state.active_package if state else "",
                "variant": state.variant if state else "",
                "execution_provider": state.execution_provider if state else "",
                "reason": state.reason if state else "",
                "detail": state.detail if state else "",
                "raw": state.raw if state else "",
                "last_seen": device.last_seen,
            }
        )
    return rows


def _show_control(app: App, session: Session, target: Target) -> None:
    provider = session.provider(target.provider)
    if not provider.supports("coordinate"):
        return
    shared = Shared(provider, target, session.project.spec.name)
    control = shared.control()
    if control is not None and control.phase != "done":
        who = shared.driver()
        driven = f", driven by {who}" if who else ", and nobody drives it"
        about = f"rollout of release {control.release} is in '{control.phase}'"
        app.out.note(f"{target.name}: {about}{driven}")
