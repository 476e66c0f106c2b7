"""Sets of fields: paths, how they are told to people, and ``fieldsV1``, how they are stored.

A path is a tuple of elements: a field or map key by name, a list's item by its keys, or a set's
member by its value. A set is a plain frozenset of paths; a path in it owns that place itself, not
what lies below.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Leaf = str | int | float | bool


@dataclass(frozen=True)
class Name:
    """A field of a structure or a key of a map."""

    name: str

    def __str__(self) -> str:
        return f".{self.name}"

    def stored(self) -> str:
        """Return the key in ``fieldsV1``."""
        return f"f:{self.name}"


@dataclass(frozen=True)
class Item:
    """An item of a list that is a map, by its keys, sorted by their names."""

    keys: tuple[tuple[str, Leaf], ...]

    def __str__(self) -> str:
        return "[" + ",".join(f"{k}={_json(v)}" for k, v in self.keys) + "]"

    def stored(self) -> str:
        """Return the key in ``fieldsV1``."""
        return "k:" + _json(dict(self.keys))


@dataclass(frozen=True)
class Member:
    """A member of a list that is a set."""

    value: Leaf

    def __str__(self) -> str:
        return f"[={_json(self.value)}]"

    def stored(self) -> str:
        """Return the key in ``fieldsV1``."""
        return "v:" + _json(self.value)


Element = Name | Item | Member
Path = tuple[Element, ...]
FieldSet = frozenset[Path]
EMPTY: FieldSet = frozenset()


def told(path: Path) -> str:
    """Write a path as conflicts name it, for example ``.spec.containers[name="x"].image``."""
    return "".join(str(element) for element in path)


def below(fields: FieldSet, element: Element) -> FieldSet:
    """Return the paths under an element, without it."""
    return frozenset(p[1:] for p in fields if len(p) > 1 and p[0] == element)


def path_of(*names: str) -> Path:
    """Make a path of field names."""
    return tuple(Name(name) for name in names)


def to_fields_v1(fields: FieldSet) -> dict[str, Any]:
    """Write a set as ``fieldsV1``; ``.`` marks a place that is in the set and has others below."""
    root: dict[str, Any] = {}
    for path in sorted(fields, key=_order):
        node = root
        for element in path:
            node = node.setdefault(element.stored(), {})
        node["."] = {}
    return _without_lonely_dots(root)


def from_fields_v1(stored: dict[str, Any]) -> FieldSet:
    """Read ``fieldsV1``.

    Raises:
        ValueError: A key is none of ``f:``, ``k:`` and ``v:``.
    """
    return frozenset(_paths(stored, ()))


def _paths(node: dict[str, Any], path: Path) -> Iterable[Path]:
    if not node and path:
        yield path
    for key, below_it in node.items():
        if key == ".":
            yield path
        else:
            yield from _paths(below_it, (*path, _element(key)))


def _element(key: str) -> Element:
    kind, _, rest = key.partition(":")
    if kind == "f":
        return Name(rest)
    if kind == "k":
        return Item(tuple(sorted(json.loads(rest).items())))
    if kind == "v":
        return Member(json.loads(rest))
    raise ValueError(f"'{key}' is no key of fieldsV1")


def _without_lonely_dots(node: dict[str, Any]) -> dict[str, Any]:
    if set(node) == {"."}:
        return {}
    return {k: v if k == "." else _without_lonely_dots(v) for k, v in node.items()}


def _order(path: Path) -> list[str]:
    return [element.stored() for element in path]


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
