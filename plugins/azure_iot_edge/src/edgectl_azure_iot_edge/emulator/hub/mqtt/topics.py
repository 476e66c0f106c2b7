"""Decides what a device's topics ask for. Pure.

The hub is no broker: it has a fixed set of topics and closes the connection of whoever publishes to
another one. Source: learn.microsoft.com/azure/iot/iot-mqtt-connect-to-iot-hub.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

TWIN_ANSWERS = "$iothub/twin/res/#"
DESIRED = "$iothub/twin/PATCH/properties/desired/#"
METHODS = "$iothub/methods/POST/#"
MAX_PROPERTIES_BYTES = 8 << 10

_SYSTEM: Mapping[str, str] = {
    "$.mid": "message-id",
    "$.cid": "correlation-id",
    "$.uid": "user-id",
    "$.ct": "content-type",
    "$.ce": "content-encoding",
    "$.ctime": "creation-time",
    "$.exp": "absolute-expiry-time",
}
_ANNOTATIONS: Mapping[str, str] = {"$.sub": "dt-subject", "$.ifid": "iothub-interface-id"}
_USERNAME = re.compile(r"(?P<host>[^/]+)/(?P<client>[^/?]+(/[^/?]+)?)/\??(?P<rest>.*)")


@dataclass(frozen=True, slots=True)
class TwinGet:
    """The twin is asked for."""

    request_id: str


@dataclass(frozen=True, slots=True)
class TwinReport:
    """Reported properties are patched."""

    request_id: str


@dataclass(frozen=True, slots=True)
class MethodAnswer:
    """A direct method is answered."""

    request_id: str
    status: int


@dataclass(frozen=True, slots=True)
class Telemetry:
    """A device-to-cloud message.

    Attributes:
        properties: Of the application.
        system: AMQP's message properties by name.
        annotations: What the sender may set of the hub's annotations.
    """

    properties: Mapping[str, str]
    system: Mapping[str, str]
    annotations: Mapping[str, str]


Asked = TwinGet | TwinReport | MethodAnswer | Telemetry


class TopicError(ValueError):
    """The hub has no such topic, or not for this client."""


def ids(client_id: str) -> tuple[str, str | None]:
    """Split a client id into device and module.

    Raises:
        TopicError: It is neither ``device`` nor ``device/module``.
    """
    device, separator, module = client_id.partition("/")
    if not device or "/" in module or (separator and not module):
        raise TopicError(f"'{client_id}' is no client id")
    return device, module or None


def host_of(username: str, client_id: str) -> str:
    """Return the host that a user name is for.

    Raises:
        TopicError: It is not ``{host}/{client id}/?api-version=…``.
    """
    match = _USERNAME.fullmatch(username)
    if match is None or match["client"] != client_id or "api-version=" not in match["rest"]:
        raise TopicError(f"'{username}' is not HOST/{client_id}/?api-version=VERSION")
    return match["host"]


def filters(device_id: str, module_id: str | None) -> frozenset[str]:
    """Return what a client may subscribe to."""
    own = {TWIN_ANSWERS, DESIRED, METHODS}
    if module_id is None:
        own.add(f"devices/{device_id}/messages/devicebound/#")
    return frozenset(own)


def asked(topic: str, device_id: str, module_id: str | None) -> Asked:
    """Say what a message on a topic asks for.

    Raises:
        TopicError: The topic is not one of this client's.
    """
    head, _, query = topic.rpartition("/")
    if topic.startswith("$iothub/"):
        return _service(head, query.removeprefix("?"), topic)
    place = f"devices/{device_id}"
    if module_id is not None:
        place += f"/modules/{module_id}"
    prefix = f"{place}/messages/events"
    if topic != prefix and not topic.startswith(f"{prefix}/"):
        raise TopicError(f"'{topic}' is no topic of '{device_id}/{module_id or ''}'")
    return _telemetry(topic[len(prefix) :].strip("/"))


def _service(head: str, query: str, topic: str) -> Asked:
    request_id = _bag(query).get("$rid", "")
    if not request_id:
        raise TopicError(f"'{topic}' has no $rid")
    if head == "$iothub/twin/GET":
        return TwinGet(request_id)
    if head == "$iothub/twin/PATCH/properties/reported":
        return TwinReport(request_id)
    status = head.removeprefix("$iothub/methods/res/")
    if status != head and status.lstrip("-").isdigit():
        return MethodAnswer(request_id, int(status))
    raise TopicError(f"'{topic}' is no topic of the hub")


def _telemetry(bag: str) -> Telemetry:
    found = _bag(bag.removeprefix("?"))
    return Telemetry(
        properties={k: v for k, v in found.items() if not k.startswith("$")},
        system={_SYSTEM[k]: v for k, v in found.items() if k in _SYSTEM},
        annotations={_ANNOTATIONS[k]: v for k, v in found.items() if k in _ANNOTATIONS},
    )


def _bag(text: str) -> dict[str, str]:
    if len(text.encode()) > MAX_PROPERTIES_BYTES:
        raise TopicError("the property bag is too long")
    found = {}
    for part in text.split("&"):
        name, _, value = part.partition("=")
        if name:
            found[unquote(name)] = unquote(value)
    return found


def twin_answer(request_id: str, status: int, version: int | None = None) -> str:
    """Return the topic that a twin request is answered on."""
    tail = "" if version is None else f"&$version={version}"
    return f"$iothub/twin/res/{status}/?$rid={request_id}{tail}"


def desired_notice(version: int) -> str:
    """Return the topic that a change of desired properties is told on."""
    return f"$iothub/twin/PATCH/properties/desired/?$version={version}"


def method_call(name: str, request_id: str) -> str:
    """Return the topic that a direct method is called on."""
    return f"$iothub/methods/POST/{name}/?$rid={request_id}"
