"""Actions: one set on its way to one target, with every word the device said about it.

The status words are hawkBit's. An action is *open* while ``active``; a target may have several
open ones, the older ones then being canceled: the device is shown the oldest first.
"""

from __future__ import annotations

import sqlite3

import msgspec

from edgectl_selfhosted.hub.errors import Fault, HubError, not_found
from edgectl_selfhosted.hub.fiql_sql import ALWAYS, Condition
from edgectl_selfhosted.hub.store import fields, sets, targets
from edgectl_selfhosted.hub.store.paging import Page, Query, page
from edgectl_selfhosted.hub.store.rows import Audited, Scalar, Tx, column, fetch, fetch_one, scalar

RUNNING = "running"
RETRIEVED = "retrieved"
WAITING = "wait_for_confirmation"
SCHEDULED = "scheduled"
CANCELING = "canceling"
CANCELED = "canceled"
FINISHED = "finished"
ERROR = "error"
DOWNLOADED = "downloaded"
CANCEL_REJECTED = "cancel_rejected"

_COLUMNS = (
    "action.*, (SELECT name FROM rollout r WHERE r.id = action.rollout_id) AS rollout_name, "
    "(SELECT controller_id FROM target t WHERE t.id = action.target_id) AS controller_id, "
    "(SELECT name || ':' || version FROM dset d WHERE d.id = action.ds_id) AS ds_title"
)


class Action(Audited, frozen=True, kw_only=True):
    """A set on its way to a target."""

    id: int
    target_id: int
    controller_id: str
    ds_id: int
    ds_title: str
    status: str
    active: bool
    force_type: str
    force_time: int | None
    weight: int | None
    external_ref: str | None
    rollout_id: int | None
    rollout_name: str | None
    group_id: int | None
    last_status_code: int | None

    @property
    def is_canceling(self) -> bool:
        """Whether the device is asked to give it up, or did."""
        return self.status in {CANCELING, CANCELED}

    def is_forced(self, now_ms: int) -> bool:
        """Whether the device is to act at once."""
        timed = self.force_type == "timeforced" and (self.force_time or 0) <= now_ms
        return self.force_type == "forced" or timed


class ActionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of an action's history."""

    id: int
    action_id: int
    status: str
    code: int | None
    reported_at: int
    occurred_at: int
    messages: list[str]


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """How a set is to be brought to a target."""

    force_type: str = "forced"
    force_time: int | None = None
    weight: int | None = None
    confirm: bool = False
    rollout_id: int | None = None
    group_id: int | None = None


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What is written into an action's history."""

    status: str
    messages: tuple[str, ...] = ()
    code: int | None = None
    occurred_at: int | None = None


def listing(conn: sqlite3.Connection, query: Query, where: Condition = ALWAYS) -> Page[Action]:
    """Return a page of actions."""
    return page(
        conn,
        Action,
        query,
        table="action",
        fields=fields.ACTION,
        columns=_COLUMNS,
        where=where,
    )


def get(conn: sqlite3.Connection, id_: int) -> Action:
    """Return an action.

    Raises:
        HubError: There is none.
    """
    sql = f"SELECT {_COLUMNS} FROM action WHERE id = ?"  # noqa: S608 - ours
    found = fetch_one(conn, Action, sql, (id_,))
    if found is None:
        raise not_found("Action", id_)
    return found


def of_target(conn: sqlite3.Connection, target_id: int, id_: int) -> Action:
    """Return an action of this target and no other.

    Raises:
        HubError: There is none.
    """
    action = get(conn, id_)
    if action.target_id != target_id:
        raise not_found("Action", id_)
    return action


def open_actions(conn: sqlite3.Connection, target_id: int) -> list[Action]:
    """Return a target's open actions, the one that is shown to the device first."""
    sql = f"SELECT {_COLUMNS} FROM action WHERE target_id = ? AND active = 1 ORDER BY id"  # noqa: S608 - ours
    return fetch(conn, Action, sql, (target_id,))


