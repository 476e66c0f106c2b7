"""Commands that installed packages add, through the entry-point group ``edgectl.commands``.

``importlib.metadata`` would find them too, but importing it (``email``, ``zipfile``, ``csv``)
takes as long as a third of click, and ``edgectl --help`` needs names only. This reads the
installed packages' ``entry_points.txt`` itself; the format is the packaging specification's.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from typing import Any

GROUP = "edgectl.commands"


def contributed_commands() -> dict[str, str]:
    """Return the commands' names and where each is: ``module:attribute``."""
    found: dict[str, str] = {}
    for text in _entry_point_files():
        if f"[{GROUP}]" in text:
            for name, place in _section(text):
                found.setdefault(name, place)
    return found


def load_command(place: str) -> Any:
    """Import what stands at ``module:attribute``."""
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _entry_point_files() -> Iterator[str]:
    for folder in sys.path:
        try:
            names = [name for name in os.listdir(folder or ".") if name.endswith(".dist-info")]
        except OSError:
            continue
        for name in names:
            try:
                with open(os.path.join(folder, name, "entry_points.txt"), encoding="utf-8") as file:
                    yield file.read()
            except (OSError, UnicodeDecodeError):
                continue


def _section(text: str) -> Iterator[tuple[str, str]]:
    inside = False
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("["):
            inside = stripped == f"[{GROUP}]"
        elif inside and "=" in stripped and not stripped.startswith(("#", ";")):
            name, _, place = stripped.partition("=")
            yield name.strip(), place.partition("[")[0].strip()
