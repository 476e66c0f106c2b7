"""Distribution sets: what they hold, who gets them, calling them off for good."""

from __future__ import annotations

import sqlite3

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgectl_selfhosted.hub.fiql_sql import ALWAYS, Condition
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
from edgectl_selfhosted.hub.mgmt.filters import filter_page
from edgectl_selfhosted.hub.mgmt.metadata import metadata_routes
from edgectl_selfhosted.hub.mgmt.targets import target_page
from edgectl_selfhosted.hub.rollout_driver import stop_actions
from edgectl_selfhosted.hub.store import actions, modules, rollouts, sets
from edgectl_selfhosted.hub.store.paging import Page
from edgectl_selfhosted.hub.store.rows import Tx, column, scalar


async def set_page(request: Request, where: Condition = ALWAYS) -> Response:
    """Answer a page of sets."""
    asked = query(request)
    base = base_url(request)

    def work(conn: sqlite3.Connection) -> Json:
        page = sets.listing(conn, asked, where)
        content = [documents.dset(s, modules.of_set(conn, s.id), base) for s in page.content]
        return listing(page, content)

    return answer(request, await hub_of(request).read(work))


async def list_sets(request: Request) -> Response:
    """List sets."""
    return await set_page(request)


async def create_sets(request: Request) -> Response:
    """Make sets; all or none."""
    sent = await body(request, list[bodies.SetPost])
    hub = hub_of(request)
    base = base_url(request)
    limit = hub.config.quotas.modules_per_set

    def work(tx: Tx) -> list[Json]:
        made = [sets.create(tx, _new(post), limit=limit) for post in sent]
        return [documents.dset(s, modules.of_set(tx.conn, s.id), base) for s in made]

    return answer(request, await hub.write(work), 201)


def _new(post: bodies.SetPost) -> sets.NewSet:
    return sets.NewSet(
        name=post.name,
        version=post.version,
        type_key=post.type or sets.DEFAULT_TYPE,
        description=post.description,
        migration=post.required_migration_step,
        modules=tuple(m.id for m in post.modules),
    )


async def get_set(request: Request) -> Response:
    """Show a set."""
    id_ = path_id(request, "set")
    base = base_url(request)

    def work(conn: sqlite3.Connection) -> Json:
        return documents.dset(sets.get(conn, id_), modules.of_set(conn, id_), base)

    return answer(request, await hub_of(request).read(work))


async def put_set(request: Request) -> Response:
    """Change a set."""
    id_ = path_id(request, "set")
    sent = await body(request, bodies.SetPut)
    base = base_url(request)
    values = bodies.given(
        {
            "name": sent.name,
            "version": sent.version,
            "description": sent.description,
            "migration": sent.required_migration_step,
            "locked": sent.locked,
        }
    )

    def work(tx: Tx) -> Json:
        changed = sets.change(tx, id_, values)
        return documents.dset(changed, modules.of_set(tx.conn, id_), base)

    return answer(request, await hub_of(request).write(work))


async def delete_set(request: Request) -> Response:
    """Remove a set."""
    id_ = path_id(request, "set")
    await hub_of(request).write(lambda tx: sets.remove(tx, id_))
    return done()


async def list_modules(request: Request) -> Response:
    """List the modules of a set."""
    id_ = path_id(request, "set")
    asked = query(request)

    def work(conn: sqlite3.Connection) -> Page[modules.Module]:
        sets.get(conn, id_)
        held = "module.id IN (SELECT module_id FROM dset_module WHERE ds_id = ?)"
        return modules.listing(conn, asked, Condition(sql=held, params=(id_,)))

    page = await hub_of(request).read(work)
    base = base_url(request)
    return answer(request, listing(page, [documents.module(m, base) for m in page.content]))


async def add_modules(request: Request) -> Response:
    """Put modules into a set."""
    id_ = path_id(request, "set")
    sent = await body(request, list[bodies.IdBody])
    hub = hub_of(request)
    limit = hub.config.quotas.modules_per_set
    await hub.write(lambda tx: sets.add_modules(tx, id_, [m.id for m in sent], limit=limit))
    return done()


async def remove_module(request: Request) -> Response:
    """Take a module out of a set."""
    id_ = path_id(request, "set")
    module_id = path_id(request, "module")
    await hub_of(request).write(lambda tx: sets.remove_module(tx, id_, module_id))
    return done()


async def _targets_with(request: Request, column_: str) -> Response:
    id_ = path_id(request, "set")
    await hub_of(request).read(lambda conn: sets.get(conn, id_))
    return await target_page(request, Condition(sql=f"target.{column_} = ?", params=(id_,)))


