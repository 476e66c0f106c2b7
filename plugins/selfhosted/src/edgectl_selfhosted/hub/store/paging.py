"""Lists: offset, limit, sort and filter, the same for every entity."""

from __future__ import annotations

import sqlite3
import time
from typing import Generic, TypeVar

import msgspec

from edgectl_selfhosted.hub.fiql_sql import ALWAYS, Condition, Fields, both, compile_query, order_by
from edgectl_selfhosted.hub.store.rows import fetch, scalar

T = TypeVar("T")

DEFAULT_LIMIT = 50
MAX_LIMIT = 500


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asked of a list."""

    offset: int = 0
    limit: int = DEFAULT_LIMIT
    sort: str = ""
    q: str = ""
    overdue_ms: int = 0


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One page of a list, and how many there are in all."""

    content: list[T]
    total: int


def placeholders(query: Query) -> dict[str, int]:
    """Return what ``${NOW_TS}`` and ``${OVERDUE_TS}`` stand for in a filter."""
    now = time.time_ns() // 1_000_000
    return {"NOW_TS": now, "OVERDUE_TS": now - query.overdue_ms}


def page(
    conn: sqlite3.Connection,
    type_: type[T],
    query: Query,
    *,
    table: str,
    fields: Fields,
    columns: str = "",
    where: Condition = ALWAYS,
    default_order: str = "",
) -> Page[T]:
    """Return a page of ``table`` as records.

    Raises:
        HubError: The filter or the sort cannot be read.
    """
    condition = both(where, compile_query(query.q, fields, placeholders(query)))
    order = order_by(query.sort, fields, default_order or f"{table}.id ASC")
    total = scalar(
        conn,
        f"SELECT count(*) FROM {table} WHERE {condition.sql}",  # noqa: S608 - values are bound
        condition.params,
    )
    rows = fetch(
        conn,
        type_,
        f"SELECT {columns or table + '.*'} FROM {table} WHERE {condition.sql} "  # noqa: S608 - same
        f"ORDER BY {order} LIMIT ? OFFSET ?",
        (*condition.params, query.limit, query.offset),
    )
    return Page(content=rows, total=total)


def matching(
    conn: sqlite3.Connection, q: str, *, table: str, fields: Fields, overdue_ms: int
) -> list[int]:
    """Return the ids of all rows that a filter matches, in order of id."""
    condition = compile_query(q, fields, placeholders(Query(overdue_ms=overdue_ms)))
    sql = f"SELECT id FROM {table} WHERE {condition.sql} ORDER BY id"  # noqa: S608 - values are bound
    return [row[0] for row in conn.execute(sql, condition.params)]