def history(conn: sqlite3.Connection, action_id: int, query: Query) -> Page[ActionStatus]:
    """Return a page of an action's history."""
    total = scalar(conn, "SELECT count(*) FROM action_status WHERE action_id = ?", (action_id,))
    found = page(
        conn,
        _StatusRow,
        query,
        table="action_status",
        fields=fields.ACTION_STATUS,
        where=Condition(sql="action_status.action_id = ?", params=(action_id,)),
        default_order="action_status.id DESC",
    )
    return Page(content=[row.unpacked() for row in found.content], total=total)


def messages(conn: sqlite3.Connection, action_id: int, limit: int) -> list[str]:
    """Return the newest messages of an action, newest first; a negative limit means all."""
    sql = "SELECT messages FROM action_status WHERE action_id = ? ORDER BY id DESC LIMIT ?"
    rows = column(conn, sql, (action_id, limit if limit >= 0 else 1_000))
    found = [text for row in rows for text in msgspec.json.decode(row, type=list[str])]
    return found if limit < 0 else found[:limit]


def say(tx: Tx, action: Action, said: Said) -> None:
    """Add an entry to an action's history."""
    tx.insert(
        "action_status",
        {
            "action_id": action.id,
            "status": said.status,
            "code": said.code,
            "reported_at": tx.now_ms,
            "occurred_at": said.occurred_at if said.occurred_at is not None else tx.now_ms,
            "messages": msgspec.json.encode(said.messages).decode(),
        },
    )


def check_history_quota(conn: sqlite3.Connection, action_id: int, limit: int) -> None:
    """Refuse more entries than the quota.

    Raises:
        HubError: ``QUOTA``.
    """
    count = scalar(conn, "SELECT count(*) FROM action_status WHERE action_id = ?", (action_id,))
    if count >= limit:
        raise HubError(Fault.QUOTA, f"an action has at most {limit} status entries")


def set_state(
    tx: Tx, action: Action, status: str, *, active: bool, code: int | None = None
) -> None:
    """Move an action on; a closing one frees the target's poll answer and wakes rollouts."""
    values: dict[str, Scalar] = {"status": status, "active": active}
    if code is not None:
        values["last_status_code"] = code
    tx.update_audited("action", action.id, values)
    if _looks(status, active=active) != _looks(action.status, active=action.active):
        tx.touched.add(action.controller_id)
    if not active and action.rollout_id is not None:
        tx.wake = True


def _looks(status: str, *, active: bool) -> str:
    """Return how a poll shows an action in this state."""
    if not active:
        return ""
    return status if status in {WAITING, CANCELING, CANCELED} else RUNNING


def create(tx: Tx, target_id: int, ds_id: int, how: Assignment) -> int:
    """Make a scheduled action; ``begin`` shows it to the device."""
    return tx.insert_audited(
        "action",
        {
            "target_id": target_id,
            "ds_id": ds_id,
            "status": SCHEDULED,
            "active": 0,
            "force_type": how.force_type,
            "force_time": how.force_time,
            "weight": how.weight,
            "rollout_id": how.rollout_id,
            "group_id": how.group_id,
        },
    )


def begin(tx: Tx, target: targets.Target, action: Action, *, confirm: bool) -> None:
    """Open a scheduled action: cancel what was open, and make its set the assigned one."""
    for older in open_actions(tx.conn, target.id):
        if not older.is_canceling:
            cancel_softly(tx, older, f"Canceled by the newer action {action.id}.")
    if confirm and not target.auto_confirm:
        said = Said(status=WAITING, messages=("Waiting for the device's confirmation.",))
    elif confirm:
        who = target.auto_confirm_by or "the system"
        said = Said(status=RUNNING, messages=(f"Confirmed automatically for {who}.",))
    else:
        said = Said(status=RUNNING, messages=("Assignment initiated.",))
    say(tx, action, said)
    set_state(tx, action, said.status, active=True)
    targets.note(tx, target, {"assigned_ds": action.ds_id, "update_status": "pending"})


def cancel_softly(tx: Tx, action: Action, why: str) -> None:
    """Ask the device to give an action up.

    Raises:
        HubError: ``NOT_CANCELABLE``.
    """
    if not action.active or action.is_canceling:
        raise HubError(
            Fault.NOT_CANCELABLE, f"the action '{action.id}' is {action.status}, it is not canceled"
        )
    say(tx, action, Said(status=CANCELING, messages=(why,)))
    set_state(tx, action, CANCELING, active=True)


