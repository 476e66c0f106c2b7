"""Actions of many targets at a time: made, opened or called off in a few statements.

A group of a rollout may have 20,000 targets, and nobody else can write while it is opened. Most
targets have nothing open and ask nobody for leave: those are changed together. What needs a
decision of its own is left to ``actions``. The outcome is the same.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from edgectl_selfhosted.hub.errors import Fault, HubError
from edgectl_selfhosted.hub.store import actions, sets, targets, types
from edgectl_selfhosted.hub.store.rows import Scalar, Tx, column, fetch, marks

_CHUNK = 500
_SAY = (
    "INSERT INTO action_status (action_id, status, reported_at, occurred_at, messages) "
    "VALUES (?, ?, ?, ?, ?)"
)
_CANDIDATES = (
    "SELECT a.id, a.ds_id, a.target_id, t.controller_id, "
    "t.installed_ds IS a.ds_id AND t.assigned_ds IS a.ds_id AS is_installed, "
    "EXISTS (SELECT 1 FROM action o WHERE o.target_id = a.target_id AND o.active = 1) "
    "AS has_open FROM action a JOIN target t ON t.id = a.target_id"
)


class _Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A scheduled action and what decides how it is opened."""

    id: int
    ds_id: int
    target_id: int
    controller_id: str
    is_installed: bool
    has_open: bool


class _Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A target that a set is to be brought to."""

    id: int
    controller_id: str
    type_id: int | None
    assigned_ds: int | None


def assign(
    tx: Tx, ds_id: int, target_ids: Iterable[int], how: actions.Assignment
) -> tuple[list[int], list[int]]:
    """Bring a set to targets: older open actions are canceled, the set becomes fixed.

    Returns:
        The new actions, and the targets that have the set assigned already.

    Raises:
        HubError: The set cannot be assigned, or a target's type does not take it.
    """
    dset = sets.check_assignable(tx.conn, ds_id)
    sets.lock(tx, ds_id)
    refusing = types.refusing_types(tx.conn, dset.type_id)
    made: list[int] = []
    already: list[int] = []
    for target in _wanted(tx, list(dict.fromkeys(target_ids))):
        if target.type_id in refusing:
            raise HubError(
                Fault.CONSTRAINT,
                f"the target '{target.controller_id}' has a type that does not take distribution "
                f"sets of type '{dset.type_key}'",
            )
        if target.assigned_ds == ds_id:
            already.append(target.id)
        else:
            made.append(actions.create(tx, target.id, ds_id, how))
    begin(tx, made, confirm=how.confirm, skip_installed=False)
    return made, already


def _wanted(tx: Tx, ids: list[int]) -> list[_Wanted]:
    found: dict[int, _Wanted] = {}
    for start in range(0, len(ids), _CHUNK):
        chunk = ids[start : start + _CHUNK]
        columns = "id, controller_id, type_id, assigned_ds"
        sql = f"SELECT {columns} FROM target WHERE id IN ({marks(chunk)})"  # noqa: S608 - ours
        found.update((one.id, one) for one in fetch(tx.conn, _Wanted, sql, chunk))
    return [found[id_] for id_ in ids if id_ in found]


def schedule(tx: Tx, ds_id: int, how: actions.Assignment) -> None:
    """Make a scheduled action for every member of ``how``'s group."""
    values: dict[str, Scalar] = {
        "ds": ds_id,
        "force_type": how.force_type,
        "force_time": how.force_time,
        "weight": how.weight,
        "rollout": how.rollout_id,
        "group": how.group_id,
        "now": tx.now_ms,
        "actor": tx.actor,
        "scheduled": actions.SCHEDULED,
        "messages": _messages("Waits for its group."),
    }
    tx.conn.execute(
        "INSERT INTO action (target_id, ds_id, status, active, force_type, force_time, weight, "
        "rollout_id, group_id, created_at, created_by, modified_at, modified_by) "
        "SELECT target_id, :ds, :scheduled, 0, :force_type, :force_time, :weight, :rollout, "
        ":group, :now, :actor, :now, :actor FROM rollout_target WHERE group_id = :group "
        "ORDER BY target_id",
        values,
    )
    tx.conn.execute(
        "INSERT INTO action_status (action_id, status, reported_at, occurred_at, messages) "
        "SELECT id, :scheduled, :now, :now, :messages FROM action "
        "WHERE group_id = :group AND status = :scheduled ORDER BY id",
        values,
    )


def scheduled_in(tx: Tx, group_id: int) -> list[int]:
    """Return the actions that wait for their group."""
    sql = "SELECT id FROM action WHERE group_id = ? AND status = 'scheduled' ORDER BY id"
    return [int(id_) for id_ in column(tx.conn, sql, (group_id,))]


def begin(tx: Tx, action_ids: Iterable[int], *, confirm: bool, skip_installed: bool) -> None:
    """Open scheduled actions, as ``actions.begin`` does each.

    Args:
        tx: The write.
        action_ids: Which; of different targets.
        confirm: Whether the devices are asked first.
        skip_installed: Close those whose target runs the set already.
    """
    ids = list(action_ids)
    for start in range(0, len(ids), _CHUNK):
        plain: list[_Candidate] = []
        for one in _candidates(tx, ids[start : start + _CHUNK]):
            if skip_installed and one.is_installed:
                action = actions.get(tx.conn, one.id)
                said = ("It is installed already.",)
                actions.say(tx, action, actions.Said(status=actions.FINISHED, messages=said))
                actions.set_state(tx, action, actions.FINISHED, active=False)
            elif confirm or one.has_open:
                target = targets.by_id(tx.conn, one.target_id)
                actions.begin(tx, target, actions.get(tx.conn, one.id), confirm=confirm)
            else:
                plain.append(one)
        _begin_plainly(tx, plain)


def _candidates(tx: Tx, ids: list[int]) -> list[_Candidate]:
    sql = f"{_CANDIDATES} WHERE a.id IN ({marks(ids)}) ORDER BY a.id"
    return fetch(tx.conn, _Candidate, sql, ids)


def _begin_plainly(tx: Tx, some: list[_Candidate]) -> None:
    now, messages = tx.now_ms, _messages("Assignment initiated.")
    tx.conn.executemany(_SAY, [(one.id, actions.RUNNING, now, now, messages) for one in some])
    tx.conn.executemany(
        "UPDATE action SET status = ?, active = 1, modified_at = ?, modified_by = ? WHERE id = ?",
        [(actions.RUNNING, now, tx.actor, one.id) for one in some],
    )
    tx.conn.executemany(
        "UPDATE target SET assigned_ds = ?, update_status = 'pending' WHERE id = ?",
        [(one.ds_id, one.target_id) for one in some],
    )
    tx.touched.update(one.controller_id for one in some)


def drop_scheduled(tx: Tx, rollout_id: int, why: str) -> None:
    """Cancel what a rollout has scheduled; no device knows of it."""
    now, messages = tx.now_ms, _messages(why)
    sql = "SELECT id FROM action WHERE rollout_id = ? AND status = 'scheduled' ORDER BY id"
    ids = column(tx.conn, sql, (rollout_id,))
    tx.conn.executemany(_SAY, [(id_, actions.CANCELED, now, now, messages) for id_ in ids])
    tx.conn.executemany(
        "UPDATE action SET status = ?, active = 0, modified_at = ?, modified_by = ? WHERE id = ?",
        [(actions.CANCELED, now, tx.actor, id_) for id_ in ids],
    )
    tx.wake = tx.wake or bool(ids)


def _messages(text: str) -> str:
    return msgspec.json.encode((text,)).decode()
