"""What attach frames ask for and are answered with. Pure.

Sources: AMQP 1.0, part 2, section 2.6.3 (a link that is refused has no terminus of the server's);
IoT Hub redirects who attaches to ``messages/events`` to the Event Hubs-compatible endpoint.
"""

from __future__ import annotations

from typing import Any

from edgectl_azure_iot_edge.emulator.eventhub.frames import Fields, named, performative
from edgectl_azure_iot_edge.emulator.eventhub.links import Incoming
from edgectl_azure_iot_edge.emulator.eventhub.places import BUILT_IN, CBS, MANAGEMENT
from edgectl_azure_iot_edge.emulator.eventhub.types import AmqpError, Described

MAX_MESSAGE = 1 << 20


def terminus(value: Any) -> Fields:
    """Return the fields of a source or target; none where there is none.

    Raises:
        AmqpError: It is malformed.
    """
    if value is None:
        return {}
    _name, fields = named(value)
    return fields


def attach_answer(fields: Fields, *, found: bool) -> Described:
    """Return the server's attach.

    Args:
        fields: The client's.
        found: Whether there is what it asks for; else a detach has to follow.
    """
    told: dict[str, Any] = {
        "name": fields["name"],
        "handle": fields["handle"],
        "role": not fields["role"],
        "snd_settle_mode": fields["snd-settle-mode"],
        "rcv_settle_mode": fields["rcv-settle-mode"],
        "max_message_size": MAX_MESSAGE,
    }
    if fields["role"]:
        told["initial_delivery_count"] = 0
    source, target = fields["source"], terminus(fields["target"])
    if found or not fields["role"]:
        told["source"] = performative(
            "source", address=source.get("address"), filter=source.get("filter")
        )
    if found or fields["role"]:
        told["target"] = performative("target", address=target.get("address"))
    return performative("attach", **told)


def receiving(handle: int, path: str) -> Incoming:
    """Return the link on which a node takes requests.

    Raises:
        AmqpError: There is no such node.
    """
    if path not in {CBS, MANAGEMENT}:
        raise AmqpError("amqp:not-allowed", f"Nothing can be sent to '{path}'.")
    return Incoming(handle, path)


def redirect(path: str, name: str, host: str, port: int) -> AmqpError:
    """Return the redirect from the hub's built-in endpoint.

    Args:
        path: What the client asked for, ``messages/events…``.
        name: The Event Hubs-compatible name.
        host: Where the endpoint is.
        port: Its port for AMQP.
    """
    rest = path[len(BUILT_IN) :].strip("/")
    below = f"{name}/{rest}" if rest else name
    return AmqpError(
        "amqp:link:redirect",
        "The endpoint is at another address.",
        {
            "hostname": host,
            "network-host": host,
            "port": port,
            "address": f"amqps://{host}:{port}/{below}",
        },
    )
