"""``edgectl providers``."""

from __future__ import annotations

from typing import Any

import click

from edgectl import hookspecs
from edgectl.cli.app import App, command
from edgectl.errors import EdgectlError
from edgectl.plugins import DISTRIBUTIONS, installed_providers, load_provider_class

COLUMNS = ("provider", "installed", "does", "lacks")


@click.command()
@command
def providers(app: App) -> None:
    """List providers, whether they are installed, and which hooks each implements."""
    installed = installed_providers()
    rows = [_row(name, name in installed) for name in sorted({*DISTRIBUTIONS, *installed})]
    app.out.rows(rows, COLUMNS)


def hook_names() -> list[str]:
    """Return the names of all hooks, in the order of the reference."""
    return [n for n, f in vars(hookspecs).items() if hasattr(f, f"{hookspecs.PROJECT}_spec")]


def _row(name: str, installed: bool) -> dict[str, Any]:
    if not installed:
        hint = f"pip install {DISTRIBUTIONS[name]}"
        return {"provider": name, "installed": "no", "does": hint, "lacks": ""}
    try:
        plugin = load_provider_class(name)
    except EdgectlError as exc:
        return {"provider": name, "installed": "broken", "does": exc.message, "lacks": ""}
    marker = f"{hookspecs.PROJECT}_impl"
    does = [hook for hook in hook_names() if hasattr(getattr(plugin, hook, None), marker)]
    lacks = [hook for hook in hook_names() if hook not in does]
    everything = "everything" if not lacks else ", ".join(does)
    return {
        "provider": name,
        "installed": "yes",
        "does": everything,
        "lacks": ", ".join(lacks),
    }
