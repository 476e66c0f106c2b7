"""Structured merge: what an object sets, how two differ, and how they are merged and pruned.

The rules are those of Kubernetes' structured-merge-diff: structures and maps merge by key, lists
that are maps by their items' keys, sets by value; atomic things and leaves are taken whole. Values
are plain JSON; nothing is changed in place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edgectl_gke_edge.emulator.kube.fieldsets import (
    EMPTY,
    Element,
    FieldSet,
    Item,
    Member,
    Name,
    Path,
    below,
    told,
)
from edgectl_gke_edge.emulator.kube.schema import (
    KEY_DEFAULTS,
    ListOf,
    MapOf,
    Node,
    Scalar,
    Struct,
)

ABSENT: Any = object()


class StructureError(Exception):
    """An applied object cannot be merged: a list's item has no key, or has it twice."""


@dataclass(frozen=True)
class Comparison:
    """How an object differs from an older one; added and removed include containers."""

    added: FieldSet
    modified: FieldSet
    removed: FieldSet


def is_atomic(node: Node) -> bool:
    """Say whether a value of this shape has one owner and is replaced whole."""
    return isinstance(node, Scalar) or node.atomic


def child(node: Node, name: str) -> Node:
    """Return the shape of a structure's field or a map's value."""
    if isinstance(node, Struct):
        return node.fields.get(name, Scalar("any"))
    return node.value if isinstance(node, MapOf) else Scalar("any")


def element_of(item: Any, node: ListOf, path: Path = ()) -> Element:
    """Name a list's item.

    Raises:
        StructureError: It lacks a key.
    """
    if node.is_set:
        return Member(item)
    keys = {key: item.get(key, KEY_DEFAULTS.get(key, ABSENT)) for key in node.keys}
    missing = [key for key, value in keys.items() if value is ABSENT]
    if missing:
        message = f"{told(path)}: element 0: associative list with keys has an element that omits"
        raise StructureError(f"{message} key field {missing[0]!r} (and doesn't have default value)")
    return Item(tuple(sorted(keys.items())))


def items_of(value: list[Any], node: ListOf, path: Path = ()) -> dict[Element, Any]:
    """Return a list's items by their names, in order.

    Raises:
        StructureError: Two have the same name.
    """
    found: dict[Element, Any] = {}
    for item in value:
        element = element_of(item, node, path)
        if element in found:
            raise StructureError(f"{told(path)}: duplicate entries for key {element}")
        found[element] = item
    return found


def field_set(value: Any, node: Node) -> FieldSet:
    """Return what an applied object sets: its leaves, map entries and list items.

    Raises:
        StructureError: A list's items cannot be told apart.
    """
    return frozenset(_set_fields(value, node, ()))


def _set_fields(value: Any, node: Node, path: Path) -> Iterator[Path]:
    if is_atomic(node):
        yield path
    elif isinstance(node, ListOf):
        for element, item in items_of(value or [], node, path).items():
            yield (*path, element)
            if not is_atomic(node.item):
                yield from _set_fields(item, node.item, (*path, element))
    else:
        for name, item in (value or {}).items():
            here = (*path, Name(name))
            yield from _set_fields(item, child(node, name), here)
            if item is None or item == {} or isinstance(node, MapOf):
                yield here


def compare(old: Any, new: Any, node: Node) -> Comparison:
    """Say what is added, modified and removed on the way from one object to another."""
    found: dict[str, set[Path]] = {"added": set(), "modified": set(), "removed": set()}
    _compare(old, new, node, (), found)
    return Comparison(
        added=frozenset(found["added"]),
        modified=frozenset(found["modified"]),
        removed=frozenset(found["removed"]),
    )


def _compare(old: Any, new: Any, node: Node, path: Path, found: dict[str, set[Path]]) -> None:
    if old is ABSENT:
        found["added"].add(path)
    elif new is ABSENT:
        found["removed"].add(path)
    if is_atomic(node) or (not _content(old) and not _content(new)):
        if ABSENT not in (old, new) and old != new:
            found["modified"].add(path)
        return
    left, right = _children(old, node, path), _children(new, node, path)
    for element in {**left, **right}:
        before, after = left.get(element, ABSENT), right.get(element, ABSENT)
        if isinstance(node, ListOf):
            below_it = _shape(node, before if isinstance(before, _Several) else after)
        else:
            below_it = child(node, _name(element))
        _compare(before, after, below_it, (*path, element), found)


def _content(value: Any) -> bool:
    return value is not ABSENT and bool(value)


def _name(element: Element) -> str:
    return element.name if isinstance(element, Name) else ""


def _children(value: Any, node: Node, path: Path) -> dict[Element, Any]:
    if value is ABSENT or not value:
        return {}
    if isinstance(node, ListOf):
        return _lenient(value, node, path)
    return {Name(name): item for name, item in value.items()}


