"""The layered deployments that we make: find, make, collect. Content never changes once made."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from edgectl.api import ConflictError
from edgectl_azure_iot_edge._sdk.hub import Hub, configuration_path
from edgectl_azure_iot_edge.names import release_of
from edgectl_azure_iot_edge.render import content_digest, is_ours

_PINNED = re.compile(r"@sha256:[0-9a-f]{64}")

Document = dict[str, Any]


def read(hub: Hub, configuration: str) -> tuple[Document, str] | None:
    """Return a configuration and its ETag, or None."""
    what = f"look for the deployment '{configuration}'"
    found = hub.find(configuration_path(configuration), what)
    return None if found is None else (dict(found.document), found.etag)


def ensure(hub: Hub, wanted: Document) -> bool:
    """Make a configuration, unless it is there; whether it was made.

    Raises:
        ConflictError: It is there with other content: what the hub holds never changes.
    """
    name = str(wanted["id"])
    present = read(hub, name)
    if present is None:
        try:
            hub.write("PUT", configuration_path(name), f"make the deployment '{name}'", body=wanted)
        except ConflictError:
            present = read(hub, name)  # somebody was quicker, or our first try got through
            if present is None:
                raise
        else:
            return True
    check_same(present[0], wanted)
    return False


def check_same(present: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Check that a configuration of the hub is the one that would be made.

    An image's digest may differ: a tag that moved during a rollout does not change what its first
    devices were given.

    Raises:
        ConflictError: It is another.
    """
    if _told(present) != _told(wanted):
        raise ConflictError(
            f"the hub has a deployment '{wanted['id']}' with other content, and content never "
            "changes",
            hint="`edgectl deploy --new-release` makes a release of its own; somebody else's "
            "deployment of this name has to be removed",
        )


def _told(document: Mapping[str, Any]) -> object:
    content = document.get("content") or {}
    plain = {key: value for key, value in content.items() if value}
    return content_digest(_without_digests(plain))


def _without_digests(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            key: _PINNED.sub("", item)
            if key == "image" and isinstance(item, str)
            else _without_digests(item)
            for key, item in value.items()
        }
    return value


def ours(
    documents: Iterable[Mapping[str, Any]], application: str, target: str
) -> dict[int, Mapping[str, Any]]:
    """Return the deployments of a target and an application that edgectl made, by release."""
    found = {}
    for document in documents:
        number = release_of(str(document.get("id", "")), application, target)
        if number is not None and is_ours(document, application, target):
            found[number] = document
    return found


def to_collect(there: Collection[int], carried: Collection[int], *, newest: int) -> list[int]:
    """Return the releases whose deployments nobody needs.

    What a device carries, or would be given back, stays; so does the newest that is there beside
    the current one, and everything above it, which somebody may be about to give.

    Args:
        there: Releases that have a deployment.
        carried: Releases that a device's tag names, as its own or as the one before.
        newest: The release that is given now.
    """
    older = sorted(number for number in there if number < newest)
    return [number for number in older[:-1] if number not in carried]


def remove(hub: Hub, document: Mapping[str, Any]) -> None:
    """Remove a deployment of ours, if it is as it was read."""
    name = str(document["id"])
    hub.write(
        "DELETE",
        configuration_path(name),
        f"remove the deployment '{name}'",
        etag=str(document.get("etag") or "*"),
    )
