"""Which device is asking, and may it: TargetToken, GatewayToken or client certificate.

A device whose certificate or gateway token is good, but that nobody made, registers itself
("plug and play"). A device never learns whether another one exists: every refusal is the same.
"""

from __future__ import annotations

import hmac
import sqlite3
import zlib
from typing import TYPE_CHECKING

from edgectl_selfhosted.hub.auth import equal
from edgectl_selfhosted.hub.config import TENANT
from edgectl_selfhosted.hub.errors import Fault, HubError
from edgectl_selfhosted.hub.poll_cache import Entry, OpenAction
from edgectl_selfhosted.hub.store import actions, settings, targets

if TYPE_CHECKING:
    from edgectl_selfhosted.hub.hub import Hub
    from edgectl_selfhosted.hub.store.rows import Tx

PEER_NAME = "edgectl.peer_name"
REGISTRAR = "CONTROLLER_PLUG_AND_PLAY"
MAX_ID_CHARS = 256


async def identify(
    hub: Hub, tenant: str, controller_id: str, authorization: str, peer_name: str
) -> Entry:
    """Return what the hub knows of the device that is asking.

    Raises:
        HubError: ``UNAUTHORIZED``.
    """
    entry = hub.polls.get(controller_id)
    if entry is None:
        entry = await _load(hub, controller_id)
    if tenant.upper() != TENANT or not may(hub, controller_id, entry, authorization, peer_name):
        raise HubError(Fault.UNAUTHORIZED, "the device's credentials are missing or wrong")
    if entry is None:
        check_controller_id(controller_id)
        await hub.write(lambda tx: _register(tx, controller_id), actor=REGISTRAR)
        entry = await _load(hub, controller_id)
    if entry is None:
        raise HubError(Fault.UNAUTHORIZED, "the device was removed meanwhile")
    return entry


def check_controller_id(controller_id: str) -> str:
    """Return a controller id that can be used.

    Raises:
        HubError: ``CONSTRAINT``.
    """
    usable = 0 < len(controller_id) <= MAX_ID_CHARS and controller_id.isprintable()
    if not usable or any(c.isspace() or c in "/\\" for c in controller_id):
        raise HubError(
            Fault.CONSTRAINT,
            f"'{controller_id[:80]}' is not a controller id: 1 to {MAX_ID_CHARS} printable "
            "characters without space or slash",
        )
    return controller_id


def may(
    hub: Hub, controller_id: str, entry: Entry | None, authorization: str, peer_name: str
) -> bool:
    """Whether these credentials are those of the device, or of its gateway."""
    if peer_name and equal(peer_name, controller_id):
        return True
    scheme, _, token = authorization.partition(" ")
    switches = hub.settings
    if scheme == "TargetToken" and entry is not None:
        same = hmac.compare_digest(token.encode(), entry.token)
        return same and switches.flag(settings.TARGET_TOKEN)
    if scheme == "GatewayToken" and switches.flag(settings.GATEWAY_ENABLED):
        return equal(token, switches.text(settings.GATEWAY_KEY))
    return False


async def _load(hub: Hub, controller_id: str) -> Entry | None:
    ticket = hub.polls.begin_load(controller_id)
    entry = await hub.look_up(lambda conn: _entry(conn, controller_id))
    hub.polls.store(controller_id, ticket, entry)
    return entry


def known_now(hub: Hub, controller_id: str) -> Entry | None:
    """Return what the hub knows of a device without waiting; None where that is not possible."""
    entry = hub.polls.get(controller_id)
    if entry is None:
        ticket = hub.polls.begin_load(controller_id)
        try:
            entry = hub.db.glance(lambda conn: _entry(conn, controller_id))
        except sqlite3.OperationalError:
            return None
        hub.polls.store(controller_id, ticket, entry)
    return entry


def _entry(conn: sqlite3.Connection, controller_id: str) -> Entry | None:
    target = targets.find(conn, controller_id)
    if target is None:
        return None
    waiting = actions.open_actions(conn, target.id)
    return Entry(
        controller_id=controller_id,
        token=target.token.encode(),
        is_new=target.update_status == "unknown",
        wants_attributes=target.request_attributes,
        action=_open(waiting[0]) if waiting else None,
        installed_action=target.installed_action,
    )


def _open(action: actions.Action) -> OpenAction:
    if action.status == actions.WAITING:
        kind = "confirmationBase"
    else:
        kind = "cancelAction" if action.is_canceling else "deploymentBase"
    return OpenAction(kind=kind, id=action.id, etag=action_etag(action))


def action_etag(action: actions.Action) -> int:
    """Return the ``c`` of an action's link: it changes when what the link shows changes."""
    shown = f"{action.id}:{action.ds_id}:{action.force_type}:{action.force_time}"
    return zlib.crc32(shown.encode())


def _register(tx: Tx, controller_id: str) -> None:
    if targets.find(tx.conn, controller_id) is None:
        targets.create(
            tx,
            targets.NewTarget(
                controller_id=controller_id, name=controller_id, update_status="registered"
            ),
        )
