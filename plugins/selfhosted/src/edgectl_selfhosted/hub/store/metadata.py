"""Metadata: keys and values that operators put on targets, modules and distribution sets."""

from __future__ import annotations

import sqlite3
from typing import Literal

import msgspec

from edgectl_selfhosted.hub.errors import Fault, HubError, not_found
from edgectl_selfhosted.hub.fiql_sql import Condition
from edgectl_selfhosted.hub.store.fields import metadata_fields
from edgectl_selfhosted.hub.store.paging import Page, Query, page
from edgectl_selfhosted.hub.store.rows import Scalar, Tx, fetch, fetch_one, scalar

Owner = Literal["target", "module", "dset"]


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """One entry; ``visible`` ones of a module are shown to devices."""

    key: str
    value: str | None
    visible: bool = False


def listing(conn: sqlite3.Connection, owner: Owner, owner_id: int, query: Query) -> Page[Metadata]:
    """Return a page of an entity's metadata."""
    table = f"{owner}_metadata"
    return page(
        conn,
        Metadata,
        query,
        table=table,
        columns="key, value, visible",
        fields=metadata_fields(table),
        where=Condition(sql=f"{table}.owner_id = ?", params=(owner_id,)),
        default_order=f"{table}.key ASC",
    )


def shown(conn: sqlite3.Connection, module_id: int) -> list[Metadata]:
    """Return what devices may see of a module's metadata."""
    sql = (
        "SELECT key, value, visible FROM module_metadata "
        "WHERE owner_id = ? AND visible = 1 ORDER BY key"
    )
    return fetch(conn, Metadata, sql, (module_id,))


def get(conn: sqlite3.Connection, owner: Owner, owner_id: int, key: str) -> Metadata:
    """Return one entry.

    Raises:
        HubError: There is none.
    """
    sql = f"SELECT key, value, visible FROM {owner}_metadata WHERE owner_id = ? AND key = ?"  # noqa: S608 - a Literal
    found = fetch_one(conn, Metadata, sql, (owner_id, key))
    if found is None:
        raise not_found("Metadata", key)
    return found


def create(
    tx: Tx, owner: Owner, owner_id: int, entries: list[Metadata], *, limit: int
) -> list[Metadata]:
    """Add entries.

    Raises:
        HubError: ``EXISTS`` or ``QUOTA``.
    """
    table = f"{owner}_metadata"
    for entry in entries:
        values: dict[str, Scalar] = {
            "owner_id": owner_id,
            "key": entry.key,
            "value": entry.value,
            "visible": entry.visible,
        }
        try:
            tx.insert(table, values)
        except sqlite3.IntegrityError as exc:
            raise HubError(Fault.EXISTS, f"the metadata key '{entry.key}' exists already") from exc
    count = scalar(
        tx.conn,
        f"SELECT count(*) FROM {table} WHERE owner_id = ?",  # noqa: S608 - a Literal
        (owner_id,),
    )
    if count > limit:
        raise HubError(Fault.QUOTA, f"an entity has at most {limit} metadata entries")
    return entries


def change(
    tx: Tx, owner: Owner, owner_id: int, key: str, *, value: str | None, visible: bool | None
) -> Metadata:
    """Change an entry's value."""
    old = get(tx.conn, owner, owner_id, key)
    shows = old.visible if visible is None else visible
    tx.conn.execute(
        f"UPDATE {owner}_metadata SET value = ?, visible = ? WHERE owner_id = ? AND key = ?",  # noqa: S608 - a Literal
        (value, shows, owner_id, key),
    )
    return Metadata(key=key, value=value, visible=shows)


def remove(tx: Tx, owner: Owner, owner_id: int, key: str) -> None:
    """Remove an entry."""
    get(tx.conn, owner, owner_id, key)
    tx.conn.execute(
        f"DELETE FROM {owner}_metadata WHERE owner_id = ? AND key = ?",  # noqa: S608 - a Literal
        (owner_id, key),
    )
