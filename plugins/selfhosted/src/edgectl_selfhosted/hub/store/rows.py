"""From SQLite's rows to frozen records, and the transaction that a write runs in."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")
Scalar = str | int | float | bytes | None
Params = Sequence[Scalar] | Mapping[str, Scalar]


class Audited(msgspec.Struct, frozen=True, kw_only=True):
    """Who made an entity and who changed it last; milliseconds since 1970 UTC."""

    created_at: int
    created_by: str
    modified_at: int
    modified_by: str


class Tx:
    """A write in progress.

    Attributes:
        touched: Controller ids whose poll answer may have changed; dropped from the cache once
            the transaction is on disk.
        everyone: All poll answers may have changed.
        wake: The rollout scheduler has something to look at.
    """

    __slots__ = ("actor", "conn", "everyone", "now_ms", "touched", "wake")

    def __init__(self, conn: sqlite3.Connection, now_ms: int, actor: str) -> None:
        self.conn = conn
        self.now_ms = now_ms
        self.actor = actor
        self.touched: set[str] = set()
        self.everyone = False
        self.wake = False

    def insert(self, table: str, values: Mapping[str, Scalar]) -> int:
        """Insert a row and return its id."""
        names = ", ".join(values)
        marks = ", ".join(f":{name}" for name in values)
        cursor = self.conn.execute(
            f"INSERT INTO {table} ({names}) VALUES ({marks})",  # noqa: S608 - names are ours
            dict(values),
        )
        return int(cursor.lastrowid or 0)

    def insert_audited(self, table: str, values: Mapping[str, Scalar]) -> int:
        """Insert a row with its four audit columns and return its id."""
        audit: dict[str, Scalar] = {
            "created_at": self.now_ms,
            "created_by": self.actor,
            "modified_at": self.now_ms,
            "modified_by": self.actor,
        }
        return self.insert(table, {**values, **audit})

    def update(self, table: str, id_: int, values: Mapping[str, Scalar]) -> None:
        """Change columns of one row."""
        changes = ", ".join(f"{name} = :{name}" for name in values)
        self.conn.execute(
            f"UPDATE {table} SET {changes} WHERE id = :_id",  # noqa: S608 - names are ours
            {**values, "_id": id_},
        )

    def update_audited(self, table: str, id_: int, values: Mapping[str, Scalar]) -> None:
        """Change columns of one row, and say who did."""
        self.update(table, id_, {**values, "modified_at": self.now_ms, "modified_by": self.actor})


def fetch(conn: sqlite3.Connection, type_: type[T], sql: str, params: Params = ()) -> list[T]:
    """Return all rows of a query as records."""
    cursor = conn.execute(sql, params)
    names = [column[0] for column in cursor.description]
    return [
        msgspec.convert(dict(zip(names, row, strict=True)), type_, strict=False) for row in cursor
    ]


def fetch_one(conn: sqlite3.Connection, type_: type[T], sql: str, params: Params = ()) -> T | None:
    """Return the first row of a query as a record, or None."""
    found = fetch(conn, type_, sql, params)
    return found[0] if found else None


def scalar(conn: sqlite3.Connection, sql: str, params: Params = ()) -> Any:
    """Return the first column of the first row, or None."""
    row = conn.execute(sql, params).fetchone()
    return row[0] if row else None


def column(conn: sqlite3.Connection, sql: str, params: Params = ()) -> list[Any]:
    """Return the first column of every row."""
    return [row[0] for row in conn.execute(sql, params)]


def marks(values: Iterable[object]) -> str:
    """Return as many question marks as there are values, for ``IN (…)``."""
    return ", ".join("?" for _ in values)
