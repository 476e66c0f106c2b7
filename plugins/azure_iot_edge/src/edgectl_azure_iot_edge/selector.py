"""A target's selector: which edge devices it means, as a condition of IoT Hub's query language.

``tags`` names tags and their values, ``condition`` is a target condition as it stands, ``devices``
names devices one by one. Only devices with the capability ``iotEdge`` count. No I/O.
"""

from __future__ import annotations

import re

from edgectl.api import ProjectError, Record, Target
from edgectl_azure_iot_edge.limits import MAX_QUERY

KEYS = ("tags", "condition", "devices")
MAX_DEVICES = 200
"""Of a target that names its devices: their list has to fit into a query."""
MAX_CONDITION = 4096
_DEVICE = re.compile(r"[A-Za-z0-9\-:.+%_#*?!(),=@;$']{1,128}")
_TAG = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")


class Selector(Record, frozen=True, kw_only=True):
    """What a selector says.

    Attributes:
        condition: True for exactly the target's devices among edge devices; "" for all of them.
        devices: The devices' names, where they are named one by one.
        tags: The tags that a device of the target has, where the selector says so.
    """

    condition: str
    devices: tuple[str, ...] = ()
    tags: dict[str, str] = {}

    @property
    def query_condition(self) -> str:
        """The condition for a query over device twins."""
        edge = "capabilities.iotEdge = true"
        return f"{edge} AND ({self.condition})" if self.condition else edge


def read_selector(target: Target) -> Selector:
    """Read a target's selector.

    Raises:
        ProjectError: A key is unknown or missing, or a value is of the wrong kind.
    """
    selector = target.selector
    for key in selector:
        if key not in KEYS:
            raise ProjectError(
                f"targets.{target.name}.selector: unknown key '{key}'",
                hint=f"provider 'azure' knows {', '.join(KEYS)}",
            )
    if len(selector) != 1:
        raise ProjectError(
            f"targets.{target.name}.selector: give either `tags`, `condition` or `devices`",
            hint="for example {tags: {site: dc}}",
        )
    if "tags" in selector:
        return _by_tags(target, selector["tags"])
    if "devices" in selector:
        return _by_name(target, selector["devices"])
    return _by_condition(target, selector["condition"])


def quoted(text: str) -> str:
    """Return a text as IoT Hub's query language writes it."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def id_list(ids: tuple[str, ...]) -> str:
    """Return a condition that holds for these devices."""
    return f"deviceId IN [{', '.join(quoted(one) for one in ids)}]"


def _by_tags(target: Target, tags: object) -> Selector:
    if not isinstance(tags, dict) or not tags:
        raise _wrong(target, "tags", "names of tags and their values")
    parts = []
    for key, value in sorted(tags.items()):
        if not _TAG.fullmatch(key):
            raise _wrong(target, "tags", f"names such as site or place.city; '{key}' is none")
        if key.split(".")[0] == "edgectl":
            raise _wrong(target, "tags", "tags of your own; 'edgectl' is what edgectl writes")
        parts.append(f"tags.{key} = {quoted(value)}")
    return Selector(condition=" AND ".join(parts), tags=dict(tags))


def _by_name(target: Target, devices: object) -> Selector:
    if not isinstance(devices, list) or not devices:
        raise _wrong(target, "devices", "a list of device names")
    for device in devices:
        if not _DEVICE.fullmatch(device):
            raise _wrong(target, "devices", f"a list of device names; '{device}' is none")
    names = tuple(dict.fromkeys(devices))
    condition = id_list(names)
    if len(names) > MAX_DEVICES or len(condition) > MAX_QUERY // 2:
        raise ProjectError(
            f"targets.{target.name}.selector.devices has {len(names)} devices, whose list does "
            "not fit into a query",
            hint="give the devices a tag, and select by it",
        )
    return Selector(condition=condition, devices=names)


def _by_condition(target: Target, condition: object) -> Selector:
    if not isinstance(condition, str) or not condition.strip():
        raise _wrong(target, "condition", "a target condition, such as tags.site='dc'")
    text = condition.strip()
    if text == "*":
        return Selector(condition="")
    if len(text) > MAX_CONDITION:
        raise _wrong(target, "condition", f"at most {MAX_CONDITION} characters")
    return Selector(condition=text)


def _wrong(target: Target, key: str, expected: str) -> ProjectError:
    return ProjectError(f"targets.{target.name}.selector.{key}: expected {expected}")
