"""Rollouts: made from a filter or from groups, started, held, resumed, stopped and retried."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgectl_selfhosted.hub.errors import Fault, HubError
from edgectl_selfhosted.hub.fiql_sql import Condition
from edgectl_selfhosted.hub.http import (
    Json,
    answer,
    base_url,
    body,
    done,
    hub_of,
    listing,
    path_id,
    query,
)
from edgectl_selfhosted.hub.mgmt import bodies, documents
from edgectl_selfhosted.hub.mgmt.filters import check_filter
from edgectl_selfhosted.hub.mgmt.grouping import new_groups, one_group
from edgectl_selfhosted.hub.mgmt.targets import target_page
from edgectl_selfhosted.hub.rollout_driver import advance, start_group, stop_actions
from edgectl_selfhosted.hub.store import rollouts, sets, settings
from edgectl_selfhosted.hub.store.rows import Tx

Change = Callable[[Tx, rollouts.Rollout, Request], None]
_OVER = {"finished", "stopped", "stopping"}


def _shown(conn: sqlite3.Connection, rollout: rollouts.Rollout, base: str) -> Json:
    by_action: dict[str, int] = {}
    for counts in rollouts.action_counts(conn, rollout.id).values():
        for word, count in counts.items():
            by_action[word] = by_action.get(word, 0) + count
    totals = documents.totals(rollout.status, rollout.total_targets, by_action)
    return documents.rollout(rollout, totals, base)


async def list_rollouts(request: Request) -> Response:
    """List rollouts."""
    asked = query(request)
    base = base_url(request)

    def work(conn: sqlite3.Connection) -> Json:
        page = rollouts.listing(conn, asked)
        return listing(page, [_shown(conn, r, base) for r in page.content])

    return answer(request, await hub_of(request).read(work))


async def create_rollout(request: Request) -> Response:
    """Make a rollout; the scheduler makes it ready."""
    sent = await body(request, bodies.RolloutPost)
    hub = hub_of(request)
    base = base_url(request)
    if sent.dynamic:
        raise HubError(Fault.CONSTRAINT, "dynamic rollouts are not supported by this hub")
    text = check_filter(sent.target_filter_query)
    overdue = hub.settings.millis(settings.OVERDUE)

    def work(tx: Tx) -> Json:
        sets.check_assignable(tx.conn, sent.distribution_set_id)
        groups = new_groups(tx.conn, sent, hub.config.quotas, overdue_ms=overdue)
        new = rollouts.NewRollout(
            name=sent.name,
            description=sent.description,
            ds_id=sent.distribution_set_id,
            query=text,
            force_type=sent.type,
            force_time=sent.forcetime,
            start_at=sent.start_at,
            weight=sent.weight,
        )
        return _shown(tx.conn, rollouts.create(tx, new, groups), base)

    return answer(request, await hub.write(work), 201)


async def get_rollout(request: Request) -> Response:
    """Show a rollout."""
    id_ = path_id(request, "rollout")
    base = base_url(request)
    found = await hub_of(request).read(lambda conn: _shown(conn, rollouts.get(conn, id_), base))
    return answer(request, found)


async def put_rollout(request: Request) -> Response:
    """Change a rollout's name or description."""
    id_ = path_id(request, "rollout")
    sent = await body(request, bodies.RolloutPut)
    base = base_url(request)
    values = bodies.given({"name": sent.name, "description": sent.description})
    changed = await hub_of(request).write(
        lambda tx: _shown(tx.conn, rollouts.change(tx, id_, values), base)
    )
    return answer(request, changed)


async def delete_rollout(request: Request) -> Response:
    """Remove a rollout; what it has open is called off."""
    id_ = path_id(request, "rollout")

    def work(tx: Tx) -> None:
        rollouts.get(tx.conn, id_)
        stop_actions(tx, id_)
        tx.update_audited("rollout", id_, {"deleted": 1, "status": "deleted"})

    await hub_of(request).write(work)
    return done()


def _expect(rollout: rollouts.Rollout, *statuses: str) -> None:
    if rollout.status not in statuses:
        raise HubError(
            Fault.ROLLOUT_STATE,
            f"the rollout '{rollout.name}' is {rollout.status}, it must be {' or '.join(statuses)}",
        )


def _verb(change: Change) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        id_ = path_id(request, "rollout")
        hub = hub_of(request)

        def work(tx: Tx) -> None:
            rollout = rollouts.get(tx.conn, id_)
            change(tx, rollout, request)
            advance(tx, id_, hub.settings)

        await hub.write(work)
        return done()

    return handle


def _start(tx: Tx, rollout: rollouts.Rollout, _: Request) -> None:
    _expect(rollout, "ready")
    rollouts.change(tx, rollout.id, {"status": "starting", "start_at": tx.now_ms})


def _pause(tx: Tx, rollout: rollouts.Rollout, _: Request) -> None:
    _expect(rollout, "running")
    rollouts.change(tx, rollout.id, {"status": "paused"})


