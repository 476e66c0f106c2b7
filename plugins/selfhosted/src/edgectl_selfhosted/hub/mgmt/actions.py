"""Operators' view of actions: what is on its way, its history, and calling it off."""

from __future__ import annotations

import sqlite3

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgectl_selfhosted.hub.ddi.bodies import ConfirmationFeedback
from edgectl_selfhosted.hub.ddi.confirmation import confirm
from edgectl_selfhosted.hub.errors import Fault, HubError
from edgectl_selfhosted.hub.fiql_sql import Condition
from edgectl_selfhosted.hub.http import (
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
from edgectl_selfhosted.hub.mgmt.targets import controller_id_of
from edgectl_selfhosted.hub.store import actions, targets
from edgectl_selfhosted.hub.store.paging import Page
from edgectl_selfhosted.hub.store.rows import Tx


async def list_all(request: Request) -> Response:
    """List the actions of all targets."""
    asked = query(request)
    page = await hub_of(request).read(lambda conn: actions.listing(conn, asked))
    base = base_url(request)
    return answer(request, listing(page, [documents.action(a, base) for a in page.content]))


async def get_any(request: Request) -> Response:
    """Show an action by its number alone."""
    id_ = path_id(request, "action")
    found = await hub_of(request).read(lambda conn: actions.get(conn, id_))
    return answer(request, documents.action(found, base_url(request)))


async def list_of_target(request: Request) -> Response:
    """List a target's actions."""
    controller_id = controller_id_of(request)
    asked = query(request)

    def work(conn: sqlite3.Connection) -> Page[actions.Action]:
        target = targets.get(conn, controller_id)
        where = Condition(sql="action.target_id = ?", params=(target.id,))
        return actions.listing(conn, asked, where)

    page = await hub_of(request).read(work)
    base = base_url(request)
    return answer(request, listing(page, [documents.action(a, base) for a in page.content]))


def own(conn: sqlite3.Connection, request: Request) -> actions.Action:
    """Return the action in the path, if it is the target's in the path."""
    target = targets.get(conn, controller_id_of(request))
    return actions.of_target(conn, target.id, path_id(request, "action"))


async def get_one(request: Request) -> Response:
    """Show a target's action."""
    found = await hub_of(request).read(lambda conn: own(conn, request))
    return answer(request, documents.action(found, base_url(request)))


async def get_status(request: Request) -> Response:
    """List an action's history, newest first unless asked otherwise."""
    asked = query(request)

    def work(conn: sqlite3.Connection) -> Page[actions.ActionStatus]:
        return actions.history(conn, own(conn, request).id, asked)

    page = await hub_of(request).read(work)
    return answer(request, listing(page, [documents.action_status(s) for s in page.content]))


async def put_one(request: Request) -> Response:
    """Turn a soft action into a forced one."""
    sent = await body(request, bodies.ActionPut)
    if sent.force_type not in {None, "forced"}:
        raise HubError(Fault.CONSTRAINT, "an action can only be turned to 'forced'")

    def work(tx: Tx) -> actions.Action:
        action = own(tx.conn, request)
        if sent.force_type and action.active and action.force_type != "forced":
            tx.update_audited("action", action.id, {"force_type": "forced"})
            tx.touched.add(action.controller_id)
        return own(tx.conn, request)

    changed = await hub_of(request).write(work)
    return answer(request, documents.action(changed, base_url(request)))


async def delete_one(request: Request) -> Response:
    """Ask a device to give an action up; with ``force=true`` end it without the device."""
    force = request.query_params.get("force", "false").lower() == "true"

    def work(tx: Tx) -> None:
        action = own(tx.conn, request)
        if force:
            actions.cancel_by_force(tx, action)
        else:
            actions.cancel_softly(tx, action, "Canceled by an operator.")

    await hub_of(request).write(work)
    return done()


async def put_confirmation(request: Request) -> Response:
    """Confirm or deny an action for its device."""
    sent = await body(request, ConfirmationFeedback)
    await hub_of(request).write(lambda tx: confirm(tx, own(tx.conn, request), sent))
    return done()


_OF_TARGET = "/rest/v1/targets/{target}/actions"
_ONE = _OF_TARGET + "/{action}"

ROUTES = [
    Route("/rest/v1/actions", list_all, methods=["GET"]),
    Route("/rest/v1/actions/{action}", get_any, methods=["GET"]),
    Route(_OF_TARGET, list_of_target, methods=["GET"]),
    Route(_ONE, get_one, methods=["GET"]),
    Route(_ONE, put_one, methods=["PUT"]),
    Route(_ONE, delete_one, methods=["DELETE"]),
    Route(_ONE + "/status", get_status, methods=["GET"]),
    Route(_ONE + "/confirmation", put_confirmation, methods=["PUT"]),
]
