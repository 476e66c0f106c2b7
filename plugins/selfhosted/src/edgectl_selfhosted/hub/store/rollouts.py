"""Rollouts and their groups: who gets a set in which order, and how far each group is."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

import msgspec

from edgectl_selfhosted.hub.errors import Fault, HubError, not_found
from edgectl_selfhosted.hub.fiql_sql import Condition
from edgectl_selfhosted.hub.store import fields
from edgectl_selfhosted.hub.store.paging import Page, Query, page
from edgectl_selfhosted.hub.store.rows import Audited, Scalar, Tx, column, fetch, fetch_one

_LIVE = Condition(sql="rollout.deleted = 0")
_COLUMNS = (
    "rollout.*, (SELECT count(*) FROM rollout_group g WHERE g.rollout_id = rollout.id) "
    "AS total_groups, (SELECT name || ':' || version FROM dset d WHERE d.id = rollout.ds_id) "
    "AS ds_title"
)


class Rollout(Audited, frozen=True, kw_only=True):
    """A rollout."""

    id: int
    name: str
    description: str | None
    status: str
    ds_id: int
    ds_title: str
    query: str
    force_type: str
    force_time: int | None
    start_at: int | None
    weight: int | None
    approval_remark: str | None
    approval_by: str | None
    total_targets: int
    total_groups: int
    retry_of: int | None
    deleted: bool


class Group(Audited, frozen=True, kw_only=True):
    """A deploy group; percentages are of what is left for it when the rollout is made."""

    id: int
    rollout_id: int
    position: int
    name: str
    description: str | None
    status: str
    query: str
    percentage: float
    success_threshold: int
    success_action: str
    error_threshold: int
    confirmation_required: bool
    total_targets: int


class NewRollout(msgspec.Struct, frozen=True, kw_only=True):
    """What is needed to make a rollout, beside its groups."""

    name: str
    description: str | None
    ds_id: int
    query: str
    force_type: str
    force_time: int | None
    start_at: int | None
    weight: int | None
    retry_of: int | None = None


class NewGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A group with its members."""

    name: str
    description: str | None = None
    query: str = ""
    percentage: float = 100.0
    success_threshold: int = 50
    success_action: str = "NEXTGROUP"
    error_threshold: int = 50
    confirmation_required: bool = False
    members: tuple[int, ...] = ()


def listing(conn: sqlite3.Connection, query: Query) -> Page[Rollout]:
    """Return a page of rollouts that were not deleted."""
    return page(
        conn,
        Rollout,
        query,
        table="rollout",
        fields=fields.ROLLOUT,
        columns=_COLUMNS,
        where=_LIVE,
    )


def find(conn: sqlite3.Connection, id_: int) -> Rollout | None:
    """Return a rollout, or None."""
    sql = f"SELECT {_COLUMNS} FROM rollout WHERE id = ? AND deleted = 0"  # noqa: S608 - ours
    return fetch_one(conn, Rollout, sql, (id_,))


def get(conn: sqlite3.Connection, id_: int) -> Rollout:
    """Return a rollout.

    Raises:
        HubError: There is none.
    """
    found = find(conn, id_)
    if found is None:
        raise not_found("Rollout", id_)
    return found


def in_status(conn: sqlite3.Connection, *statuses: str) -> list[int]:
    """Return the rollouts that are in one of these statuses."""
    found: list[int] = []
    for status in statuses:
        found += column(conn, "SELECT id FROM rollout WHERE status = ? AND deleted = 0", (status,))
    return found


def groups_page(conn: sqlite3.Connection, rollout_id: int, query: Query) -> Page[Group]:
    """Return a page of a rollout's groups."""
    where = Condition(sql="rollout_group.rollout_id = ?", params=(rollout_id,))
    return page(
        conn,
        Group,
        query,
        table="rollout_group",
        fields=fields.ROLLOUT_GROUP,
        where=where,
        default_order="rollout_group.position ASC",
    )


def groups(conn: sqlite3.Connection, rollout_id: int) -> list[Group]:
    """Return all groups of a rollout in their order."""
    sql = "SELECT * FROM rollout_group WHERE rollout_id = ? ORDER BY position"
    return fetch(conn, Group, sql, (rollout_id,))


