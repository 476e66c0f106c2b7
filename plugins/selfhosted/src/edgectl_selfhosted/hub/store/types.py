"""Types of modules, of distribution sets and of targets, and which may hold which."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from typing import TypeVar

from edgectl_selfhosted.hub.errors import Fault, HubError, not_found
from edgectl_selfhosted.hub.fiql_sql import ALWAYS, Condition
from edgectl_selfhosted.hub.store import fields
from edgectl_selfhosted.hub.store.paging import Page, Query, page
from edgectl_selfhosted.hub.store.rows import Audited, Scalar, Tx, column, fetch, fetch_one, scalar

T = TypeVar("T")


class ModuleType(Audited, frozen=True, kw_only=True):
    """A kind of software module; a set holds at most ``max_assignments`` of it."""

    id: int
    key: str
    name: str
    description: str | None
    colour: str | None
    max_assignments: int
    deleted: bool = False


class SetType(Audited, frozen=True, kw_only=True):
    """A kind of distribution set: which module types it must and may hold."""

    id: int
    key: str
    name: str
    description: str | None
    colour: str | None
    deleted: bool = False


class TargetType(Audited, frozen=True, kw_only=True):
    """A kind of target, and which set types it takes."""

    id: int
    key: str
    name: str
    description: str | None
    colour: str | None


_WORDS = {
    "module_type": "Software module type",
    "set_type": "Distribution set type",
    "target_type": "Target type",
}
_LIVE = {
    "module_type": Condition(sql="module_type.deleted = 0"),
    "set_type": Condition(sql="set_type.deleted = 0"),
    "target_type": ALWAYS,
}


def module_types(conn: sqlite3.Connection, query: Query) -> Page[ModuleType]:
    """Return a page of module types."""
    return page(
        conn,
        ModuleType,
        query,
        table="module_type",
        fields=fields.MODULE_TYPE,
        where=_LIVE["module_type"],
    )


def set_types(conn: sqlite3.Connection, query: Query) -> Page[SetType]:
    """Return a page of distribution set types."""
    return page(
        conn, SetType, query, table="set_type", fields=fields.SET_TYPE, where=_LIVE["set_type"]
    )


def target_types(conn: sqlite3.Connection, query: Query) -> Page[TargetType]:
    """Return a page of target types."""
    return page(conn, TargetType, query, table="target_type", fields=fields.TARGET_TYPE)


def module_type(conn: sqlite3.Connection, id_: int) -> ModuleType:
    """Return a module type by id."""
    return _get(conn, ModuleType, "module_type", id_)


def set_type(conn: sqlite3.Connection, id_: int) -> SetType:
    """Return a set type by id."""
    return _get(conn, SetType, "set_type", id_)


def target_type(conn: sqlite3.Connection, id_: int) -> TargetType:
    """Return a target type by id."""
    return _get(conn, TargetType, "target_type", id_)


def module_type_by_key(conn: sqlite3.Connection, key: str) -> ModuleType:
    """Return a module type that can be used, by key."""
    return _get(conn, ModuleType, "module_type", key, by="deleted = 0 AND key")


def set_type_by_key(conn: sqlite3.Connection, key: str) -> SetType:
    """Return a set type that can be used, by key."""
    return _get(conn, SetType, "set_type", key, by="deleted = 0 AND key")


def create(tx: Tx, table: str, values: Mapping[str, Scalar]) -> int:
    """Make a type and return its id.

    Raises:
        HubError: ``EXISTS`` for a key or name that is taken.
    """
    try:
        return tx.insert_audited(table, values)
    except sqlite3.IntegrityError as exc:
        raise HubError(Fault.EXISTS, f"a type '{values['key']!s}' exists already") from exc


def change(tx: Tx, table: str, id_: int, values: Mapping[str, Scalar]) -> None:
    """Change a type's name, description or colour."""
    try:
        tx.update_audited(table, id_, values)
    except sqlite3.IntegrityError as exc:
        raise HubError(Fault.EXISTS, f"a type '{values.get('name')!s}' exists already") from exc


def remove_module_type(tx: Tx, id_: int) -> None:
    """Remove a module type; one that is used is only marked as deleted."""
    module_type(tx.conn, id_)
    _remove(
        tx, "module_type", id_, ("module WHERE type_id", "set_type_module WHERE module_type_id")
    )


def remove_set_type(tx: Tx, id_: int) -> None:
    """Remove a set type; one that is used is only marked as deleted."""
    set_type(tx.conn, id_)
    _remove(tx, "set_type", id_, ("dset WHERE type_id",))


