"""Tags of targets and of distribution sets: a name that is unique in its kind."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Literal

from edgectl_selfhosted.hub.errors import Fault, HubError, not_found
from edgectl_selfhosted.hub.fiql_sql import Condition
from edgectl_selfhosted.hub.store import fields
from edgectl_selfhosted.hub.store.paging import Page, Query, page
from edgectl_selfhosted.hub.store.rows import Audited, Scalar, Tx, fetch, fetch_one

Kind = Literal["target", "dset"]


class Tag(Audited, frozen=True, kw_only=True):
    """A tag."""

    id: int
    kind: str
    name: str
    description: str | None
    colour: str | None


def listing(conn: sqlite3.Connection, kind: Kind, query: Query) -> Page[Tag]:
    """Return a page of tags."""
    where = Condition(sql="tag.kind = ?", params=(kind,))
    return page(conn, Tag, query, table="tag", fields=fields.TAG, where=where)


def get(conn: sqlite3.Connection, kind: Kind, id_: int) -> Tag:
    """Return a tag.

    Raises:
        HubError: There is none of this kind.
    """
    tag = fetch_one(conn, Tag, "SELECT * FROM tag WHERE kind = ? AND id = ?", (kind, id_))
    if tag is None:
        raise not_found("Tag", id_)
    return tag


def of_owner(conn: sqlite3.Connection, kind: Kind, owner_id: int) -> list[Tag]:
    """Return the tags that an entity carries."""
    sql = (
        f"SELECT tag.* FROM tag JOIN {kind}_tag x ON x.tag_id = tag.id "  # noqa: S608 - a Literal
        "WHERE x.owner_id = ? ORDER BY tag.name"
    )
    return fetch(conn, Tag, sql, (owner_id,))


def create(tx: Tx, kind: Kind, *, name: str, description: str | None, colour: str | None) -> Tag:
    """Make a tag.

    Raises:
        HubError: ``EXISTS``.
    """
    values = {"kind": kind, "name": name, "description": description, "colour": colour}
    try:
        return get(tx.conn, kind, tx.insert_audited("tag", values))
    except sqlite3.IntegrityError as exc:
        raise HubError(Fault.EXISTS, f"a tag '{name}' exists already") from exc


def change(tx: Tx, kind: Kind, id_: int, values: Mapping[str, Scalar]) -> Tag:
    """Change a tag.

    Raises:
        HubError: ``EXISTS`` for a name that is taken.
    """
    get(tx.conn, kind, id_)
    try:
        tx.update_audited("tag", id_, values)
    except sqlite3.IntegrityError as exc:
        raise HubError(Fault.EXISTS, f"a tag '{values.get('name')!s}' exists already") from exc
    return get(tx.conn, kind, id_)


def remove(tx: Tx, kind: Kind, id_: int) -> None:
    """Remove a tag from everything that carries it."""
    get(tx.conn, kind, id_)
    tx.conn.execute("DELETE FROM tag WHERE id = ?", (id_,))


def assign(tx: Tx, kind: Kind, id_: int, owners: Iterable[int]) -> None:
    """Put a tag on entities; those that carry it already stay as they are."""
    get(tx.conn, kind, id_)
    tx.conn.executemany(
        f"INSERT OR IGNORE INTO {kind}_tag (tag_id, owner_id) VALUES (?, ?)",  # noqa: S608 - a Literal
        [(id_, owner) for owner in owners],
    )


def unassign(tx: Tx, kind: Kind, id_: int, owners: Iterable[int]) -> None:
    """Take a tag from entities."""
    get(tx.conn, kind, id_)
    tx.conn.executemany(
        f"DELETE FROM {kind}_tag WHERE tag_id = ? AND owner_id = ?",  # noqa: S608 - a Literal
        [(id_, owner) for owner in owners],
    )
