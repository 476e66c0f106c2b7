"""Decides what the topics of a module's connection mean, and how properties stand in them.

Source: iot-mqtt-connect-to-iot-hub. The same topics hold towards edgeHub and towards the hub.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qs, parse_qsl, unquote

from edgectl.api import Record
from edgectl_azure_iot_edge.emulator.edge.values import Message

TWIN_RESULT = "$iothub/twin/res/"
DESIRED = "$iothub/twin/PATCH/properties/desired/"
METHOD = "$iothub/methods/POST/"
_TWIN_GET = "$iothub/twin/GET/"
_REPORTED = "$iothub/twin/PATCH/properties/reported/"
_METHOD_RESULT = "$iothub/methods/res/"
_SYSTEM = {
    "$.mid": "messageId",
    "$.cid": "correlationId",
    "$.uid": "userId",
    "$.ct": "contentType",
    "$.ce": "contentEncoding",
    "$.on": "outputName",
    "$.cdid": "connectionDeviceId",
    "$.cmid": "connectionModuleId",
    "$.ctime": "creationTimeUtc",
}


class TwinGet(Record, frozen=True, kw_only=True):
    """A module asks for its twin."""

    rid: str


class TwinPatch(Record, frozen=True, kw_only=True):
    """A module reports properties."""

    rid: str


class MethodResult(Record, frozen=True, kw_only=True):
    """A module has answered a direct method."""

    rid: str
    status: int


class Event(Record, frozen=True, kw_only=True):
    """A module sends a message; its properties are as they stand in the topic."""

    properties: str


Meaning = TwinGet | TwinPatch | MethodResult | Event


def read_topic(topic: str, device: str, module: str) -> Meaning | None:
    """Return what a module means by publishing to a topic, None when it may not."""
    path, _, query = topic.partition("?")
    rid = next(iter(parse_qs(query).get("$rid", ())), "")
    if path.startswith(_TWIN_GET):
        return TwinGet(rid=rid)
    if path.startswith(_REPORTED):
        return TwinPatch(rid=rid)
    if path.startswith(_METHOD_RESULT):
        status = path.removeprefix(_METHOD_RESULT).strip("/")
        return MethodResult(rid=rid, status=int(status)) if status.lstrip("-").isdigit() else None
    events = f"devices/{device}/modules/{module}/messages/events"
    if topic == events or topic.startswith(f"{events}/"):
        return Event(properties=topic.removeprefix(events).strip("/"))
    return None


def allowed_filter(name: str, device: str, module: str) -> bool:
    """Say whether a module may subscribe to a filter."""
    own = f"devices/{device}/modules/{module}/"
    return name.startswith((TWIN_RESULT, DESIRED, METHOD)) or name in {
        f"{own}#",
        f"{own}inputs/#",
        f"{own}messages/devicebound/#",
    }


def input_topic(device: str, module: str, name: str, properties: str) -> str:
    """Return where a module finds what is sent to one of its inputs."""
    return f"devices/{device}/modules/{module}/inputs/{name}/{properties}"


def routed(properties: str, payload: bytes, device: str, module: str) -> tuple[str, Message]:
    """Return a message's output and what conditions look at."""
    own: dict[str, str] = {}
    system = {"connectionDeviceId": device, "connectionModuleId": module}
    for name, value in parse_qsl(properties, keep_blank_values=True):
        if name in _SYSTEM:
            system[_SYSTEM[name]] = value
        elif not name.startswith("$."):
            own[unquote(name)] = value
    return system.get("outputName", ""), Message(body=payload, properties=own, system=system)


def from_module(properties: str, device: str, module: str) -> str:
    """Return a message's properties with where it comes from, as edgeHub hands it on."""
    kept = [
        part
        for part in properties.split("&")
        if part and not part.startswith(("%24.cdid=", "%24.cmid=", "$.cdid=", "$.cmid="))
    ]
    return "&".join((*kept, f"%24.cdid={device}", f"%24.cmid={module}"))


def merged(section: Mapping[str, object], patch: Mapping[str, object]) -> dict[str, object]:
    """Return a twin's section with a patch in it; null takes a key away."""
    found = dict(section)
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, Mapping):
            before = found.get(key)
            found[key] = merged(before if isinstance(before, Mapping) else {}, value)
        else:
            found[key] = value
    return found
