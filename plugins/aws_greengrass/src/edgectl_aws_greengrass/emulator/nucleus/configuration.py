"""Decides a component's configuration: the recipe's defaults, what a deployment resets and merges.

Reset comes before merge, a reset key takes the recipe's default again, lists are replaced whole,
and what is not touched stays from deployment to deployment. Source: developer guide,
update-component-configurations.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

Configuration = dict[str, Any]


class PointerError(ValueError):
    """Nothing is there, or the text is no JSON pointer."""


def pointer_parts(pointer: str) -> list[str]:
    """Split a JSON pointer (RFC 6901); "" is the whole document.

    Raises:
        PointerError: It does not begin with a slash.
    """
    if not pointer:
        return []
    if not pointer.startswith("/"):
        raise PointerError(f"'{pointer}' is no JSON pointer")
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/")]


def look_up(document: object, parts: Iterable[str]) -> object:
    """Return what is at a place.

    Raises:
        PointerError: Nothing is.
    """
    found = document
    for part in parts:
        if isinstance(found, Mapping) and part in found:
            found = found[part]
        elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        else:
            raise PointerError(f"nothing is at '{part}'")
    return found


def updated(
    current: Mapping[str, Any] | None,
    defaults: Mapping[str, Any],
    reset: Iterable[str],
    merge: Mapping[str, Any] | None,
) -> Configuration:
    """Return the configuration after a deployment.

    Args:
        current: What the device had, None for a component that it did not have.
        defaults: The new version's.
        reset: JSON pointers.
        merge: What is laid over the rest.
    """
    found: Configuration = copy.deepcopy(dict(defaults))
    if current is not None:
        found = merged(found, current)
    for pointer in reset:
        _reset(found, defaults, pointer_parts(pointer))
    return merged(found, merge or {})


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> Configuration:
    """Return a map with another laid over it, maps key by key and all else whole."""
    found = copy.deepcopy(dict(base))
    for key, value in over.items():
        known = found.get(key)
        if isinstance(value, Mapping) and isinstance(known, Mapping):
            found[key] = merged(known, value)
        else:
            found[key] = copy.deepcopy(value)
    return found


def _reset(document: Configuration, defaults: Mapping[str, Any], parts: list[str]) -> None:
    if not parts:
        document.clear()
        document.update(copy.deepcopy(dict(defaults)))
        return
    try:
        parent = look_up(document, parts[:-1])
    except PointerError:
        return
    if not isinstance(parent, dict):
        return
    parent.pop(parts[-1], None)
    try:
        parent[parts[-1]] = copy.deepcopy(look_up(defaults, parts))
    except PointerError:
        return
