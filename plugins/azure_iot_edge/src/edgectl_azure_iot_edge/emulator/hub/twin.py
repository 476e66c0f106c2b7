"""What a twin is: sections with versions and metadata, the merge of a patch, and the limits.

Pure but for the objects that it changes. A patch merges: an object descends, null removes, anything
else replaces, arrays whole. Writing leaves alone what it was given.

Source: learn.microsoft.com/azure/iot-hub/iot-hub-devguide-device-twins ("Tags and properties
format", "Device twin size") and iot-hub-devguide-quotas-throttling.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from edgectl_azure_iot_edge.emulator.hub import clock
from edgectl_azure_iot_edge.emulator.hub.errors import HubError

Json = dict[str, Any]

MAX_TAGS_BYTES = 8 << 10
MAX_PROPERTIES_BYTES = 32 << 10
MAX_KEY_BYTES = 1 << 10
MAX_TEXT_BYTES = 4 << 10
MAX_DEPTH = 10
MAX_INTEGER = 4_503_599_627_370_495
_NUMBER_BYTES = 8
_BOOLEAN_BYTES = 4
_FORBIDDEN = ".$# "
_SYSTEM_KEYS = frozenset({"$metadata", "$version"})


@dataclass
class Section:
    """Desired or reported properties.

    Attributes:
        values: Without ``$metadata`` and ``$version``.
        metadata: For each key at any depth when it was written.
        version: Rises with each write.
    """

    values: Json = field(default_factory=dict)
    metadata: Json = field(default_factory=dict)
    version: int = 1


@dataclass
class Twin:
    """A device's or a module's twin.

    Attributes:
        counter: Of writes by the service, which the ETag tells.
        version: Of writes by anybody.
        configurations: Deployment → ``Targeted`` or ``Applied``.
    """

    tags: Json = field(default_factory=dict)
    desired: Section = field(default_factory=Section)
    reported: Section = field(default_factory=Section)
    counter: int = 1
    version: int = 2
    configurations: dict[str, str] = field(default_factory=dict)

    @property
    def etag(self) -> str:
        """The ETag, without quotes."""
        return base64.b64encode(self.counter.to_bytes(8, "big")).decode()


def new_twin(now: datetime) -> Twin:
    """Return the twin of a new identity."""
    twin = Twin()
    for section, with_version in ((twin.desired, True), (twin.reported, False)):
        section.metadata = _stamp(now, section.version if with_version else None)
    return twin


def merged(values: Json, patch: Json) -> Json:
    """Return values with a patch merged in; neither argument is changed."""
    found = dict(values)
    for key, change in patch.items():
        if change is None:
            found.pop(key, None)
        elif isinstance(change, dict):
            below = found.get(key)
            found[key] = merged(below if isinstance(below, dict) else {}, change)
        else:
            found[key] = change
    return found


def write_section(section: Section, patch: Json, now: datetime, *, desired: bool) -> None:
    """Merge a checked patch into a section and give it its next version."""
    section.version += 1
    version = section.version if desired else None
    section.values = merged(section.values, patch)
    section.metadata = _stamped(section.metadata, patch, now, version)


def replace_section(section: Section, values: Json, now: datetime) -> None:
    """Set desired properties whole and give them their next version."""
    section.version += 1
    section.values = merged({}, values)
    section.metadata = _stamped({}, values, now, section.version)


def _stamp(now: datetime, version: int | None) -> Json:
    found: Json = {"$lastUpdated": clock.text(now)}
    if version is not None:
        found["$lastUpdatedVersion"] = version
    return found


def _stamped(metadata: Json, patch: Json, now: datetime, version: int | None) -> Json:
    found = {**metadata, **_stamp(now, version)}
    for key, change in patch.items():
        if change is None:
            found.pop(key, None)
            continue
        below = found.get(key, {})
        inner = change if isinstance(change, dict) else {}
        kept = below if isinstance(change, dict) else {}
        found[key] = _stamped(kept, inner, now, version)
    return found


def check_patch(patch: object, where: str) -> Json:
    """Check a patch's shape: an object, with good keys and values, not too deep.

    Raises:
        HubError: ``ArgumentInvalid``.
    """
    if not isinstance(patch, dict):
        raise HubError("ArgumentInvalid", f"'{where}' has to be an object")
    _check_values(patch, where, 1)
    return patch


def check_size(before: Json, after: Json, limit: int, where: str) -> None:
    """Check that a section is not over its limit, or at least does not grow there.

    Raises:
        HubError: ``ArgumentInvalid``.
    """
    size = size_of(after)
    if size > limit and size > size_of(before):
        raise HubError(
            "ArgumentInvalid",
            f"The size of twin {where} is {size} bytes, which exceeds the limit of {limit} bytes.",
        )


def size_of(value: object) -> int:
    """Return how many bytes a value counts for: keys and values without structure."""
    if isinstance(value, dict):
        return sum(_text_size(key) + size_of(item) for key, item in value.items())
    if isinstance(value, list):
        return sum(size_of(item) for item in value)
    if isinstance(value, bool):
        return _BOOLEAN_BYTES
    if isinstance(value, int | float):
        return _NUMBER_BYTES
    return _text_size(value) if isinstance(value, str) else 0


def _text_size(text: str) -> int:
    return len("".join(c for c in text if not _is_control(c)).encode())


def _is_control(character: str) -> bool:
    return character < " " or "\x7f" <= character <= "\x9f"


def _check_values(values: Json, where: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise HubError("ArgumentInvalid", f"'{where}' is nested deeper than {MAX_DEPTH} levels")
    for key, value in values.items():
        _check_key(key, where)
        inner = f"{where}.{key}"
        if isinstance(value, dict):
            _check_values(value, inner, depth + 1)
        elif isinstance(value, list):
            _check_list(value, inner, depth + 1)
        else:
            _check_value(value, inner)


def _check_list(values: list[Any], where: str, depth: int) -> None:
    for value in values:
        if isinstance(value, dict):
            _check_values(value, where, depth + 1)
        elif isinstance(value, list):
            _check_list(value, where, depth + 1)
        else:
            _check_value(value, where)


def _check_key(key: str, where: str) -> None:
    if not key or len(key.encode()) > MAX_KEY_BYTES:
        raise HubError(
            "ArgumentInvalid", f"a key in '{where}' is empty or longer than {MAX_KEY_BYTES} bytes"
        )
    if any(c in _FORBIDDEN or _is_control(c) for c in key):
        raise HubError(
            "ArgumentInvalid",
            f"The key '{key}' in '{where}' has a control character or one of '.', '$', '#', ' '.",
        )


def _check_value(value: object, where: str) -> None:
    if isinstance(value, str) and len(value.encode()) > MAX_TEXT_BYTES:
        raise HubError(
            "ArgumentInvalid", f"The value of '{where}' is longer than {MAX_TEXT_BYTES} bytes."
        )
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > MAX_INTEGER + 1:
        raise HubError("ArgumentInvalid", f"The number in '{where}' is out of range.")


def difference(before: Json, after: Json) -> Json:
    """Return the patch that makes one document of another, with null for what goes."""
    patch: Json = {key: None for key in before if key not in after}
    for key, value in after.items():
        old = before.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            inner = difference(old, value)
            if inner:
                patch[key] = inner
        elif key not in before or old != value:
            patch[key] = value
    return patch


def writable(body: Json) -> tuple[Json | None, Json | None]:
    """Return the tags and desired properties of a request; system keys in them are left out."""
    tags: Any = body.get("tags")
    properties = body.get("properties")
    if properties is not None and not isinstance(properties, dict):
        raise HubError("ArgumentInvalid", "'properties' has to be an object")
    desired: Any = (properties or {}).get("desired")
    checked_tags = None if tags is None else check_patch(tags, "tags")
    if desired is None:
        return checked_tags, None
    if not isinstance(desired, dict):
        raise HubError("ArgumentInvalid", "'properties.desired' has to be an object")
    plain = {key: value for key, value in desired.items() if key not in _SYSTEM_KEYS}
    return checked_tags, check_patch(plain, "properties.desired")
