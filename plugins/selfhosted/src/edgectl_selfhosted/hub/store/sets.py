"""Distribution sets: modules that are installed together, fixed once they were assigned."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from edgectl_selfhosted.hub.errors import Fault, HubError, not_found
from edgectl_selfhosted.hub.fiql_sql import Condition
from edgectl_selfhosted.hub.store import fields, modules, types
from edgectl_selfhosted.hub.store.paging import Page, Query, page
from edgectl_selfhosted.hub.store.rows import Audited, Scalar, Tx, fetch_one, scalar

DEFAULT_TYPE = "os_app"
_LIVE = Condition(sql="dset.deleted = 0")
_COLUMNS = (
    "dset.*, (SELECT key FROM set_type t WHERE t.id = dset.type_id) AS type_key, "
    "(SELECT name FROM set_type t WHERE t.id = dset.type_id) AS type_name, "
    "NOT EXISTS (SELECT 1 FROM set_type_module m WHERE m.set_type_id = dset.type_id "
    "AND m.mandatory = 1 AND NOT EXISTS (SELECT 1 FROM dset_module x JOIN module s "
    "ON s.id = x.module_id WHERE x.ds_id = dset.id AND s.type_id = m.module_type_id)) AS complete"
)


class DistributionSet(Audited, frozen=True, kw_only=True):
    """A distribution set; ``complete`` when every mandatory module type is there."""

    id: int
    type_id: int
    type_key: str
    type_name: str
    name: str
    version: str
    description: str | None
    complete: bool
    locked: bool
    valid: bool
    migration: bool
    deleted: bool


class NewSet(msgspec.Struct, frozen=True, kw_only=True):
    """What is needed to make a distribution set."""

    name: str
    version: str
    type_key: str = DEFAULT_TYPE
    description: str | None = None
    migration: bool = False
    modules: tuple[int, ...] = ()


def listing(
    conn: sqlite3.Connection, query: Query, where: Condition = _LIVE
) -> Page[DistributionSet]:
    """Return a page of sets that were not deleted."""
    return page(
        conn,
        DistributionSet,
        query,
        table="dset",
        fields=fields.DSET,
        columns=_COLUMNS,
        where=Condition(sql=f"{_LIVE.sql} AND ({where.sql})", params=where.params),
    )


def get(conn: sqlite3.Connection, id_: int, *, deleted: bool = False) -> DistributionSet:
    """Return a set; a deleted one only where history is read.

    Raises:
        HubError: There is none.
    """
    sql = f"SELECT {_COLUMNS} FROM dset WHERE id = ?"  # noqa: S608 - ours
    found = fetch_one(conn, DistributionSet, sql, (id_,))
    if found is None or (found.deleted and not deleted):
        raise not_found("Distribution set", id_)
    return found


def find(conn: sqlite3.Connection, name: str, version: str) -> DistributionSet | None:
    """Return a set by name and version, or None."""
    sql = f"SELECT {_COLUMNS} FROM dset WHERE name = ? AND version = ? AND deleted = 0"  # noqa: S608 - ours
    return fetch_one(conn, DistributionSet, sql, (name, version))


def create(tx: Tx, new: NewSet, *, limit: int) -> DistributionSet:
    """Make a set with its modules.

    Raises:
        HubError: ``EXISTS`` for a name and version that are taken together; see ``add_modules``.
    """
    kind = types.set_type_by_key(tx.conn, new.type_key)
    values: dict[str, Scalar] = {
        "type_id": kind.id,
        "name": new.name,
        "version": new.version,
        "description": new.description,
        "migration": new.migration,
    }
    try:
        id_ = tx.insert_audited("dset", values)
    except sqlite3.IntegrityError as exc:
        raise HubError(
            Fault.EXISTS,
            f"a distribution set '{new.name}' version '{new.version}' exists already",
        ) from exc
    return add_modules(tx, id_, new.modules, limit=limit)


def change(tx: Tx, id_: int, values: Mapping[str, Scalar]) -> DistributionSet:
    """Change a set; name, version and migration step of a locked one stay.

    Raises:
        HubError: ``LOCKED`` or ``EXISTS``.
    """
    old = get(tx.conn, id_)
    if (
        old.locked
        and values.get("locked") != 0
        and values.keys() & {"name", "version", "migration"}
    ):
        raise _locked(old)
    try:
        tx.update_audited("dset", id_, values)
    except sqlite3.IntegrityError as exc:
        raise HubError(Fault.EXISTS, "a distribution set of that name and version exists") from exc
    if values.get("locked"):
        lock(tx, id_)
    return get(tx.conn, id_)


def add_modules(tx: Tx, id_: int, module_ids: Iterable[int], *, limit: int) -> DistributionSet:
    """Put modules into a set.

    Raises:
        HubError: ``LOCKED``, ``NOT_FOUND``, ``MODULE_TYPE`` where the set's type does not take
            the module, ``QUOTA``.
    """
    dset = get(tx.conn, id_)
    wanted = list(module_ids)
    if wanted and dset.locked:
        raise _locked(dset)
    for module_id in wanted:
        modules.get(tx.conn, module_id)
        tx.conn.execute("INSERT OR IGNORE INTO dset_module VALUES (?, ?)", (id_, module_id))
    _check_types(tx, dset, limit)
    return get(tx.conn, id_)


def remove_module(tx: Tx, id_: int, module_id: int) -> None:
    """Take a module out of a set.

    Raises:
        HubError: ``LOCKED``.
    """
    dset = get(tx.conn, id_)
    if dset.locked:
        raise _locked(dset)
    modules.get(tx.conn, module_id)
    tx.conn.execute("DELETE FROM dset_module WHERE ds_id = ? AND module_id = ?", (id_, module_id))


def remove(tx: Tx, id_: int) -> None:
    """Remove a set; one that was ever assigned is only marked as deleted."""
    get(tx.conn, id_)
    used = "SELECT 1 FROM action WHERE ds_id = ?1 UNION SELECT 1 FROM rollout WHERE ds_id = ?1"
    held = "SELECT 1 FROM target WHERE ?1 IN (assigned_ds, installed_ds) LIMIT 1"
    if scalar(tx.conn, used, (id_,)) or scalar(tx.conn, held, (id_,)):
        tx.update_audited("dset", id_, {"deleted": 1})
        tx.conn.execute("UPDATE target_filter SET auto_ds = NULL WHERE auto_ds = ?", (id_,))
    else:
        tx.conn.execute("DELETE FROM dset WHERE id = ?", (id_,))


def lock(tx: Tx, id_: int) -> None:
    """Fix a set and its modules as they are."""
    tx.conn.execute("UPDATE dset SET locked = 1 WHERE id = ?", (id_,))
    tx.conn.execute(
        "UPDATE module SET locked = 1 "
        "WHERE id IN (SELECT module_id FROM dset_module WHERE ds_id = ?)",
        (id_,),
    )


def check_assignable(conn: sqlite3.Connection, id_: int) -> DistributionSet:
    """Return a set that can be assigned.

    Raises:
        HubError: ``INCOMPLETE``, ``INVALID_SET`` or ``NOT_FOUND``.
    """
    dset = get(conn, id_)
    if not dset.valid:
        raise HubError(Fault.INVALID_SET, f"the distribution set '{dset.name}' was invalidated")
    if not dset.complete:
        raise HubError(
            Fault.INCOMPLETE,
            f"the distribution set '{dset.name}' version '{dset.version}' lacks a module that its "
            f"type '{dset.type_key}' needs",
        )
    return dset


def status_counts(conn: sqlite3.Connection, id_: int, table: str) -> dict[str, int]:
    """Return how many actions or rollouts of a set are in each status."""
    sql = f"SELECT status, count(*) FROM {table} WHERE ds_id = ? GROUP BY status"  # noqa: S608 - ours
    return {str(status): count for status, count in conn.execute(sql, (id_,))}


def _check_types(tx: Tx, dset: DistributionSet, limit: int) -> None:
    held = modules.of_set(tx.conn, dset.id)
    if len(held) > limit:
        raise HubError(Fault.QUOTA, f"a distribution set has at most {limit} modules")
    allowed = {
        kind.id: kind
        for mandatory in (True, False)
        for kind in types.modules_of_set_type(tx.conn, dset.type_id, mandatory=mandatory)
    }
    for type_id, count in Counter(module.type_id for module in held).items():
        kind = allowed.get(type_id)
        if kind is None or count > kind.max_assignments:
            name = next(m.type_key for m in held if m.type_id == type_id)
            raise HubError(
                Fault.MODULE_TYPE,
                f"a distribution set of type '{dset.type_key}' does not take {count} module(s) of "
                f"type '{name}'",
            )


def _locked(dset: DistributionSet) -> HubError:
    return HubError(
        Fault.LOCKED, f"the distribution set '{dset.name}' version '{dset.version}' is locked"
    )