def cancel_by_force(tx: Tx, action: Action) -> None:
    """End an action without the device; only after a cancelation was asked for.

    Raises:
        HubError: ``NOT_FORCE_QUITABLE``.
    """
    if not action.active or not action.is_canceling:
        raise HubError(
            Fault.NOT_FORCE_QUITABLE,
            f"the action '{action.id}' is {action.status}: cancel it before you force it",
        )
    say(tx, action, Said(status=CANCELED, messages=("Ended by force.",)))
    close_canceled(tx, action)


def close_canceled(tx: Tx, action: Action, code: int | None = None) -> None:
    """Close an action as canceled; the target goes back to what is installed."""
    set_state(tx, action, CANCELED, active=False, code=code)
    settle_target(tx, action.target_id)


def settle_target(tx: Tx, target_id: int) -> None:
    """Set a target's assigned set and update status from its open actions and what it runs."""
    target = targets.by_id(tx.conn, target_id)
    waiting = [a for a in open_actions(tx.conn, target_id) if not a.is_canceling]
    if waiting:
        values: dict[str, Scalar] = {"assigned_ds": waiting[-1].ds_id, "update_status": "pending"}
    else:
        status = "in_sync" if target.installed_ds is not None else "registered"
        values = {"assigned_ds": target.installed_ds, "update_status": status}
    targets.note(tx, target, values)


def finish(tx: Tx, action: Action, code: int | None = None) -> None:
    """Close an action as installed."""
    set_state(tx, action, FINISHED, active=False, code=code)
    target = targets.by_id(tx.conn, action.target_id)
    in_sync = target.assigned_ds == action.ds_id
    targets.note(
        tx,
        target,
        {
            "installed_ds": action.ds_id,
            "installed_at": tx.now_ms,
            "installed_action": action.id,
            "update_status": "in_sync" if in_sync else "pending",
            "request_attributes": 1,
        },
    )


def fail(tx: Tx, action: Action, code: int | None = None) -> None:
    """Close an action as failed; the target keeps what it runs."""
    set_state(tx, action, ERROR, active=False, code=code)
    target = targets.by_id(tx.conn, action.target_id)
    waiting = [a for a in open_actions(tx.conn, target.id) if not a.is_canceling]
    if not waiting:
        targets.note(tx, target, {"assigned_ds": target.installed_ds, "update_status": "error"})


def installed_offline(tx: Tx, target: targets.Target, ds_id: int, why: str) -> int:
    """Record a set that came onto the target without the hub."""
    sets.check_assignable(tx.conn, ds_id)
    sets.lock(tx, ds_id)
    id_ = create(tx, target.id, ds_id, Assignment())
    action = get(tx.conn, id_)
    for older in open_actions(tx.conn, target.id):
        if not older.is_canceling:
            cancel_softly(tx, older, f"Canceled by the offline installation {id_}.")
    say(tx, action, Said(status=FINISHED, messages=(why,)))
    targets.note(tx, target, {"assigned_ds": ds_id})
    finish(tx, action)
    return id_


def may_download(conn: sqlite3.Connection, target_id: int, module_id: int) -> bool:
    """Whether a module belongs to a set that is open or installed on this target."""
    sql = (
        "SELECT 1 FROM dset_module x WHERE x.module_id = ?1 AND (x.ds_id IN "
        "(SELECT ds_id FROM action WHERE target_id = ?2 AND active = 1) "
        "OR x.ds_id = (SELECT installed_ds FROM target WHERE id = ?2)) LIMIT 1"
    )
    return bool(scalar(conn, sql, (module_id, target_id)))


class _StatusRow(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    action_id: int
    status: str
    code: int | None
    reported_at: int
    occurred_at: int
    messages: str

    def unpacked(self) -> ActionStatus:
        return ActionStatus(
            id=self.id,
            action_id=self.action_id,
            status=self.status,
            code=self.code,
            reported_at=self.reported_at,
            occurred_at=self.occurred_at,
            messages=msgspec.json.decode(self.messages, type=list[str]),
        )
