"""hawkBit's target tags: finding, making and giving them."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from edgectl.api import ConflictError
from edgectl_selfhosted import fiql
from edgectl_selfhosted._sdk.client import Client
from edgectl_selfhosted._sdk.devices import TARGETS
from edgectl_selfhosted._sdk.wire import TagView

TAGS = "/rest/v1/targettags"


def tags(client: Client, query: str) -> Iterator[TagView]:
    """Yield the tags that a query finds."""
    yield from client.pages("list the tags", TAGS, TagView, {"q": query, "sort": "id:ASC"})


def create_tag(client: Client, name: str, description: str = "") -> TagView:
    """Create a tag.

    Raises:
        ConflictError: A tag of that name is there.
    """
    body = [{"name": name, "description": description}]
    return client.post(f"create the tag '{name}'", TAGS, list[TagView], body)[0]


def delete_tag(client: Client, tag: TagView) -> None:
    """Delete a tag.

    Raises:
        NotFoundError: It is gone.
    """
    client.command(f"delete the tag '{tag.name}'", "DELETE", f"{TAGS}/{tag.id}")


def device_tags(client: Client, device: str) -> frozenset[str]:
    """Return the names of a device's tags."""
    path = f"{TARGETS}/{quote(device, safe='')}/tags"
    found = client.get(f"read the tags of '{device}'", path, list[TagView])
    return frozenset(tag.name for tag in found)


def give_tag(client: Client, device: str, name: str) -> None:
    """Give a device a tag, which is made if it is not there."""
    tag = _find(client, name) or _create_or_find(client, name)
    path = f"{TAGS}/{tag.id}/assigned/{quote(device, safe='')}"
    client.command(f"give '{device}' the tag '{name}'", "POST", path)


def _find(client: Client, name: str) -> TagView | None:
    found = tags(client, fiql.equal("name", name))
    return next((tag for tag in found if tag.name == name), None)


def _create_or_find(client: Client, name: str) -> TagView:
    try:
        return create_tag(client, name)
    except ConflictError:
        found = _find(client, name)
        if found is None:
            raise
        return found
