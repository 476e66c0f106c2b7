"""Operators' view of targets: the devices, what they said, what they run."""

from __future__ import annotations

import sqlite3

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgectl_selfhosted.hub.ddi.bodies import AutoConfirm
from edgectl_selfhosted.hub.ddi.confirmation import auto_confirm_state, set_auto_confirm
from edgectl_selfhosted.hub.ddi.identity import check_controller_id
from edgectl_selfhosted.hub.errors import Fault, HubError
from edgectl_selfhosted.hub.fiql_sql import ALWAYS, Condition
from edgectl_selfhosted.hub.http import (
    Json,
    answer,
    base_url,
    body,
    done,
    hub_of,
    link,
    listing,
    query,
)
from edgectl_selfhosted.hub.hub import now_ms
from edgectl_selfhosted.hub.mgmt import bodies, documents
from edgectl_selfhosted.hub.mgmt.metadata import metadata_routes
from edgectl_selfhosted.hub.store import modules, sets, settings, tags, targets, types
from edgectl_selfhosted.hub.store.rows import Tx

CREATE_LIMIT = 1_000


def controller_id_of(request: Request) -> str:
    """Return the controller id in the path."""
    return str(request.path_params["target"])


def shown(request: Request, target: targets.Target, type_name: str | None = None) -> Json:
    """Return a target's document, its last sighting included."""
    hub = hub_of(request)
    return documents.target(
        target,
        base_url(request),
        seen=hub.polls.last_seen(target.controller_id),
        poll_ms=hub.settings.millis(settings.POLLING),
        overdue_ms=hub.settings.millis(settings.OVERDUE),
        now_ms=now_ms(),
        type_name=type_name,
        confirmation=hub.settings.flag(settings.CONFIRMATION),
    )


async def target_page(request: Request, where: Condition = ALWAYS) -> Response:
    """Answer a page of targets."""
    asked = query(request)
    hub = hub_of(request)
    if "lastcontrollerrequestat" in (asked.q + asked.sort).lower():
        await hub.write_sightings()
    page = await hub.read(lambda conn: targets.listing(conn, asked, where))
    return answer(request, listing(page, [shown(request, t) for t in page.content]))


async def list_targets(request: Request) -> Response:
    """List targets."""
    return await target_page(request)


async def create_targets(request: Request) -> Response:
    """Make targets; all or none."""
    sent = await body(request, list[bodies.TargetPost])
    if len(sent) > CREATE_LIMIT:
        raise HubError(Fault.QUOTA, f"at most {CREATE_LIMIT} targets are made at once")
    for post in sent:
        check_controller_id(post.controller_id)

    def work(tx: Tx) -> list[targets.Target]:
        return [_create(tx, post) for post in sent]

    made = await hub_of(request).write(work)
    return answer(request, [shown(request, target) for target in made], 201)


def _create(tx: Tx, post: bodies.TargetPost) -> targets.Target:
    if post.target_type is not None:
        types.target_type(tx.conn, post.target_type)
    return targets.create(
        tx,
        targets.NewTarget(
            controller_id=post.controller_id,
            name=post.name or post.controller_id,
            description=post.description,
            address=post.address,
            token=post.security_token,
            type_id=post.target_type,
            request_attributes=post.request_attributes is not False,
        ),
    )


async def get_target(request: Request) -> Response:
    """Show a target."""
    controller_id = controller_id_of(request)

    def work(conn: sqlite3.Connection) -> tuple[targets.Target, str | None]:
        target = targets.get(conn, controller_id)
        kind = types.target_type(conn, target.type_id) if target.type_id is not None else None
        return target, kind.name if kind else None

    return answer(request, shown(request, *await hub_of(request).read(work)))


async def put_target(request: Request) -> Response:
    """Change a target."""
    controller_id = controller_id_of(request)
    sent = await body(request, bodies.TargetPut)

    def work(tx: Tx) -> targets.Target:
        target = targets.get(tx.conn, controller_id)
        values = bodies.given(
            {
                "name": sent.name,
                "description": sent.description,
                "address": sent.address,
                "token": sent.security_token,
                "request_attributes": sent.request_attributes,
            }
        )
        if sent.target_type is not None:
            values["type_id"] = _type_or_none(tx, sent.target_type)
        return targets.change(tx, target, values)

    return answer(request, shown(request, await hub_of(request).write(work)))


def _type_or_none(tx: Tx, type_id: int) -> int | None:
    # hawkBit's way to take a type away is the type -1.
    return types.target_type(tx.conn, type_id).id if type_id >= 0 else None


