"""The device side's requests, beside the poll."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from edgectl_selfhosted.hub.ddi import documents, feedback
from edgectl_selfhosted.hub.ddi.bodies import AssignedVersion, ConfigData
from edgectl_selfhosted.hub.ddi.identity import PEER_NAME, identify
from edgectl_selfhosted.hub.ddi.poll import device_url
from edgectl_selfhosted.hub.download import send_artifact
from edgectl_selfhosted.hub.errors import Fault, HubError, not_found
from edgectl_selfhosted.hub.http import (
    answer,
    base_url,
    body,
    done,
    hub_of,
    integer,
    path_id,
)
from edgectl_selfhosted.hub.hub import now_ms
from edgectl_selfhosted.hub.store import actions, modules, sets, targets
from edgectl_selfhosted.hub.store.rows import Tx

Endpoint = Callable[[Request], Awaitable[Response]]


async def device(request: Request) -> str:
    """Return the controller id of the device that is asking, once it has proved it.

    Raises:
        HubError: ``UNAUTHORIZED``.
    """
    hub = hub_of(request)
    controller_id = str(request.path_params["controller"])
    await identify(
        hub,
        str(request.path_params["tenant"]),
        controller_id,
        request.headers.get("authorization", ""),
        request.scope.get(PEER_NAME, ""),
    )
    client = request.client
    hub.polls.saw(controller_id, now_ms(), client.host if client else "")
    return controller_id


def _root(request: Request, controller_id: str) -> str:
    return device_url(base_url(request), controller_id)


def _own(conn: sqlite3.Connection, controller_id: str, id_: int) -> actions.Action:
    return actions.of_target(conn, targets.get(conn, controller_id).id, id_)


async def put_config_data(request: Request) -> Response:
    """Take a device's attributes."""
    controller_id = await device(request)
    sent = await body(request, ConfigData)
    hub = hub_of(request)

    def work(tx: Tx) -> None:
        target = targets.get(tx.conn, controller_id)
        limit = hub.config.quotas.attributes_per_target
        targets.put_attributes(tx, target, sent.mode or "merge", sent.data, limit=limit)

    await hub.write(work, actor=controller_id)
    return done()


async def get_deployment(request: Request) -> Response:
    """Show an open action, and note that the device has it."""
    controller_id = await device(request)
    hub = hub_of(request)
    id_ = path_id(request, "action")
    history = _history(request)
    root = _root(request, controller_id)

    def show(conn: sqlite3.Connection, action: actions.Action) -> dict[str, object]:
        return documents.deployment(conn, action, root, now_ms(), history=history)

    def look(conn: sqlite3.Connection) -> dict[str, object] | None:
        action = _own(conn, controller_id, id_)
        if action.is_canceling or action.status in {actions.WAITING, actions.SCHEDULED}:
            raise not_found("Action", id_)
        is_first = action.active and action.status == actions.RUNNING
        return None if is_first else show(conn, action)

    def note(tx: Tx) -> dict[str, object]:
        return show(tx.conn, _retrieved(tx, controller_id, id_))

    shown = await hub.look_up(look)
    return answer(request, shown or await hub.write(note, actor=controller_id))


def _history(request: Request) -> int | None:
    if "actionHistory" not in request.query_params:
        return None
    return min(integer(request, "actionHistory", 0), 500)


def _retrieved(tx: Tx, controller_id: str, id_: int) -> actions.Action:
    action = _own(tx.conn, controller_id, id_)
    # A device that reads again after it reported does not fall back behind what it reported.
    has_spoken = action.modified_by == controller_id
    if action.active and action.status == actions.RUNNING and not has_spoken:
        actions.set_state(tx, action, actions.RETRIEVED, active=True)
        said = ("The device retrieved the action and should start to download.",)
        actions.say(tx, action, actions.Said(status=actions.RETRIEVED, messages=said))
    return _own(tx.conn, controller_id, id_)


