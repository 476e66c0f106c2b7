"""``edgectl init``."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import click
import msgspec

from edgectl.cli.app import App, changes, command
from edgectl.errors import ProjectError
from edgectl.project.spec import Name

TEMPLATE = "edgectl.templates.plates"
DEFAULT_NAME = "plates"
RENAMED = {"gitignore.tmpl": ".gitignore"}


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path())
@click.option("--name", help="The project's name; by default the folder's.")
@command
@changes
def init(app: App, folder: Path, name: str | None) -> None:
    """Write a new project into FOLDER: a complete example to change.

    It trains a digit reader and rolls it out to a self-hosted fleet. Nothing that exists is
    overwritten.
    """
    chosen = name or _name_from(folder)
    try:
        msgspec.convert(chosen, Name)
    except msgspec.ValidationError as exc:
        raise click.BadParameter(
            f"'{chosen}' is no project name: small letters, digits and '-' inside, at most 63",
            param_hint="'--name'",
        ) from exc
    files = [item for item in resources.files(TEMPLATE).iterdir() if not _is_code(item.name)]
    targets = {folder / RENAMED.get(item.name, item.name): item for item in files}
    present = sorted(str(path) for path in targets if path.exists())
    if present:
        raise ProjectError(
            f"'{present[0]}' exists already; nothing was written",
            hint="choose an empty folder: edgectl init NAME",
        )
    if app.dry is not None:
        for path in sorted(targets):
            app.dry.note("write", path)
        return
    folder.mkdir(parents=True, exist_ok=True)
    for path, item in targets.items():
        text = item.read_text(encoding="utf-8")
        path.write_text(text.replace("name: parking-plates", f"name: {chosen}"), encoding="utf-8")
    written = sorted(path.name for path in targets)
    app.out.one({"folder": str(folder), "files": written}, f"wrote {', '.join(written)}")
    app.out.note("next: edgectl train, edgectl register, edgectl package, edgectl plan")


def _name_from(folder: Path) -> str:
    plain = re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-")[:63]
    return plain or DEFAULT_NAME


def _is_code(name: str) -> bool:
    return name in {"__init__.py", "__pycache__"}
