"""The confirmation flow: a device (or an operator for it) lets an update through, or not."""

from __future__ import annotations

import sqlite3

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgectl_selfhosted.hub.ddi import documents
from edgectl_selfhosted.hub.ddi.bodies import AutoConfirm, ConfirmationFeedback
from edgectl_selfhosted.hub.ddi.identity import action_etag
from edgectl_selfhosted.hub.ddi.poll import device_url
from edgectl_selfhosted.hub.ddi.routes import device
from edgectl_selfhosted.hub.errors import Fault, HubError, not_found
from edgectl_selfhosted.hub.http import (
    Json,
    answer,
    base_url,
    body,
    compact,
    done,
    hub_of,
    integer,
    link,
    path_id,
)
from edgectl_selfhosted.hub.hub import now_ms
from edgectl_selfhosted.hub.store import actions, targets
from edgectl_selfhosted.hub.store.rows import Tx


def confirm(tx: Tx, action: actions.Action, sent: ConfirmationFeedback) -> None:
    """Let a waiting action run, or leave it waiting when it was denied.

    Raises:
        HubError: ``GONE`` for a closed action, ``CONFIRMATION`` for one that does not wait.
    """
    if not action.active:
        raise HubError(Fault.GONE, f"the action '{action.id}' is not active")
    if action.status != actions.WAITING:
        raise HubError(
            Fault.CONFIRMATION, f"the action '{action.id}' does not wait to be confirmed"
        )
    details = tuple(text[:512] for text in (sent.details or [])[:50])
    if sent.confirmation == "confirmed":
        said = actions.Said(
            status=actions.RUNNING, messages=(*details, "Confirmed."), code=sent.code
        )
        actions.set_state(tx, action, actions.RUNNING, active=True, code=sent.code)
    else:
        said = actions.Said(status=actions.WAITING, messages=(*details, "Denied."), code=sent.code)
    actions.say(tx, action, said)


def set_auto_confirm(tx: Tx, controller_id: str, sent: AutoConfirm | None) -> None:
    """Let every waiting and coming update of a target through (None: no longer)."""
    target = targets.get(tx.conn, controller_id)
    if sent is None:
        targets.note(tx, target, {"auto_confirm": 0, "auto_confirm_at": None})
        return
    who = sent.initiator or tx.actor
    targets.note(
        tx,
        target,
        {
            "auto_confirm": 1,
            "auto_confirm_by": who,
            "auto_confirm_remark": sent.remark,
            "auto_confirm_at": tx.now_ms,
        },
    )
    for action in actions.open_actions(tx.conn, target.id):
        if action.status == actions.WAITING:
            yes = ConfirmationFeedback(confirmation="confirmed", details=[f"Automatic, by {who}."])
            confirm(tx, action, yes)


def auto_confirm_state(target: targets.Target) -> Json:
    """Return whether and by whom updates are let through."""
    if not target.auto_confirm:
        return {"active": False}
    return compact(
        {
            "active": True,
            "initiator": target.auto_confirm_by,
            "remark": target.auto_confirm_remark,
            "activatedAt": target.auto_confirm_at,
        }
    )


async def get_base(request: Request) -> Response:
    """Show the auto-confirmation and the action that waits."""
    controller_id = await device(request)
    root = device_url(base_url(request), controller_id)

    def work(conn: sqlite3.Connection) -> Json:
        target = targets.get(conn, controller_id)
        verb = "deactivateAutoConfirm" if target.auto_confirm else "activateAutoConfirm"
        links: Json = {verb: link(f"{root}/confirmationBase/{verb}")}
        for action in actions.open_actions(conn, target.id)[:1]:
            if action.status == actions.WAITING:
                href = f"{root}/confirmationBase/{action.id}?c={action_etag(action)}"
                links["confirmationBase"] = link(href)
        return {"autoConfirm": auto_confirm_state(target), "_links": links}

    return answer(request, await hub_of(request).read(work))


async def get_waiting(request: Request) -> Response:
    """Show an action that waits for confirmation."""
    controller_id = await device(request)
    id_ = path_id(request, "action")
    history = (
        integer(request, "actionHistory", 0) if "actionHistory" in request.query_params else None
    )
    root = device_url(base_url(request), controller_id)

    def work(conn: sqlite3.Connection) -> Json:
        action = actions.of_target(conn, targets.get(conn, controller_id).id, id_)
        if action.status != actions.WAITING:
            raise not_found("Waiting action", id_)
        return documents.deployment(
            conn, action, root, now_ms(), history=history, body_key="confirmation"
        )

    return answer(request, await hub_of(request).read(work))


async def post_feedback(request: Request) -> Response:
    """Take the device's answer."""
    controller_id = await device(request)
    sent = await body(request, ConfirmationFeedback)
    id_ = path_id(request, "action")

    def work(tx: Tx) -> None:
        target = targets.get(tx.conn, controller_id)
        confirm(tx, actions.of_target(tx.conn, target.id, id_), sent)

    await hub_of(request).write(work, actor=controller_id)
    return done()


async def activate(request: Request) -> Response:
    """Let every update through from now on."""
    controller_id = await device(request)
    sent = await body(request, AutoConfirm, optional=True)
    await hub_of(request).write(
        lambda tx: set_auto_confirm(tx, controller_id, sent), actor=controller_id
    )
    return done()


async def deactivate(request: Request) -> Response:
    """Ask again before each update."""
    controller_id = await device(request)
    await hub_of(request).write(
        lambda tx: set_auto_confirm(tx, controller_id, None), actor=controller_id
    )
    return done()


_BASE = "/{tenant}/controller/v1/{controller}/confirmationBase"

ROUTES = [
    Route(_BASE, get_base, methods=["GET"]),
    Route(_BASE + "/activateAutoConfirm", activate, methods=["POST"]),
    Route(_BASE + "/deactivateAutoConfirm", deactivate, methods=["POST"]),
    Route(_BASE + "/{action}", get_waiting, methods=["GET"]),
    Route(_BASE + "/{action}/feedback", post_feedback, methods=["POST"]),
]
