"""Decides what the variables in scripts and environments stand for.

``{artifacts:path}``, ``{artifacts:decompressedPath}``, ``{work:path}``, ``{kernel:rootPath}``,
``{iot:thingName}``, ``{configuration:/json/pointer}``; with a component's name in front
(``{name:artifacts:path}``) the same of a direct dependency. What is not known stays as it is
written. Source: developer guide, component-recipe-reference, recipe variables.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgectl.api import Record
from edgectl_aws_greengrass.emulator.nucleus.configuration import (
    PointerError,
    look_up,
    pointer_parts,
)

_VARIABLE = re.compile(
    r"\{(?:([A-Za-z0-9_.-]+):)?(artifacts|work|kernel|iot|configuration):([^{}]+)\}"
)


class Places(Record, frozen=True, kw_only=True):
    """What one component's variables stand for."""

    artifacts: Path
    unarchived: Path
    work: Path
    root: Path
    thing: str
    configuration: dict[str, Any]


def fill(text: str, own: Places, dependencies: Mapping[str, Places]) -> str:
    """Return a text with its variables replaced."""

    def replace(match: re.Match[str]) -> str:
        name, kind, key = match.groups()
        places = own if name is None else dependencies.get(name)
        found = None if places is None else _value(places, kind, key)
        return match.group() if found is None else found

    return _VARIABLE.sub(replace, text)


def _value(places: Places, kind: str, key: str) -> str | None:
    values: dict[tuple[str, str], Callable[[], str]] = {
        ("artifacts", "path"): lambda: str(places.artifacts),
        ("artifacts", "decompressedPath"): lambda: str(places.unarchived),
        ("work", "path"): lambda: str(places.work),
        ("kernel", "rootPath"): lambda: str(places.root),
        ("iot", "thingName"): lambda: places.thing,
    }
    if (kind, key) in values:
        return values[kind, key]()
    return _configured(places.configuration, key) if kind == "configuration" else None


def _configured(configuration: Mapping[str, Any], pointer: str) -> str | None:
    try:
        found = look_up(configuration, pointer_parts(pointer))
    except PointerError:
        return None
    if isinstance(found, str):
        return found
    return json.dumps(found, separators=(",", ":"))
