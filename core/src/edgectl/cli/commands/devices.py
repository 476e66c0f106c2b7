"""``edgectl devices add|list|show|remove``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from edge_components.contract.hardware import PROFILES
from edgectl.cli import device_page
from edgectl.cli.app import App, changes, command, target_options
from edgectl.cli.commands.status import device_rows
from edgectl.errors import EdgectlError, NotFoundError
from edgectl.records import Target
from edgectl.requests import EnrollRequest, RetireRequest
from edgectl.session import Session


@click.group()
def devices() -> None:
    """Add, list, show and remove devices."""


@devices.command()
@click.argument("name")
@click.option("-t", "--target", required=True, metavar="NAME", help="The target it joins.")
@click.option(
    "--hardware",
    type=click.Choice(sorted(PROFILES)),
    metavar="PROFILE",
    help="Its hardware profile; by default the target's.",
)
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label.")
@click.option(
    "--write",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write its files there (mode 0600) instead of printing them.",
)
@command
@changes
def add(
    app: App,
    *,
    name: str,
    target: str,
    hardware: str | None,
    labels: tuple[str, ...],
    folder: Path | None,
) -> None:
    """Make a device known, and get the configuration that it needs to come up.

    The configuration holds the device's own secret: bring it to the device, and nowhere else.
    """
    session = app.session()
    chosen = session.project.target(target)
    profile = hardware or chosen.hardware
    if profile is None:
        raise click.UsageError("the target has no hardware profile: give --hardware")
    result = session.provider(chosen.provider).enroll(
        EnrollRequest(
            target=chosen,
            application=session.project.spec.name,
            name=name,
            hardware=profile,
            publisher_key=session.key().public_pem,
            labels=_labels(labels),
        )
    )
    for note in result.notes:
        app.out.note(note)
    if app.dry is not None and folder is not None:
        app.dry.note("write", f"{folder}/…", facts={"for": f"device {name}"})
    if folder is None:
        text = "\n".join(f"# {file}\n{content}" for file, content in result.files.items())
        app.out.one({"device": result.device.id, "files": result.files}, text)
        return
    written = [str(_write(folder / file, content)) for file, content in result.files.items()]
    app.out.one({"device": result.device.id, "files": written}, "\n".join(written))


@devices.command("list")
@target_options
@command
def list_(app: App, targets: tuple[str, ...], providers: tuple[str, ...]) -> None:
    """List the devices of the project's targets."""
    session = app.session()
    rows = [
        row
        for target in app.choose(session, targets, providers)
        for row in device_rows(session, target)
    ]
    columns = ("target", "device", "hardware", "state", "active", "digest")
    app.out.rows(rows, columns, empty="no device matches")


@devices.command()
@click.argument("name")
@target_options
@command
def show(app: App, name: str, targets: tuple[str, ...], providers: tuple[str, ...]) -> None:
    """Show all that is known of one device: its state, its machine's health, its last bench.

    A bench is what `edge-runtime bench` measured on the device.
    """
    session = app.session()
    for target in app.choose(session, targets, providers):
        for row in device_rows(session, target):
            if row["device"] == name:
                told = _told(app, session, target, name)
                app.out.one(device_page.as_row(row, told), device_page.as_text(row, told))
                return
    raise NotFoundError(f"no device '{name}' is in the project's targets")


@devices.command()
@click.argument("name")
@click.option("-t", "--target", required=True, metavar="NAME", help="The target it is in.")
@command
@changes
def remove(app: App, name: str, target: str) -> None:
    """Make the provider forget a device; what runs on it goes on."""
    session = app.session()
    chosen = session.project.target(target)
    result = session.provider(chosen.provider).retire(RetireRequest(target=chosen, device=name))
    if not result.removed:
        raise NotFoundError(f"provider '{chosen.provider}' knows no device '{name}'")
    app.out.one({"device": name, "removed": True}, f"{name} is removed")


def _told(app: App, session: Session, target: Target, name: str) -> device_page.Told:
    try:
        return device_page.read_told(session, target, name)
    except EdgectlError as exc:
        app.out.note(f"its telemetry cannot be read: {exc.message}")
        return device_page.Told()


def _labels(written: tuple[str, ...]) -> dict[str, str]:
    labels = {}
    for text in written:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise click.BadParameter(f"'{text}' is not KEY=VALUE", param_hint="--label")
        labels[key] = value
    return labels


def _write(path: Path, content: str) -> Path:
    """Write a file that may hold a secret: readable by its owner only from the first byte on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(content)
    part.replace(path)
    return path