def group(conn: sqlite3.Connection, rollout_id: int, id_: int) -> Group:
    """Return a group of this rollout.

    Raises:
        HubError: There is none.
    """
    sql = "SELECT * FROM rollout_group WHERE rollout_id = ? AND id = ?"
    found = fetch_one(conn, Group, sql, (rollout_id, id_))
    if found is None:
        raise not_found("Rollout group", id_)
    return found


def failed_targets(conn: sqlite3.Connection, rollout_id: int) -> list[int]:
    """Return the targets where a rollout's action ended in an error."""
    sql = (
        "SELECT DISTINCT target_id FROM action WHERE rollout_id = ? AND status = 'error' "
        "ORDER BY target_id"
    )
    return [int(id_) for id_ in column(conn, sql, (rollout_id,))]


def create(tx: Tx, new: NewRollout, new_groups: list[NewGroup]) -> Rollout:
    """Make a rollout in status ``creating`` with its groups and their members.

    Raises:
        HubError: ``EXISTS``.
    """
    values: dict[str, Scalar] = {
        "name": new.name,
        "description": new.description,
        "status": "creating",
        "ds_id": new.ds_id,
        "query": new.query,
        "force_type": new.force_type,
        "force_time": new.force_time,
        "start_at": new.start_at,
        "weight": new.weight,
        "total_targets": sum(len(g.members) for g in new_groups),
        "retry_of": new.retry_of,
    }
    try:
        id_ = tx.insert_audited("rollout", values)
    except sqlite3.IntegrityError as exc:
        raise HubError(Fault.EXISTS, f"a rollout '{new.name}' exists already") from exc
    for position, new_group in enumerate(new_groups):
        _create_group(tx, id_, position, new_group)
    tx.wake = True
    return get(tx.conn, id_)


def _create_group(tx: Tx, rollout_id: int, position: int, new: NewGroup) -> None:
    id_ = tx.insert_audited(
        "rollout_group",
        {
            "rollout_id": rollout_id,
            "position": position,
            "name": new.name,
            "description": new.description,
            "status": "creating",
            "query": new.query,
            "percentage": new.percentage,
            "success_threshold": new.success_threshold,
            "success_action": new.success_action,
            "error_threshold": new.error_threshold,
            "confirmation_required": new.confirmation_required,
            "total_targets": len(new.members),
        },
    )
    tx.conn.executemany(
        "INSERT INTO rollout_target VALUES (?, ?)", [(id_, target) for target in new.members]
    )


def change(tx: Tx, id_: int, values: Mapping[str, Scalar]) -> Rollout:
    """Change a rollout.

    Raises:
        HubError: ``EXISTS`` for a name that is taken.
    """
    get(tx.conn, id_)
    try:
        tx.update_audited("rollout", id_, values)
    except sqlite3.IntegrityError as exc:
        raise HubError(Fault.EXISTS, f"a rollout '{values.get('name')!s}' exists already") from exc
    tx.wake = True
    return get(tx.conn, id_)


def set_group_status(tx: Tx, group_id: int, status: str) -> None:
    """Move a group on."""
    tx.update_audited("rollout_group", group_id, {"status": status})


def action_counts(conn: sqlite3.Connection, rollout_id: int) -> dict[int, dict[str, int]]:
    """Return, per group, how many actions are in each status."""
    sql = (
        "SELECT group_id, status, count(*) FROM action WHERE rollout_id = ? "
        "AND group_id IS NOT NULL GROUP BY group_id, status"
    )
    found: dict[int, dict[str, int]] = {}
    for group_id, status, count in conn.execute(sql, (rollout_id,)):
        found.setdefault(group_id, {})[status] = count
    return found


def group_sizes(conn: sqlite3.Connection, rollout_id: int) -> dict[int, int]:
    """Return how many targets each group has; removed devices are not counted."""
    sql = (
        "SELECT g.id, count(t.target_id) FROM rollout_group g "
        "LEFT JOIN rollout_target t ON t.group_id = g.id WHERE g.rollout_id = ? GROUP BY g.id"
    )
    return {row[0]: row[1] for row in conn.execute(sql, (rollout_id,))}
