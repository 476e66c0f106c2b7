"""Carries out what ``rollouts.decide`` says, one transaction a rollout."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from functools import partial

from edgectl_selfhosted.hub.errors import HubError
from edgectl_selfhosted.hub.hub import Hub, now_ms
from edgectl_selfhosted.hub.rollouts import Decision, GroupView, RolloutView, Step, decide
from edgectl_selfhosted.hub.store import actions, crowds, fields, filters, rollouts, sets, settings
from edgectl_selfhosted.hub.store.paging import matching
from edgectl_selfhosted.hub.store.rows import Tx, column

_MOVING = ("creating", "ready", "starting", "running", "stopping")
_MAX_STEPS = 2_000


async def advance_rollouts(hub: Hub) -> None:
    """Move every rollout as far as it goes now, then the filters that assign by themselves."""
    switches = hub.settings
    for id_ in await hub.read(lambda conn: rollouts.in_status(conn, *_MOVING)):
        if await hub.read(partial(_next_step, rollout_id=id_, switches=switches)) is not None:
            await hub.write(partial(advance, rollout_id=id_, switches=switches), actor="system")
    for found in await hub.read(filters.automatic):
        await hub.write(partial(assign_matches, found=found, switches=switches), actor="system")


def view(conn: sqlite3.Connection, rollout: rollouts.Rollout) -> RolloutView:
    """Return what a decision needs."""
    counts = rollouts.action_counts(conn, rollout.id)
    sizes = rollouts.group_sizes(conn, rollout.id)
    return RolloutView(
        status=rollout.status,
        start_at=rollout.start_at,
        groups=tuple(
            _group_view(group, counts.get(group.id, {}), sizes.get(group.id, 0))
            for group in rollouts.groups(conn, rollout.id)
        ),
    )


def _group_view(group: rollouts.Group, counts: Mapping[str, int], size: int) -> GroupView:
    return GroupView(
        id=group.id,
        status=group.status,
        success_threshold=group.success_threshold,
        success_action=group.success_action,
        error_threshold=group.error_threshold,
        total=size,
        finished=counts.get(actions.FINISHED, 0),
        error=counts.get(actions.ERROR, 0),
        canceled=counts.get(actions.CANCELED, 0),
    )


def _next_step(
    conn: sqlite3.Connection, rollout_id: int, switches: settings.Settings
) -> Decision | None:
    rollout = rollouts.find(conn, rollout_id)
    if rollout is None:
        return None
    approval = switches.flag(settings.APPROVAL)
    return decide(view(conn, rollout), now_ms=now_ms(), approval=approval)


def advance(tx: Tx, rollout_id: int, switches: settings.Settings) -> None:
    """Take steps until there is none for now."""
    confirm = switches.flag(settings.CONFIRMATION)
    for _ in range(_MAX_STEPS):
        decision = _next_step(tx.conn, rollout_id, switches)
        if decision is None:
            return
        _apply(tx, rollouts.get(tx.conn, rollout_id), decision, confirm=confirm)


def _apply(tx: Tx, rollout: rollouts.Rollout, decision: Decision, *, confirm: bool) -> None:
    match decision.step:
        case Step.READY | Step.AWAIT_APPROVAL:
            _set_groups(tx, rollout.id, {"creating"}, "ready")
            waits = decision.step is Step.AWAIT_APPROVAL
            _move(tx, rollout, "waiting_for_approval" if waits else "ready")
        case Step.START:
            _move(tx, rollout, "starting")
        case Step.RUN:
            _schedule(tx, rollout)
            _move(tx, rollout, "running")
        case Step.START_GROUP:
            start_group(tx, rollout, decision.group, confirm=confirm)
        case Step.FINISH_GROUP:
            _finish_group(tx, rollout, decision.group)
        case Step.FAIL_GROUP:
            rollouts.set_group_status(tx, decision.group, "error")
            _move(tx, rollout, "paused")
        case Step.FINISH:
            _move(tx, rollout, "finished")
        case Step.STOPPED:
            stop_actions(tx, rollout.id)
            _set_groups(tx, rollout.id, {"ready", "scheduled", "running"}, "finished")
            _move(tx, rollout, "stopped")


def _move(tx: Tx, rollout: rollouts.Rollout, status: str) -> None:
    tx.update_audited("rollout", rollout.id, {"status": status})


def _set_groups(tx: Tx, rollout_id: int, before: set[str], after: str) -> None:
    for group in rollouts.groups(tx.conn, rollout_id):
        if group.status in before:
            rollouts.set_group_status(tx, group.id, after)


def _schedule(tx: Tx, rollout: rollouts.Rollout) -> None:
    sets.lock(tx, rollout.ds_id)
    for group in rollouts.groups(tx.conn, rollout.id):
        how = actions.Assignment(
            force_type=rollout.force_type,
            force_time=rollout.force_time,
            weight=rollout.weight,
            rollout_id=rollout.id,
            group_id=group.id,
        )
        crowds.schedule(tx, rollout.ds_id, how)
        rollouts.set_group_status(tx, group.id, "scheduled")


def start_group(tx: Tx, rollout: rollouts.Rollout, group_id: int, *, confirm: bool) -> None:
    """Open the scheduled actions of a group; a target that runs the set already is done."""
    group = rollouts.group(tx.conn, rollout.id, group_id)
    asks = confirm and group.confirmation_required
    waiting = crowds.scheduled_in(tx, group_id)
    crowds.begin(tx, waiting, confirm=asks, skip_installed=True)
    rollouts.set_group_status(tx, group_id, "running")


def _finish_group(tx: Tx, rollout: rollouts.Rollout, group_id: int) -> None:
    rollouts.set_group_status(tx, group_id, "finished")
    group = rollouts.group(tx.conn, rollout.id, group_id)
    waiting = any(g.status == "scheduled" for g in rollouts.groups(tx.conn, rollout.id))
    if group.success_action == "PAUSE" and waiting:
        _move(tx, rollout, "paused")


def stop_actions(tx: Tx, rollout_id: int) -> None:
    """Cancel what a rollout has open and what it has scheduled."""
    why = "The rollout was stopped."
    crowds.drop_scheduled(tx, rollout_id, why)
    sql = "SELECT id FROM action WHERE rollout_id = ? AND active = 1"
    for id_ in column(tx.conn, sql, (rollout_id,)):
        action = actions.get(tx.conn, id_)
        if not action.is_canceling:
            actions.cancel_softly(tx, action, why)


def assign_matches(tx: Tx, found: filters.TargetFilter, switches: settings.Settings) -> None:
    """Assign a filter's set to the targets that match it and never had it."""
    if found.auto_ds is None:
        return
    matches = matching(
        tx.conn,
        found.query,
        table="target",
        fields=fields.TARGET,
        overdue_ms=switches.millis(settings.OVERDUE),
    )
    had = set(column(tx.conn, "SELECT target_id FROM action WHERE ds_id = ?", (found.auto_ds,)))
    how = actions.Assignment(
        force_type=found.auto_type or "forced",
        weight=found.auto_weight,
        confirm=switches.flag(settings.CONFIRMATION) and found.confirmation_required,
    )
    fresh = [id_ for id_ in matches if id_ not in had]
    try:
        crowds.assign(tx, found.auto_ds, fresh, how)
    except HubError:
        # The set was invalidated or lost a module meanwhile: it is not assigned any more.
        tx.update_audited("target_filter", found.id, {"auto_ds": None})
