"""Who is in a target, and what the registry knows of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from edgectl.api import PROFILES, NotFoundError, ProjectError, Target
from edgectl_aws_greengrass._sdk.account import Account
from edgectl_aws_greengrass.selector import Selector
from edgectl_aws_greengrass.states import Sighting

HARDWARE = "edgectl_hardware"
"""The thing attribute with a device's hardware profile."""
THING_TYPE = "edgectl-device"
"""The type of the things that edgectl adds: it finds them again, and allows more attributes."""
PAGE = 250
CORES_PAGE = 100
DESCRIBE_UP_TO = 8


def group_arn(account: Account, name: str) -> str:
    """Return the ARN of a thing group of this account."""
    return account.arn("iot", f"thinggroup/{name}")


def thing_arn(account: Account, name: str) -> str:
    """Return the ARN of a thing of this account."""
    return account.arn("iot", f"thing/{name}")


def name_of(arn: str) -> str:
    """Return a thing's or a group's name, which stands last in its ARN."""
    return arn.rsplit("/", 1)[-1]


def members(account: Account, group: str) -> tuple[str, ...]:
    """Return the things of a group, sorted.

    Raises:
        NotFoundError: There is no such group.
    """
    what = f"list thing group '{group}'"
    found = account.pages(
        "iot", "ListThingsInThingGroup", what, "things", thingGroupName=group, maxResults=PAGE
    )
    return tuple(sorted(found))


def members_or_none(account: Account, group: str) -> tuple[str, ...] | None:
    """Return the things of a group, or None where there is no such group."""
    try:
        return members(account, group)
    except NotFoundError:
        return None


def things(account: Account, target: Target, selector: Selector) -> tuple[str, ...]:
    """Return the things of a target, sorted; none where its group is not there.

    Raises:
        ProjectError: The selector has a query, and fleet indexing is not on.
    """
    if selector.things:
        return tuple(name for name, _ in _described(account, selector.things))
    if selector.query:
        return tuple(sorted(thing["thingName"] for thing in indexed(account, target, selector)))
    return members_or_none(account, selector.group) or ()


def indexed(account: Account, target: Target, selector: Selector) -> Iterator[dict[str, Any]]:
    """Yield the things that fleet indexing finds for a target, with their attributes.

    Raises:
        ProjectError: Fleet indexing is not on.
    """
    if not account.config.fleet_indexing:
        raise ProjectError(
            f"targets.{target.name}.selector.query needs AWS IoT fleet indexing",
            hint="switch it on in AWS IoT, then set `fleet_indexing: true` in providers.aws",
        )
    query = f'thingGroupNames:"{selector.group}"' + (
        f" AND ({selector.query})" if selector.query else ""
    )
    yield from account.pages(
        "iot",
        "SearchIndex",
        f"search the devices of '{target.name}'",
        "things",
        queryString=query,
        maxResults=PAGE,
    )


def attributes(
    account: Account, target: Target, selector: Selector, names: tuple[str, ...]
) -> dict[str, dict[str, str]]:
    """Return the registry's attributes of the target's things, as far as they are known.

    Few things are asked one by one. Of many, those are listed that edgectl added (they have its
    thing type); of many others, those of each hardware profile, and only where the target has no
    hardware of its own. So calls grow with pages and profiles, and not with things.
    """
    if selector.group and account.config.fleet_indexing:
        found = indexed(account, target, selector)
        return {t["thingName"]: dict(t.get("attributes") or {}) for t in found}
    if len(names) <= DESCRIBE_UP_TO:
        return dict(_described(account, names))
    wanted, known = set(names), _listed(account, thingTypeName=THING_TYPE)
    left = wanted - known.keys()
    if len(left) <= DESCRIBE_UP_TO:
        known |= dict(_described(account, left))
    elif target.hardware is None:
        for profile in PROFILES:
            if known.keys() >= wanted:
                break
            known |= _listed(account, attributeName=HARDWARE, attributeValue=profile)
    return {name: known[name] for name in names if name in known}


def _listed(account: Account, **condition: str) -> dict[str, dict[str, str]]:
    found = account.pages(
        "iot", "ListThings", "list things", "things", maxResults=PAGE, **condition
    )
    return {thing["thingName"]: dict(thing.get("attributes") or {}) for thing in found}


def cores(account: Account, selector: Selector, names: Iterable[str]) -> dict[str, Sighting]:
    """Return what Greengrass knows of the target's core devices.

    A device that never connected as a core device is not listed.
    """
    if selector.things:
        found = account.at_once(lambda name: _core(account, name), sorted(set(names)))
        return {name: sighting for name, sighting in found if sighting is not None}
    listed = account.pages(
        "greengrassv2",
        "ListCoreDevices",
        f"list the core devices of '{selector.group}'",
        "coreDevices",
        thingGroupArn=group_arn(account, selector.group),
        maxResults=CORES_PAGE,
    )
    return {core["coreDeviceThingName"]: _sighting(core) for core in listed}


def _core(account: Account, name: str) -> tuple[str, Sighting | None]:
    what = f"read core device '{name}'"
    found = account.find("greengrassv2", "GetCoreDevice", what, coreDeviceThingName=name)
    return name, None if found is None else _sighting(found)


def _sighting(core: dict[str, Any]) -> Sighting:
    at = core.get("lastStatusUpdateTimestamp")
    return Sighting(status=str(core.get("status", "")), at=at.timestamp() if at else 0.0)


def _described(account: Account, names: Iterable[str]) -> list[tuple[str, dict[str, str]]]:
    def describe(name: str) -> tuple[str, dict[str, str] | None]:
        found = account.find("iot", "DescribeThing", f"look for thing '{name}'", thingName=name)
        return name, None if found is None else dict(found.get("attributes") or {})

    found = account.at_once(describe, sorted(names))
    return [(name, values) for name, values in found if values is not None]
