"""Target filters that are kept by name, with the set that new matches get automatically."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from edgectl_selfhosted.hub.errors import Fault, HubError, not_found
from edgectl_selfhosted.hub.fiql_sql import ALWAYS, Condition
from edgectl_selfhosted.hub.store import fields
from edgectl_selfhosted.hub.store.paging import Page, Query, page
from edgectl_selfhosted.hub.store.rows import Audited, Scalar, Tx, fetch, fetch_one


class TargetFilter(Audited, frozen=True, kw_only=True):
    """A kept filter."""

    id: int
    name: str
    query: str
    auto_ds: int | None
    auto_type: str | None
    auto_weight: int | None
    confirmation_required: bool


def listing(
    conn: sqlite3.Connection, query: Query, where: Condition = ALWAYS
) -> Page[TargetFilter]:
    """Return a page of filters."""
    return page(
        conn,
        TargetFilter,
        query,
        table="target_filter",
        fields=fields.TARGET_FILTER,
        where=where,
    )


def get(conn: sqlite3.Connection, id_: int) -> TargetFilter:
    """Return a filter.

    Raises:
        HubError: There is none.
    """
    found = fetch_one(conn, TargetFilter, "SELECT * FROM target_filter WHERE id = ?", (id_,))
    if found is None:
        raise not_found("Target filter", id_)
    return found


def automatic(conn: sqlite3.Connection) -> list[TargetFilter]:
    """Return the filters that assign a set by themselves."""
    return fetch(conn, TargetFilter, "SELECT * FROM target_filter WHERE auto_ds IS NOT NULL")


def create(tx: Tx, name: str, query: str) -> TargetFilter:
    """Keep a filter.

    Raises:
        HubError: ``EXISTS``.
    """
    try:
        return get(tx.conn, tx.insert_audited("target_filter", {"name": name, "query": query}))
    except sqlite3.IntegrityError as exc:
        raise HubError(Fault.EXISTS, f"a target filter '{name}' exists already") from exc


def change(tx: Tx, id_: int, values: Mapping[str, Scalar]) -> TargetFilter:
    """Change a filter.

    Raises:
        HubError: ``EXISTS``.
    """
    get(tx.conn, id_)
    try:
        tx.update_audited("target_filter", id_, values)
    except sqlite3.IntegrityError as exc:
        raise HubError(Fault.EXISTS, f"a target filter '{values.get('name')!s}' exists") from exc
    tx.wake = True
    return get(tx.conn, id_)


def remove(tx: Tx, id_: int) -> None:
    """Remove a filter."""
    get(tx.conn, id_)
    tx.conn.execute("DELETE FROM target_filter WHERE id = ?", (id_,))
