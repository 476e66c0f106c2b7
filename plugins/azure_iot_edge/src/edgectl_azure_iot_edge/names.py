"""The names of what we make in a hub: configurations, modules, tags, identities. Pure.

Names of applications and targets are lower-case letters, digits and dashes, so they go into ids
as they are. In tags a dash would read as a minus in a query, so it becomes an underscore, which no
name has.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from edgectl.api import Record, sha256_digest
from edgectl_azure_iot_edge.limits import MAX_ID

TAG = "edgectl"
MADE_BY = "edgectl-made-by"
APPLICATION_LABEL = "edgectl-application"
TARGET_LABEL = "edgectl-target"
RELEASE_LABEL = "edgectl-release"
PACKAGE_LABEL = "edgectl-package"
CONTENT_LABEL = "edgectl-content"
HARDWARE_TAG = "edgectl_hardware"
AGENT = "$edgeAgent"
HUB = "$edgeHub"
DESIRED = "edgectl"
"""The key in the module's desired and reported properties."""
_ID = re.compile(r"edgectl-(?P<stem>.*)-r(?P<number>[1-9]\d{0,15})")


def tag_key(application: str) -> str:
    """Return the application's key below the tag ``edgectl``."""
    return application.replace("-", "_")


def module_name(application: str) -> str:
    """Return the name of the module that runs an application."""
    return f"edgectl-{application}"


def function_module(name: str) -> str:
    """Return the name of a function's module."""
    return f"edgectl-function-{name}"


def route_name(application: str, what: str) -> str:
    """Return the name of one of our routes."""
    return f"edgectl-{application}-{what}"


def _stem(application: str, target: str) -> str:
    # No name has an underscore, so no two pairs become one.
    plain = f"{target}_{application}"
    longest = MAX_ID - len("edgectl--r") - 16
    if len(plain) <= longest:
        return plain
    digest = sha256_digest(plain.encode()).removeprefix("sha256:")[:8]
    return f"{plain[: longest - 9]}-{digest}"


def configuration_id(application: str, target: str, number: int) -> str:
    """Return the id of a release's layered deployment: lower-case, at most 128 characters."""
    return f"edgectl-{_stem(application, target)}-r{number}"


def release_of(configuration: str, application: str, target: str) -> int | None:
    """Return the release that an id of ours stands for; None for any other id."""
    match = _ID.fullmatch(configuration)
    if match is None or match["stem"] != _stem(application, target):
        return None
    return int(match["number"])


def shared_identity(application: str, target: str) -> str:
    """Return the device identity whose twin holds what the operators of a target share.

    One for each application, so that the 8 KB of its tags last and operators of different
    applications do not meet in one ETag.
    """
    name = f"edgectl.{target}.{application}"
    if len(name) <= MAX_ID:
        return name
    digest = sha256_digest(name.encode()).removeprefix("sha256:")[:16]
    return f"{name[: MAX_ID - 17]}.{digest}"


def repository(registry: str, prefix: str, application: str) -> str:
    """Return where an application's packages and releases lie, ``host/repository``."""
    return f"{registry}/{prefix}/{quote(application, safe='')}"


class Given(Record, frozen=True, kw_only=True):
    """What a device's tag says that it was given.

    Attributes:
        release: The release; 0 for none.
        before: The release that it was given before; 0 for none.
        target: The target that it was given through.
        at: When, seconds since 1970 UTC.
    """

    release: int = 0
    before: int = 0
    target: str = ""
    at: float = 0.0


def read_given(tags: object, application: str) -> Given:
    """Read a device's tags; what is not ours or cannot be read counts as none."""
    ours = tags.get(TAG) if isinstance(tags, dict) else None
    found = ours.get(tag_key(application)) if isinstance(ours, dict) else None
    if not isinstance(found, dict):
        return Given()
    release, before = found.get("release"), found.get("before")
    at, target = found.get("at"), found.get("target")
    return Given(
        release=release if isinstance(release, int) else 0,
        before=before if isinstance(before, int) else 0,
        target=target if isinstance(target, str) else "",
        at=float(at) if isinstance(at, int | float) else 0.0,
    )


def given_value(given: Given) -> dict[str, object]:
    """Return what a device's tag holds."""
    return {
        "release": given.release,
        "before": given.before,
        "target": given.target,
        "at": int(given.at),
    }


def given_patch(application: str, given: Given | None) -> dict[str, object]:
    """Return the twin patch that writes what a device is given; None takes it away."""
    value = None if given is None else given_value(given)
    return {"tags": {TAG: {tag_key(application): value}}}


def given_tags(tags: dict[str, object], application: str, given: Given | None) -> dict[str, object]:
    """Return a device's tags after that patch."""
    there = tags.get(TAG)
    ours = dict(there) if isinstance(there, dict) else {}
    ours.pop(tag_key(application), None)
    if given is not None:
        ours[tag_key(application)] = given_value(given)
    rest = {key: value for key, value in tags.items() if key != TAG}
    return {**rest, TAG: ours} if ours else rest
