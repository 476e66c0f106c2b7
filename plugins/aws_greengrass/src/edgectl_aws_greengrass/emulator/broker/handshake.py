"""Decides who may connect, and opens or takes over the session.

A refused client of MQTT 5 is told why in CONNACK; one of 3.1.1 gets its return code
(docs.aws.amazon.com/iot/latest/developerguide/mqtt.html).
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from edgectl.emulation.mqtt import (
    MAX_IN_FLIGHT,
    MAX_PACKET,
    Connect,
    Kind,
    PacketError,
    Reason,
    Session,
    building,
    packets,
    parsing,
)
from edgectl_aws_greengrass.emulator.broker.client import Client

if TYPE_CHECKING:
    from edgectl.emulation.mqtt import Transport
    from edgectl_aws_greengrass.emulator.broker.server import Broker
    from edgectl_aws_greengrass.emulator.ports import Principal

MAX_ALIASES = 8
_CONNECT_TIMEOUT_S = 30.0
_MAX_EXPIRY_S = 604_800
_V311_CODES = {Reason.UNSUPPORTED_VERSION: 1, Reason.CLIENT_ID_INVALID: 2}
_V311_NOT_AUTHORIZED = 5


async def accept(broker: Broker, transport: Transport) -> Client | None:
    """Answer a CONNECT; return the client, None when it is refused.

    Raises:
        PacketError: What comes is no CONNECT.
    """
    kind, flags, body = await transport.packet(_CONNECT_TIMEOUT_S)
    if kind != Kind.CONNECT:
        raise PacketError(Reason.PROTOCOL_ERROR, "the first packet is no CONNECT")
    try:
        connect = parsing.parse(kind, flags, body, packets.V5)
    except PacketError as exc:
        _refuse(transport, exc.reason, str(exc))
        return None
    if not isinstance(connect, Connect):
        return None
    transport.version = connect.version
    client_id = connect.client_id or f"$GEN/{uuid.uuid4()}"
    pem = transport.certificate
    principal = await broker.ask(broker.cloud.things.authenticate, pem) if pem else None
    if principal is None or not principal.active:
        _refuse(transport, Reason.NOT_AUTHORIZED, "the certificate is not known or not active")
        return None
    if not broker.allows(principal, "iot:Connect", f"client/{client_id}", client_id):
        _refuse(transport, Reason.NOT_AUTHORIZED, f"no iot:Connect for client/{client_id}")
        return None
    return _open(broker, transport, connect, principal, client_id)


def _refuse(transport: Transport, reason: Reason, why: str) -> None:
    properties: dict[str, Any] = {}
    code = _V311_CODES.get(reason, _V311_NOT_AUTHORIZED)
    if transport.version == packets.V5:
        properties, code = {"ReasonString": why}, int(reason)
    transport.write(building.connack(transport.version, code, present=False, properties=properties))


def _open(
    broker: Broker, transport: Transport, connect: Connect, principal: Principal, client_id: str
) -> Client:
    other = broker.clients.get(client_id)
    if other is not None:
        other.transport.end(Reason.SESSION_TAKEN_OVER, "another client has the same client id")
        other.let_go()
    board = broker.switchboard
    found = board.sessions.get(client_id)
    if found is not None and connect.clean_start:
        board.drop(found)
        found = None
    session = found or Session(client_id)
    board.sessions[client_id] = session
    settings = broker.settings
    wanted = float(connect.keep_alive_s) or settings.max_keep_alive_s
    asked = connect.session_expiry_s
    client = Client(
        broker,
        transport,
        principal,
        session,
        will=connect.will,
        keep_alive_s=min(max(wanted, settings.min_keep_alive_s), settings.max_keep_alive_s),
        expiry_s=settings.persistent_s if asked is None else float(min(asked, _MAX_EXPIRY_S)),
    )
    broker.clients[client_id] = client
    transport.max_packet = connect.max_packet
    properties = _properties(client) if connect.version == packets.V5 else {}
    if properties and not connect.client_id:
        properties["AssignedClientIdentifier"] = client_id
    present = found is not None
    transport.write(building.connack(connect.version, 0, present=present, properties=properties))
    transport.is_open = True
    session.attach(connect.version, connect.receive_maximum, transport.write)
    return client


def _properties(client: Client) -> dict[str, Any]:
    return {
        "SessionExpiryInterval": int(client.expiry_s),
        "ReceiveMaximum": MAX_IN_FLIGHT,
        "MaximumQoS": 1,
        "RetainAvailable": 1,
        "MaximumPacketSize": MAX_PACKET,
        "TopicAliasMaximum": MAX_ALIASES,
        "WildcardSubscriptionAvailable": 1,
        "SubscriptionIdentifierAvailable": 0,
        "SharedSubscriptionAvailable": 0,
        "ServerKeepAlive": int(client.keep_alive_s),
    }
