"""Decides which documents a condition takes, and what a query answers.

A property that is not there is *undefined*: a comparison with it is undefined too, ``not`` leaves
it so, and a document is taken only for true. Comparisons are between values of one primitive type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from edgectl_azure_iot_edge.emulator.hub.query.tree import (
    Aggregate,
    Binary,
    Call,
    Constant,
    Expression,
    Members,
    Not,
    Path,
    Query,
    kind_of,
)

Document = Mapping[str, Any]


class _Undefined:
    """No value."""


UNDEFINED = _Undefined()


def matches(condition: Expression | None, document: Document, collection: str = "devices") -> bool:
    """Say whether a condition takes a document; None takes all."""
    return condition is None or _value(condition, document, collection) is True


def run(query: Query, documents: Iterable[Document]) -> Iterator[dict[str, Any]]:
    """Return the rows of a query that are documents or projections, or groups."""
    taken = (d for d in documents if matches(query.where, d, query.collection))
    rows = _groups(query, taken) if query.is_aggregate else _rows(query, taken)
    for number, row in enumerate(rows):
        if query.top is not None and number >= query.top:
            return
        yield row


def _rows(query: Query, documents: Iterable[Document]) -> Iterator[dict[str, Any]]:
    for document in documents:
        if query.columns is None:
            yield dict(document)
            continue
        row: dict[str, Any] = {}
        for column in query.columns:
            if isinstance(column.value, Path):
                found = look_up(column.value, document, query.collection)
                if found is not UNDEFINED:
                    row[column.name] = found
        yield row


def _groups(query: Query, documents: Iterable[Document]) -> Iterator[dict[str, Any]]:
    groups: dict[tuple[Any, ...], list[Document]] = {}
    for document in documents:
        values = tuple(look_up(path, document, query.collection) for path in query.group_by)
        groups.setdefault(tuple(map(_key, values)), []).append(document)
    if not query.group_by:
        groups.setdefault((), [])
    for members in groups.values():
        row: dict[str, Any] = {}
        for column in query.columns or ():
            found: Any
            if isinstance(column.value, Aggregate):
                found = _aggregate(column.value, members, query.collection)
            else:
                found = look_up(column.value, members[0], query.collection)
            if found is not UNDEFINED:
                row[column.name] = found
        yield row


def _key(value: Any) -> Any:
    if isinstance(value, dict | list):
        return repr(value)
    return (type(value).__name__, value) if isinstance(value, bool) else value


_FOLDS: Mapping[str, Callable[[list[Any]], Any]] = {
    "sum": sum,
    "min": min,
    "max": max,
    "avg": lambda values: sum(values) / len(values),
}


def _aggregate(aggregate: Aggregate, members: list[Document], collection: str) -> Any:
    if aggregate.function == "count":
        return len(members)
    if aggregate.path is None:
        return UNDEFINED
    values = [look_up(aggregate.path, member, collection) for member in members]
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    return _FOLDS[aggregate.function](numbers) if numbers else UNDEFINED


def look_up(path: Path, document: Document, collection: str) -> Any:
    """Return a property, or ``UNDEFINED``; the collection's name before it may be left out."""
    names = path.names
    for word in collection.split("."):
        # the collection's own words may stand before a property: devices.deviceId
        if len(names) > 1 and names[0].lower() == word and word not in document:
            names = names[1:]
    found: Any = document
    for depth, name in enumerate(names):
        if not isinstance(found, Mapping):
            return UNDEFINED
        if name not in found and depth == 0:
            name = next((k for k in found if k.lower() == name.lower()), name)  # noqa: PLW2901
        if name not in found:
            return UNDEFINED
        found = found[name]
    return found


def _value(node: Expression, document: Document, collection: str) -> Any:
    if isinstance(node, Constant):
        return node.value
    if isinstance(node, Members):
        return UNDEFINED
    if isinstance(node, Path):
        return look_up(node, document, collection)
    if isinstance(node, Not):
        inner = _value(node.inner, document, collection)
        return not inner if isinstance(inner, bool) else UNDEFINED
    if isinstance(node, Call):
        return _call(node, document, collection)
    return _binary(node, document, collection)


def _call(node: Call, document: Document, collection: str) -> Any:
    values = [_value(argument, document, collection) for argument in node.arguments]
    if node.name == "is_defined":
        return values[0] is not UNDEFINED
    text, start = values
    if not isinstance(text, str) or not isinstance(start, str):
        return UNDEFINED
    return text.startswith(start)


def _binary(node: Binary, document: Document, collection: str) -> Any:
    left = _value(node.left, document, collection)
    if node.operator in {"and", "or"}:
        return _logical(node, left, document, collection)
    if isinstance(node.right, Members):
        if left is UNDEFINED:
            return UNDEFINED
        inside = (kind := kind_of(left)) != "other" and (kind, left) in node.right.values
        return inside == (node.operator == "in")
    right = _value(node.right, document, collection)
    if node.operator in {"=", "!="}:
        equal = _equal(left, right)
        if not isinstance(equal, bool):
            return UNDEFINED
        return equal == (node.operator == "=")
    return _ordered(node.operator, left, right)


def _logical(node: Binary, left: Any, document: Document, collection: str) -> Any:
    decisive = node.operator == "or"
    if left is decisive:
        return decisive
    right = _value(node.right, document, collection)
    if right is decisive:
        return decisive
    both = isinstance(left, bool) and isinstance(right, bool)
    return (not decisive) if both else UNDEFINED


def _equal(left: Any, right: Any) -> Any:
    if left is UNDEFINED or right is UNDEFINED or "other" in {kind_of(left), kind_of(right)}:
        return UNDEFINED
    return kind_of(left) == kind_of(right) and left == right


_ORDER: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}


def _ordered(operator: str, left: Any, right: Any) -> Any:
    if kind_of(left) != kind_of(right) or kind_of(left) not in {"number", "text"}:
        return UNDEFINED
    return _ORDER[operator](left, right)