async def post_deployment_feedback(request: Request) -> Response:
    """Take feedback on an update."""
    controller_id = await device(request)
    sent = await body(request, feedback.Feedback)
    id_ = path_id(request, "action")
    meaning = feedback.of_deployment(sent)

    def work(tx: Tx) -> None:
        action = _own(tx.conn, controller_id, id_)
        if not action.active:
            raise HubError(Fault.GONE, f"the action '{id_}' is not active, it is {action.status}")
        _record(request, tx, action, sent, meaning)
        _advance(tx, action, meaning, sent.status.code)

    await hub_of(request).write(work, actor=controller_id)
    return done()


def _record(
    request: Request,
    tx: Tx,
    action: actions.Action,
    sent: feedback.Feedback,
    meaning: feedback.Meaning,
) -> None:
    quotas = hub_of(request).config.quotas
    if meaning.end is feedback.End.OPEN:
        actions.check_history_quota(tx.conn, action.id, quotas.status_per_action)
    if len(sent.status.details or []) > quotas.messages_per_status:
        raise HubError(Fault.QUOTA, f"a feedback has at most {quotas.messages_per_status} messages")
    said = feedback.messages(sent, limit=quotas.messages_per_status, max_chars=quotas.message_chars)
    entry = actions.Said(
        status=meaning.status,
        messages=said,
        code=sent.status.code,
        occurred_at=_own_clock(sent.timestamp),
    )
    actions.say(tx, action, entry)


def _own_clock(timestamp: int | None) -> int | None:
    return timestamp if timestamp is not None and 0 < timestamp < 1 << 53 else None


def _advance(tx: Tx, action: actions.Action, meaning: feedback.Meaning, code: int | None) -> None:
    match meaning.end:
        case feedback.End.FINISHED:
            actions.finish(tx, action, code)
        case feedback.End.FAILED:
            actions.fail(tx, action, code)
        case feedback.End.CANCELED:
            actions.close_canceled(tx, action, code)
        case feedback.End.BACK_TO_RUNNING:
            actions.set_state(tx, action, actions.RUNNING, active=True, code=code)
        case feedback.End.OPEN if action.is_canceling:
            # The device is still asked to give it up; its progress is only noted.
            pass
        case feedback.End.OPEN:
            if meaning.status == actions.DOWNLOADED and action.force_type == "downloadonly":
                actions.finish(tx, action, code)
            else:
                actions.set_state(tx, action, meaning.status, active=True, code=code)


async def get_cancelation(request: Request) -> Response:
    """Show what the device is asked to give up."""
    controller_id = await device(request)
    id_ = path_id(request, "action")
    action = await hub_of(request).read(lambda conn: _own(conn, controller_id, id_))
    if not action.active or not action.is_canceling:
        raise not_found("Cancelation", id_)
    return answer(request, {"id": str(id_), "cancelAction": {"stopId": str(id_)}})


async def post_cancel_feedback(request: Request) -> Response:
    """Take feedback on a cancelation."""
    controller_id = await device(request)
    sent = await body(request, feedback.Feedback)
    id_ = path_id(request, "action")
    meaning = feedback.of_cancelation(sent)

    def work(tx: Tx) -> None:
        action = _own(tx.conn, controller_id, id_)
        if not action.active or not action.is_canceling:
            raise not_found("Cancelation", id_)
        _record(request, tx, action, sent, meaning)
        _advance(tx, action, meaning, sent.status.code)

    await hub_of(request).write(work, actor=controller_id)
    return done()


async def get_installed(request: Request) -> Response:
    """Show the action that was installed last."""
    controller_id = await device(request)
    id_ = path_id(request, "action")
    history = _history(request)
    root = _root(request, controller_id)

    def work(conn: sqlite3.Connection) -> dict[str, object]:
        target = targets.get(conn, controller_id)
        action = actions.of_target(conn, target.id, id_)
        if action.status != actions.FINISHED:
            raise not_found("Installed action", id_)
        return documents.deployment(conn, action, root, now_ms(), history=history)

    return answer(request, await hub_of(request).read(work))


async def put_installed(request: Request) -> Response:
    """Take a device's word that it runs a set that did not come through the hub."""
    controller_id = await device(request)
    sent = await body(request, AssignedVersion)

    def work(tx: Tx) -> None:
        target = targets.get(tx.conn, controller_id)
        dset = sets.find(tx.conn, sent.name, sent.version)
        if dset is None:
            raise not_found("Distribution set", f"{sent.name}:{sent.version}")
        if target.installed_ds != dset.id or target.assigned_ds != dset.id:
            actions.installed_offline(tx, target, dset.id, "The device reported it as installed.")

    await hub_of(request).write(work, actor=controller_id)
    return done()