def _resume(tx: Tx, rollout: rollouts.Rollout, _: Request) -> None:
    _expect(rollout, "paused")
    rollouts.change(tx, rollout.id, {"status": "running"})


def _stop(tx: Tx, rollout: rollouts.Rollout, _: Request) -> None:
    if rollout.status in _OVER:
        _expect(rollout, "creating", "ready", "starting", "running", "paused")
    rollouts.change(tx, rollout.id, {"status": "stopping"})


def _decide(status: str) -> Change:
    def change(tx: Tx, rollout: rollouts.Rollout, request: Request) -> None:
        _expect(rollout, "waiting_for_approval")
        remark = request.query_params.get("remark", "")[:255] or None
        values: dict[str, str | int | float | bytes | None] = {
            "status": status,
            "approval_remark": remark,
            "approval_by": tx.actor,
        }
        rollouts.change(tx, rollout.id, values)

    return change


def _next_group(tx: Tx, rollout: rollouts.Rollout, request: Request) -> None:
    _expect(rollout, "running")
    waiting = [g for g in rollouts.groups(tx.conn, rollout.id) if g.status == "scheduled"]
    if not waiting:
        raise HubError(Fault.ROLLOUT_STATE, f"the rollout '{rollout.name}' has no group that waits")
    confirm = hub_of(request).settings.flag(settings.CONFIRMATION)
    start_group(tx, rollout, waiting[0].id, confirm=confirm)


async def retry(request: Request) -> Response:
    """Make a new rollout of the targets that failed in a finished one."""
    id_ = path_id(request, "rollout")
    hub = hub_of(request)
    base = base_url(request)

    def work(tx: Tx) -> Json:
        old = rollouts.get(tx.conn, id_)
        _expect(old, "finished", "stopped")
        failed = rollouts.failed_targets(tx.conn, id_)
        group = one_group(failed, hub.config.quotas)
        sets.check_assignable(tx.conn, old.ds_id)
        new = rollouts.NewRollout(
            name=f"{old.name}_retry"[:128],
            description=old.description,
            ds_id=old.ds_id,
            query=old.query,
            force_type=old.force_type,
            force_time=old.force_time,
            start_at=None,
            weight=old.weight,
            retry_of=old.id,
        )
        return _shown(tx.conn, rollouts.create(tx, new, [group]), base)

    return answer(request, await hub.write(work), 201)


def _group_shown(conn: sqlite3.Connection, group: rollouts.Group, base: str) -> Json:
    counts = rollouts.action_counts(conn, group.rollout_id).get(group.id, {})
    totals = documents.totals(group.status, group.total_targets, counts)
    return documents.group(group, totals, base)


async def list_groups(request: Request) -> Response:
    """List a rollout's groups."""
    id_ = path_id(request, "rollout")
    asked = query(request)
    base = base_url(request)

    def work(conn: sqlite3.Connection) -> Json:
        rollouts.get(conn, id_)
        page = rollouts.groups_page(conn, id_, asked)
        return listing(page, [_group_shown(conn, g, base) for g in page.content])

    return answer(request, await hub_of(request).read(work))


async def get_group(request: Request) -> Response:
    """Show a group."""
    id_ = path_id(request, "rollout")
    group_id = path_id(request, "group")
    base = base_url(request)

    def work(conn: sqlite3.Connection) -> Json:
        rollouts.get(conn, id_)
        return _group_shown(conn, rollouts.group(conn, id_, group_id), base)

    return answer(request, await hub_of(request).read(work))


async def group_targets(request: Request) -> Response:
    """List the targets of a group."""
    id_ = path_id(request, "rollout")
    group_id = path_id(request, "group")
    await hub_of(request).read(lambda conn: rollouts.group(conn, id_, group_id))
    members = "target.id IN (SELECT target_id FROM rollout_target WHERE group_id = ?)"
    return await target_page(request, Condition(sql=members, params=(group_id,)))


_BASE = "/rest/v1/rollouts"
_ONE = _BASE + "/{rollout}"
_VERBS: dict[str, Change] = {
    "start": _start,
    "pause": _pause,
    "resume": _resume,
    "stop": _stop,
    "approve": _decide("ready"),
    "deny": _decide("approval_denied"),
    "triggerNextGroup": _next_group,
}

ROUTES = [
    Route(_BASE, list_rollouts, methods=["GET"]),
    Route(_BASE, create_rollout, methods=["POST"]),
    Route(_ONE, get_rollout, methods=["GET"]),
    Route(_ONE, put_rollout, methods=["PUT"]),
    Route(_ONE, delete_rollout, methods=["DELETE"]),
    *(Route(f"{_ONE}/{word}", _verb(change), methods=["POST"]) for word, change in _VERBS.items()),
    Route(_ONE + "/retry", retry, methods=["POST"]),
    Route(_ONE + "/deploygroups", list_groups, methods=["GET"]),
    Route(_ONE + "/deploygroups/{group}", get_group, methods=["GET"]),
    Route(_ONE + "/deploygroups/{group}/targets", group_targets, methods=["GET"]),
]