async def list_assigned(request: Request) -> Response:
    """List the targets that are to run a set."""
    return await _targets_with(request, "assigned_ds")


async def list_installed(request: Request) -> Response:
    """List the targets that run a set."""
    return await _targets_with(request, "installed_ds")


async def list_auto_filters(request: Request) -> Response:
    """List the filters that assign a set by themselves."""
    id_ = path_id(request, "set")
    await hub_of(request).read(lambda conn: sets.get(conn, id_))
    return await filter_page(request, Condition(sql="target_filter.auto_ds = ?", params=(id_,)))


async def invalidate(request: Request) -> Response:
    """Make a set unusable for good, with its rollouts and actions if asked."""
    id_ = path_id(request, "set")
    sent = await body(request, bodies.Invalidation)

    def work(tx: Tx) -> None:
        sets.get(tx.conn, id_)
        tx.update_audited("dset", id_, {"valid": 0})
        tx.conn.execute("UPDATE target_filter SET auto_ds = NULL WHERE auto_ds = ?", (id_,))
        if sent.cancel_rollouts:
            for rollout_id in column(
                tx.conn,
                "SELECT id FROM rollout WHERE ds_id = ? AND deleted = 0 "
                "AND status NOT IN ('finished', 'stopped')",
                (id_,),
            ):
                stop_actions(tx, rollout_id)
                rollouts.change(tx, rollout_id, {"status": "stopping"})
        if sent.action_cancelation_type != "none":
            _cancel_all(tx, id_, by_force=sent.action_cancelation_type == "force")

    await hub_of(request).write(work)
    return done()


def _cancel_all(tx: Tx, ds_id: int, *, by_force: bool) -> None:
    for id_ in column(tx.conn, "SELECT id FROM action WHERE ds_id = ? AND active = 1", (ds_id,)):
        if not actions.get(tx.conn, id_).is_canceling:
            actions.cancel_softly(tx, actions.get(tx.conn, id_), "Its set was invalidated.")
        if by_force:
            actions.cancel_by_force(tx, actions.get(tx.conn, id_))


async def statistics(request: Request) -> Response:
    """Count a set's actions, rollouts and automatic assignments."""
    id_ = path_id(request, "set")
    only = str(request.path_params.get("part", ""))

    def work(conn: sqlite3.Connection) -> Json:
        sets.get(conn, id_)
        shown: Json = {}
        if only in {"", "actions"}:
            shown["actions"] = _with_total(sets.status_counts(conn, id_, "action"))
        if only in {"", "rollouts"}:
            shown["rollouts"] = _with_total(sets.status_counts(conn, id_, "rollout"))
        if only in {"", "autoassignments"}:
            sql = "SELECT count(*) FROM target_filter WHERE auto_ds = ?"
            shown["totalAutoAssignments"] = scalar(conn, sql, (id_,))
        return shown

    return answer(request, await hub_of(request).read(work))


def _with_total(counts: dict[str, int]) -> dict[str, int]:
    return {**{word.upper(): n for word, n in counts.items()}, "total": sum(counts.values())}


def _owner(conn: sqlite3.Connection, request: Request) -> int:
    return sets.get(conn, path_id(request, "set")).id


_BASE = "/rest/v1/distributionsets"
_ONE = _BASE + "/{set}"

ROUTES = [
    Route(_BASE, list_sets, methods=["GET"]),
    Route(_BASE, create_sets, methods=["POST"]),
    Route(_ONE, get_set, methods=["GET"]),
    Route(_ONE, put_set, methods=["PUT"]),
    Route(_ONE, delete_set, methods=["DELETE"]),
    Route(_ONE + "/assignedSM", list_modules, methods=["GET"]),
    Route(_ONE + "/assignedSM", add_modules, methods=["POST"]),
    Route(_ONE + "/assignedSM/{module}", remove_module, methods=["DELETE"]),
    Route(_ONE + "/assignedTargets", list_assigned, methods=["GET"]),
    Route(_ONE + "/installedTargets", list_installed, methods=["GET"]),
    Route(_ONE + "/autoAssignTargetFilters", list_auto_filters, methods=["GET"]),
    Route(_ONE + "/invalidate", invalidate, methods=["POST"]),
    Route(_ONE + "/statistics", statistics, methods=["GET"]),
    Route(_ONE + "/statistics/{part}", statistics, methods=["GET"]),
    *metadata_routes(_ONE, "dset", _owner),
]