class _Several(list[Any]):
    """Items of a live list that have the same key: an update may store that, an apply may not."""


def _lenient(value: list[Any], node: ListOf, path: Path) -> dict[Element, Any]:
    """Take items of live objects as they are."""
    found: dict[Element, Any] = {}
    for item in value:
        element = element_of(item, node, path)
        if element in found:
            before = found[element]
            before = before if isinstance(before, _Several) else _Several([before])
            found[element] = _Several([*before, item])
        else:
            found[element] = item
    return found


def _shape(node: ListOf, item: Any) -> Node:
    """Items of the same key are one leaf together."""
    return Scalar("any") if isinstance(item, _Several) else node.item


def merge(live: Any, applied: Any, node: Node, path: Path = ()) -> Any:
    """Merge an applied object into the live one.

    Raises:
        StructureError: A list's items cannot be told apart.
    """
    if live is ABSENT or is_atomic(node) or applied is None:
        return applied
    if isinstance(node, ListOf):
        return _merge_lists(live or [], applied, node, path)
    merged = dict(live or {})
    for name, item in applied.items():
        merged[name] = merge(merged.get(name, ABSENT), item, child(node, name), (*path, Name(name)))
    return merged


def _merge_lists(live: list[Any], applied: list[Any], node: ListOf, path: Path) -> list[Any]:
    """Keep the applied order; items of the live list alone stay where they stood before others."""
    left, right = _lenient(live, node, path), items_of(applied, node, path)
    merged: list[Any] = []
    queue = list(right)
    for element, item in left.items():
        if element not in right:
            merged += item if isinstance(item, _Several) else [item]
            continue
        while queue and element in queue:
            name = queue.pop(0)
            merged.append(merge(_single(left, name), right[name], node.item, (*path, name)))
            if name == element:
                break
    rest = [merge(_single(left, n), right[n], node.item, (*path, n)) for n in queue]
    return merged + rest


def _single(items: dict[Element, Any], name: Element) -> Any:
    """Return an item to merge with; of several with one key none is kept."""
    found = items.get(name, ABSENT)
    return ABSENT if isinstance(found, _Several) else found


def named_members(fields: FieldSet, node: Node) -> FieldSet:
    """Add the structures' fields that have something below them."""
    extra: set[Path] = set()
    for path in fields:
        here = node
        for depth, element in enumerate(path[:-1], 1):
            if isinstance(element, Name):
                if isinstance(here, Struct) and element.name in here.fields:
                    extra.add(path[:depth])
                here = child(here, element.name)
            else:
                here = here.item if isinstance(here, ListOf) else Scalar("any")
    return fields | extra


def without(value: Any, node: Node, gone: FieldSet) -> Any:
    """Return the value without the places of a set; containers that become empty go too."""
    if is_atomic(node) or not value or not gone:
        return value
    if isinstance(node, ListOf):
        kept = []
        for element, item in ((element_of(i, node), i) for i in value):
            if (element,) not in gone:
                kept.append(without(item, node.item, below(gone, element)))
        return kept or ABSENT
    result = {}
    for name, item in value.items():
        element = Name(name)
        if (element,) in gone:
            continue
        left = without(item, child(node, name), below(gone, element))
        if left is not ABSENT:
            result[name] = left
    return result or ABSENT


def prune(merged: Any, node: Node, last: FieldSet, owned: FieldSet) -> Any:
    """Take away what an applier set before and nobody sets now.

    Args:
        merged: The object with what is applied now.
        node: Its shape.
        last: What the same applier set the time before.
        owned: What all managers own after this apply.
    """
    if not last:
        return merged
    everything = _members(merged, node)
    pruned = without(merged, node, named_members(last, node))
    gone = everything - _members(pruned, node) - named_members(owned, node)
    pruned = without(merged, node, gone)
    gone = (everything - _members(pruned, node)) & named_members(last, node)
    result = without(merged, node, gone)
    return {} if result is ABSENT else result


def _members(value: Any, node: Node) -> FieldSet:
    if value is ABSENT:
        return EMPTY
    return named_members(frozenset(_live_fields(value, node, ())), node)


def _live_fields(value: Any, node: Node, path: Path) -> Iterator[Path]:
    """As ``_set_fields``, but for a live object, whose lists may hold a key twice."""
    if is_atomic(node):
        yield path
    elif isinstance(node, ListOf):
        for element, item in _lenient(value or [], node, path).items():
            yield (*path, element)
            if not is_atomic(_shape(node, item)):
                yield from _live_fields(item, node.item, (*path, element))
    else:
        for name, item in (value or {}).items():
            here = (*path, Name(name))
            yield from _live_fields(item, child(node, name), here)
            if item is None or item == {} or isinstance(node, MapOf):
                yield here