def remove_target_type(tx: Tx, id_: int) -> None:
    """Remove a target type that no target has.

    Raises:
        HubError: ``READ_ONLY`` when it is used.
    """
    target_type(tx.conn, id_)
    if scalar(tx.conn, "SELECT 1 FROM target WHERE type_id = ? LIMIT 1", (id_,)):
        raise HubError(Fault.READ_ONLY, f"the target type '{id_}' is used by targets")
    tx.conn.execute("DELETE FROM target_type WHERE id = ?", (id_,))


def modules_of_set_type(
    conn: sqlite3.Connection, set_type_id: int, *, mandatory: bool
) -> list[ModuleType]:
    """Return the module types that a set type must (or may) hold."""
    sql = (
        "SELECT t.* FROM module_type t JOIN set_type_module x ON x.module_type_id = t.id "
        "WHERE x.set_type_id = ? AND x.mandatory = ? ORDER BY t.id"
    )
    return fetch(conn, ModuleType, sql, (set_type_id, mandatory))


def allow_module(tx: Tx, set_type_id: int, module_type_id: int, *, mandatory: bool) -> None:
    """Let a set type hold a module type.

    Raises:
        HubError: ``READ_ONLY`` when sets of the type exist.
    """
    _unused(tx, set_type_id)
    module_type(tx.conn, module_type_id)
    tx.conn.execute(
        "INSERT INTO set_type_module VALUES (?, ?, ?) "
        "ON CONFLICT DO UPDATE SET mandatory = excluded.mandatory",
        (set_type_id, module_type_id, mandatory),
    )


def forbid_module(tx: Tx, set_type_id: int, module_type_id: int) -> None:
    """No longer let a set type hold a module type."""
    _unused(tx, set_type_id)
    tx.conn.execute(
        "DELETE FROM set_type_module WHERE set_type_id = ? AND module_type_id = ?",
        (set_type_id, module_type_id),
    )


def set_types_of_target_type(conn: sqlite3.Connection, id_: int) -> list[SetType]:
    """Return the set types that a target type takes; none means all."""
    sql = (
        "SELECT t.* FROM set_type t JOIN target_type_set_type x ON x.set_type_id = t.id "
        "WHERE x.target_type_id = ? ORDER BY t.id"
    )
    return fetch(conn, SetType, sql, (id_,))


def allow_set_types(tx: Tx, target_type_id: int, set_type_ids: Iterable[int]) -> None:
    """Let a target type take set types."""
    target_type(tx.conn, target_type_id)
    for id_ in set_type_ids:
        set_type(tx.conn, id_)
        tx.conn.execute(
            "INSERT OR IGNORE INTO target_type_set_type VALUES (?, ?)", (target_type_id, id_)
        )


def forbid_set_type(tx: Tx, target_type_id: int, set_type_id: int) -> None:
    """No longer let a target type take a set type."""
    tx.conn.execute(
        "DELETE FROM target_type_set_type WHERE target_type_id = ? AND set_type_id = ?",
        (target_type_id, set_type_id),
    )


def refusing_types(conn: sqlite3.Connection, set_type_id: int) -> set[int]:
    """Return the target types that do not take a set type."""
    sql = (
        "SELECT DISTINCT target_type_id FROM target_type_set_type WHERE target_type_id NOT IN "
        "(SELECT target_type_id FROM target_type_set_type WHERE set_type_id = ?)"
    )
    return set(column(conn, sql, (set_type_id,)))


def _unused(tx: Tx, set_type_id: int) -> None:
    set_type(tx.conn, set_type_id)
    if scalar(tx.conn, "SELECT 1 FROM dset WHERE type_id = ? LIMIT 1", (set_type_id,)):
        raise HubError(Fault.READ_ONLY, f"the type '{set_type_id}' is used by distribution sets")


def _get(
    conn: sqlite3.Connection, type_: type[T], table: str, key: str | int, *, by: str = "id"
) -> T:
    found = fetch_one(conn, type_, f"SELECT * FROM {table} WHERE {by} = ?", (key,))  # noqa: S608 - ours
    if found is None:
        raise not_found(_WORDS[table], key)
    return found


def _remove(tx: Tx, table: str, id_: int, users: tuple[str, ...]) -> None:
    used = any(
        scalar(tx.conn, f"SELECT 1 FROM {user} = ? LIMIT 1", (id_,))  # noqa: S608 - ours
        for user in users
    )
    if used:
        tx.update_audited(table, id_, {"deleted": 1})
    else:
        tx.conn.execute(f"DELETE FROM {table} WHERE id = ?", (id_,))  # noqa: S608 - ours
