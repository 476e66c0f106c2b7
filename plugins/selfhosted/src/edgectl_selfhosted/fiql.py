"""Writing FIQL: a target's selector as a query, values escaped so that none can change it.

hawkBit compares text without regard to case and reads ``*`` as any text; a ``*`` in a value is
therefore escaped, and callers look again at what comes back where case matters. Conditions on
one device's several tags or attributes are joined with AND and hold together (each is an own
join in hawkBit).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from edgectl.api import ProjectError, Target

_PLAIN = re.compile(r"[A-Za-z0-9_.:/@+-]+")
_KEY = re.compile(r"[A-Za-z0-9_.:/@+-]+")
SELECTOR_KEYS = ("tags", "tag", "attributes", "ids", "q")
MAX_IN_CHARS = 4000


def quoted(value: str) -> str:
    """Return a value as a FIQL argument that matches this text only.

    Raises:
        ProjectError: The value holds control characters, which no query can carry.
    """
    if _PLAIN.fullmatch(value):
        return value
    if not value.isprintable():
        raise ProjectError(f"{value!r} holds characters that cannot stand in a query")
    text = value.replace("\\", "\\\\").replace('"', '\\"').replace("*", "\\\\*")
    return f'"{text}"'


def equal(field: str, value: str) -> str:
    """Return ``field==value``."""
    return f"{field}=={quoted(value)}"


def one_of(field: str, values: Iterable[str]) -> str:
    """Return ``field=in=(…)``."""
    return f"{field}=in=({','.join(quoted(value) for value in values)})"


def none_of(field: str, values: Iterable[str]) -> str:
    """Return ``field=out=(…)``."""
    return f"{field}=out=({','.join(quoted(value) for value in values)})"


def attribute(key: str, value: str) -> str:
    """Return a condition on a device's attribute.

    Raises:
        ProjectError: The attribute's name cannot stand in a query.
    """
    if not _KEY.fullmatch(key):
        raise ProjectError(f"the attribute '{key}' cannot stand in a query")
    return equal(f"attribute.{key}", value)


def both(*conditions: str) -> str:
    """Join conditions with AND; empty ones are left out."""
    return ";".join(condition for condition in conditions if condition)


def release_is(application: str, number: int | str) -> str:
    """Return the condition that a device was assigned this release last."""
    return both(equal("assignedds.name", application), equal("assignedds.version", str(number)))


def set_is(application: str, number: int | str) -> str:
    """Return the condition that finds a release's distribution set."""
    return both(equal("name", application), equal("version", str(number)))


def device_chunks(devices: Iterable[str]) -> Iterator[str]:
    """Return conditions that together name these devices, each short enough for an address."""
    chunk: list[str] = []
    length = 0
    for device in devices:
        word = quoted(device)
        if chunk and length + len(word) > MAX_IN_CHARS:
            yield one_of("controllerid", chunk)
            chunk, length = [], 0
        chunk.append(device)
        length += len(word) + 1
    if chunk:
        yield one_of("controllerid", chunk)


def selector_query(target: Target) -> str:
    """Return the query that finds a target's devices; "" finds every device of the tenant.

    The selector's keys are joined with AND: ``tags`` (a mapping ``{city: baltimore}`` means the
    hawkBit tag ``city=baltimore``, a list names tags as they are), ``tag`` (one name),
    ``attributes`` (what devices say of themselves), ``ids`` and ``q`` (FIQL as it is).

    Raises:
        ProjectError: An unknown key, or a value of the wrong kind; the message names it.
    """
    conditions = [equal("tag", tag) for tag in selector_tags(target)]
    conditions += [attribute(key, value) for key, value in selector_attributes(target).items()]
    if "ids" in target.selector:
        ids = target.selector["ids"]
        if not isinstance(ids, list) or not ids:
            raise _wrong(target, "ids", "a list of device names")
        conditions.append(one_of("controllerid", ids))
    if "q" in target.selector:
        query = target.selector["q"]
        if not isinstance(query, str) or not query.strip():
            raise _wrong(target, "q", "a FIQL query")
        conditions.append(f"({query})")
    return both(*conditions)


def selector_tags(target: Target) -> tuple[str, ...]:
    """Return the names of the hawkBit tags that every device of the target has.

    Raises:
        ProjectError: The selector has an unknown key or a value of the wrong kind.
    """
    for key in target.selector:
        if key not in SELECTOR_KEYS:
            raise ProjectError(
                f"targets.{target.name}.selector: unknown key '{key}'",
                hint=f"provider 'selfhosted' knows {', '.join(SELECTOR_KEYS)}",
            )
    tags = target.selector.get("tags", [])
    if isinstance(tags, str):
        raise _wrong(target, "tags", "a mapping such as {city: baltimore}, or a list of names")
    names = [label_tag(k, v) for k, v in tags.items()] if isinstance(tags, dict) else list(tags)
    if "tag" in target.selector:
        tag = target.selector["tag"]
        if not isinstance(tag, str) or not tag:
            raise _wrong(target, "tag", "the name of one tag")
        names.append(tag)
    return tuple(dict.fromkeys(names))


def selector_attributes(target: Target) -> dict[str, str]:
    """Return the attributes that every device of the target has.

    Raises:
        ProjectError: The value is not a mapping.
    """
    attributes = target.selector.get("attributes", {})
    if not isinstance(attributes, dict):
        raise _wrong(target, "attributes", "a mapping such as {site: east}")
    return attributes


def label_tag(key: str, value: str) -> str:
    """Return the hawkBit tag that carries a label."""
    return f"{key}={value}"


def tag_label(tag: str) -> tuple[str, str] | None:
    """Return the label that a hawkBit tag carries, or None for a tag that carries none."""
    key, found, value = tag.partition("=")
    return (key, value) if found and key else None


def _wrong(target: Target, key: str, expected: str) -> ProjectError:
    return ProjectError(f"targets.{target.name}.selector.{key}: expected {expected}")
