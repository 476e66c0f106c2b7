"""The topics of a module of IoT Hub, as text to send and text that came; pure.

Source: learn.microsoft.com/azure/iot, "Communicate with an IoT hub using the MQTT protocol".
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl, quote

import msgspec

from edge_components.iotedge.environment import ModuleIdentity

TWIN_ANSWERS = "$iothub/twin/res/#"
TWIN_DESIRED = "$iothub/twin/PATCH/properties/desired/#"
METHODS = "$iothub/methods/POST/#"
SUBSCRIPTIONS = (TWIN_ANSWERS, TWIN_DESIRED, METHODS)

_ANSWER = "$iothub/twin/res/"
_DESIRED = "$iothub/twin/PATCH/properties/desired/"
_METHOD = "$iothub/methods/POST/"


class TwinAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """edgeHub's answer to a twin request; ``rid`` is the request's number."""

    status: int
    rid: str


class DesiredChanged(msgspec.Struct, frozen=True, kw_only=True):
    """The desired properties changed; the payload is the patch."""


class MethodCalled(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody calls a direct method."""

    name: str
    rid: str


def parse_topic(topic: str) -> TwinAnswer | DesiredChanged | MethodCalled | None:
    """Return what a message is; None where it is nothing that a module is sent."""
    path, _, query = topic.partition("?")
    if path.startswith(_ANSWER):
        status = path.removeprefix(_ANSWER).strip("/")
        rid = dict(parse_qsl(query)).get("$rid", "")
        return TwinAnswer(status=int(status), rid=rid) if _is_number(status) else None
    if path.startswith(_DESIRED):
        return DesiredChanged()
    if path.startswith(_METHOD):
        name = path.removeprefix(_METHOD).strip("/")
        rid = dict(parse_qsl(query)).get("$rid", "")
        return MethodCalled(name=name, rid=rid) if name and rid else None
    return None


def get_twin(rid: str) -> str:
    """Return the topic that asks for the twin."""
    return f"$iothub/twin/GET/?$rid={rid}"


def patch_reported(rid: str) -> str:
    """Return the topic that changes reported properties."""
    return f"$iothub/twin/PATCH/properties/reported/?$rid={rid}"


def answer_method(status: int, rid: str) -> str:
    """Return the topic that answers a direct method."""
    return f"$iothub/methods/res/{status}/?$rid={rid}"


def events(
    identity: ModuleIdentity, output: str, *, properties: Mapping[str, str] | None = None
) -> str:
    """Return the topic of a message from an output of this module.

    The message says that it is JSON in UTF-8, so that IoT Hub's routes can look into it.
    """
    bag = {"$.on": output, "$.ct": "application/json", "$.ce": "utf-8", **(properties or {})}
    pairs = "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in bag.items())
    return f"devices/{identity.device}/modules/{identity.module}/messages/events/{pairs}"


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 6
