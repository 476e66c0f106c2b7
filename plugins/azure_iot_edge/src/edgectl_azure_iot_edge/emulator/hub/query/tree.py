"""What a query says, once it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

COLLECTIONS = ("devices", "devices.modules", "devices.jobs")


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal: text, number, boolean or null."""

    value: Any


@dataclass(frozen=True, slots=True)
class Members:
    """A list of literals, with the kind of each: hundreds of names are looked for in one."""

    values: frozenset[tuple[str, Any]]


@dataclass(frozen=True, slots=True)
class Path:
    """A property of the document, ``tags.site``."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A function with its arguments; the name is in lower case."""

    name: str
    arguments: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Binary:
    """``and``, ``or``, ``in``, ``nin`` or a comparison; ``!=`` also for ``<>``."""

    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    inner: Expression


Expression = Constant | Members | Path | Call | Binary | Not


def kind_of(value: Any) -> str:
    """Return a value's primitive type; only values of one type are compared."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "text" if isinstance(value, str) else "other"


@dataclass(frozen=True, slots=True)
class Aggregate:
    """``count()``, or ``avg``, ``sum``, ``min`` or ``max`` of a path."""

    function: str
    path: Path | None


@dataclass(frozen=True, slots=True)
class Column:
    """A projection and its name in the answer."""

    value: Path | Aggregate
    name: str


@dataclass(frozen=True, slots=True)
class Query:
    """A whole query.

    Attributes:
        columns: None stands for ``*``.
        top: At most so many; None is all.
    """

    columns: tuple[Column, ...] | None
    collection: str
    where: Expression | None
    group_by: tuple[Path, ...] = ()
    top: int | None = None

    @property
    def is_aggregate(self) -> bool:
        """Whether the answer has a row for a group, not for a document."""
        columns = self.columns or ()
        return bool(self.group_by) or any(isinstance(c.value, Aggregate) for c in columns)
