"""A target's selector: which things it means.

``thing_group`` names a group, which may be narrowed by ``query`` (fleet indexing); ``things``
names things one by one. No I/O.
"""

from __future__ import annotations

import re

from edgectl.api import ProjectError, Record, Target
from edgectl_aws_greengrass.limits import MAX_THINGS

KEYS = ("thing_group", "things", "query")
_THING = re.compile(r"[a-zA-Z0-9:_-]{1,128}")


class Selector(Record, frozen=True, kw_only=True):
    """What a selector says: a group, or things.

    Attributes:
        group: The thing group's name, or "".
        query: A fleet indexing query that narrows the group, or "".
        things: The things' names, without a group.
    """

    group: str = ""
    query: str = ""
    things: tuple[str, ...] = ()


def read_selector(target: Target) -> Selector:
    """Read a target's selector.

    Raises:
        ProjectError: A key is unknown or missing, or a value is of the wrong kind.
    """
    for key in target.selector:
        if key not in KEYS:
            raise ProjectError(
                f"targets.{target.name}.selector: unknown key '{key}'",
                hint=f"provider 'aws' knows {', '.join(KEYS)}",
            )
    group, things = target.selector.get("thing_group"), target.selector.get("things")
    query = target.selector.get("query", "")
    if (group is None) == (things is None):
        raise ProjectError(
            f"targets.{target.name}.selector: give either `thing_group` or `things`",
            hint="for example {thing_group: parking-dc}",
        )
    if things is not None:
        return Selector(things=_things(target, things, query))
    if not isinstance(group, str) or not _THING.fullmatch(group):
        raise _wrong(target, "thing_group", "the name of a thing group")
    if not isinstance(query, str):
        raise _wrong(target, "query", "a fleet indexing query")
    return Selector(group=group, query=query.strip())


def _things(target: Target, things: object, query: object) -> tuple[str, ...]:
    if query:
        raise ProjectError(f"targets.{target.name}.selector: `query` narrows a `thing_group` only")
    if not isinstance(things, list) or not things:
        raise _wrong(target, "things", "a list of thing names")
    for thing in things:
        if not _THING.fullmatch(thing):
            raise _wrong(target, "things", f"a list of thing names; '{thing}' is none")
    names = tuple(dict.fromkeys(things))
    if len(names) > MAX_THINGS:
        raise ProjectError(
            f"targets.{target.name}.selector.things has {len(names)} things, at most {MAX_THINGS} "
            "can be deployed to one by one",
            hint="put them into a thing group, and select `thing_group`",
        )
    return names


def _wrong(target: Target, key: str, expected: str) -> ProjectError:
    return ProjectError(f"targets.{target.name}.selector.{key}: expected {expected}")