async def delete_target(request: Request) -> Response:
    """Remove a target."""
    controller_id = controller_id_of(request)
    await hub_of(request).write(lambda tx: targets.remove(tx, controller_id))
    return done()


async def get_attributes(request: Request) -> Response:
    """Show what a device said of itself."""
    controller_id = controller_id_of(request)
    found = await hub_of(request).read(
        lambda conn: targets.attributes(conn, targets.get(conn, controller_id).id)
    )
    return answer(request, found)


async def get_tags(request: Request) -> Response:
    """Show a target's tags."""
    controller_id = controller_id_of(request)
    base = base_url(request)

    def work(conn: sqlite3.Connection) -> list[tags.Tag]:
        return tags.of_owner(conn, "target", targets.get(conn, controller_id).id)

    found = await hub_of(request).read(work)
    return answer(request, [documents.tag(tag, base) for tag in found])


async def put_type(request: Request) -> Response:
    """Give a target a type."""
    controller_id = controller_id_of(request)
    sent = await body(request, bodies.IdBody)

    def work(tx: Tx) -> None:
        kind = types.target_type(tx.conn, sent.id)
        targets.change(tx, targets.get(tx.conn, controller_id), {"type_id": kind.id})

    await hub_of(request).write(work)
    return done()


async def delete_type(request: Request) -> Response:
    """Take a target's type away."""
    controller_id = controller_id_of(request)
    await hub_of(request).write(
        lambda tx: targets.change(tx, targets.get(tx.conn, controller_id), {"type_id": None})
    )
    return done()


async def _set_of(request: Request, column: str) -> Response:
    controller_id = controller_id_of(request)
    base = base_url(request)

    def work(conn: sqlite3.Connection) -> Json | None:
        ds_id = getattr(targets.get(conn, controller_id), column)
        if ds_id is None:
            return None
        found = sets.get(conn, ds_id, deleted=True)
        return documents.dset(found, modules.of_set(conn, ds_id), base)

    found = await hub_of(request).read(work)
    return done(204) if found is None else answer(request, found)


async def get_assigned(request: Request) -> Response:
    """Show the set that a target is to run; 204 when there is none."""
    return await _set_of(request, "assigned_ds")


async def get_installed(request: Request) -> Response:
    """Show the set that a target runs; 204 when there is none."""
    return await _set_of(request, "installed_ds")


async def get_auto_confirm(request: Request) -> Response:
    """Show whether updates are let through."""
    controller_id = controller_id_of(request)
    target = await hub_of(request).read(lambda conn: targets.get(conn, controller_id))
    url = f"{documents.target_url(base_url(request), controller_id)}/autoConfirm"
    verb = "deactivate" if target.auto_confirm else "activate"
    state = auto_confirm_state(target)
    return answer(request, {**state, "_links": {verb: link(f"{url}/{verb}")}})


async def activate_auto_confirm(request: Request) -> Response:
    """Let every update of a target through."""
    controller_id = controller_id_of(request)
    sent = await body(request, AutoConfirm, optional=True)
    await hub_of(request).write(lambda tx: set_auto_confirm(tx, controller_id, sent))
    return done()


async def deactivate_auto_confirm(request: Request) -> Response:
    """Ask again before each update."""
    controller_id = controller_id_of(request)
    await hub_of(request).write(lambda tx: set_auto_confirm(tx, controller_id, None))
    return done()


def _owner(conn: sqlite3.Connection, request: Request) -> int:
    return targets.get(conn, controller_id_of(request)).id


_BASE = "/rest/v1/targets"
_ONE = _BASE + "/{target}"

ROUTES = [
    Route(_BASE, list_targets, methods=["GET"]),
    Route(_BASE, create_targets, methods=["POST"]),
    Route(_ONE, get_target, methods=["GET"]),
    Route(_ONE, put_target, methods=["PUT"]),
    Route(_ONE, delete_target, methods=["DELETE"]),
    Route(_ONE + "/attributes", get_attributes, methods=["GET"]),
    Route(_ONE + "/tags", get_tags, methods=["GET"]),
    Route(_ONE + "/targettype", put_type, methods=["POST"]),
    Route(_ONE + "/targettype", delete_type, methods=["DELETE"]),
    Route(_ONE + "/assignedDS", get_assigned, methods=["GET"]),
    Route(_ONE + "/installedDS", get_installed, methods=["GET"]),
    Route(_ONE + "/autoConfirm", get_auto_confirm, methods=["GET"]),
    Route(_ONE + "/autoConfirm/activate", activate_auto_confirm, methods=["POST"]),
    Route(_ONE + "/autoConfirm/deactivate", deactivate_auto_confirm, methods=["POST"]),
    *metadata_routes(_ONE, "target", _owner),
]