async def list_artifacts(request: Request) -> Response:
    """List a module's artifacts, if the device may have them."""
    controller_id = await device(request)
    module_id = path_id(request, "module")
    root = _root(request, controller_id)

    def work(conn: sqlite3.Connection) -> list[dict[str, object]]:
        _check_module(conn, controller_id, module_id)
        return [documents.artifact(a, root) for a in modules.artifacts(conn, module_id)]

    return answer(request, await hub_of(request).read(work))


def _check_module(conn: sqlite3.Connection, controller_id: str, module_id: int) -> None:
    target = targets.get(conn, controller_id)
    if not actions.may_download(conn, target.id, module_id):
        raise not_found("Software module", module_id)


def _file(
    conn: sqlite3.Connection, controller_id: str, module_id: int, filename: str
) -> modules.Artifact:
    _check_module(conn, controller_id, module_id)
    file = modules.artifact_named(conn, module_id, filename)
    if file is None:
        raise not_found("Artifact", filename)
    return file


async def download(request: Request) -> Response:
    """Send an artifact, or its MD5 sum where ``.MD5SUM`` follows the name."""
    controller_id = await device(request)
    hub = hub_of(request)
    module_id = path_id(request, "module")
    filename = str(request.path_params["filename"])

    def work(conn: sqlite3.Connection) -> tuple[modules.Artifact, bool]:
        try:
            return _file(conn, controller_id, module_id, filename), False
        except HubError:
            if not filename.endswith(".MD5SUM"):
                raise
            return _file(conn, controller_id, module_id, filename.removesuffix(".MD5SUM")), True

    file, sum_only = await hub.read(work)
    if sum_only:
        text = f"{file.md5}  {file.filename}"
        return Response(text, media_type="text/plain; charset=utf-8")
    return await send_artifact(request, file, hub.files.path(file.sha256), hub.sender)


_DEVICE = "/{tenant}/controller/v1/{controller}"

# By method and the parts of the path behind the device's; * is the id of the action.
_FREQUENT: dict[tuple[str, ...], Endpoint] = {
    ("PUT", "configData"): put_config_data,
    ("GET", "deploymentBase", "*"): get_deployment,
    ("POST", "deploymentBase", "*", "feedback"): post_deployment_feedback,
}


def find(method: str, parts: list[str]) -> tuple[Endpoint, dict[str, str]] | None:
    """Return what answers a frequent request, and the parameters of its path.

    Args:
        method: In capitals.
        parts: The path between its slashes; the first is empty.
    """
    if len(parts) < 6 or parts[2] != "controller" or parts[3] != "v1" or not all(parts[1:]):
        return None
    own = parts[5:]
    params = {"tenant": parts[1], "controller": parts[4]}
    if len(own) > 1:
        params["action"] = own[1]
        own[1] = "*"
    endpoint = _FREQUENT.get((method, *own))
    return None if endpoint is None else (endpoint, params)


ROUTES = [
    Route(_DEVICE + "/configData", put_config_data, methods=["PUT"]),
    Route(_DEVICE + "/deploymentBase/{action}", get_deployment, methods=["GET"]),
    Route(
        _DEVICE + "/deploymentBase/{action}/feedback", post_deployment_feedback, methods=["POST"]
    ),
    Route(_DEVICE + "/cancelAction/{action}", get_cancelation, methods=["GET"]),
    Route(_DEVICE + "/cancelAction/{action}/feedback", post_cancel_feedback, methods=["POST"]),
    Route(_DEVICE + "/installedBase", put_installed, methods=["PUT"]),
    Route(_DEVICE + "/installedBase/{action}", get_installed, methods=["GET"]),
    Route(_DEVICE + "/softwaremodules/{module}/artifacts", list_artifacts, methods=["GET"]),
    Route(_DEVICE + "/softwaremodules/{module}/artifacts/{filename}", download, methods=["GET"]),
]
