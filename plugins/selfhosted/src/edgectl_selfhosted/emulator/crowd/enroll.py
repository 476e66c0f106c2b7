"""Puts a crowd's devices on the hub, some hundred in a request, and writes down who they are.

As ``edgectl devices add`` would: with the tags of their target and of their hardware. One by one
that takes minutes for ten thousand.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

import httpx
import msgspec

from edgectl.api import ProviderError, Target
from edgectl_selfhosted import fiql
from edgectl_selfhosted._sdk.devices import TARGETS
from edgectl_selfhosted._sdk.inventory import HARDWARE_LABEL
from edgectl_selfhosted._sdk.tags import TAGS

FILE = "devices.json"
_BATCH = 500
_TIMEOUT_S = 60.0


def add_crowd(
    url: str, login: tuple[str, str], folder: Path, *, names: list[str], tags: list[str]
) -> None:
    """Make devices; their tokens go to ``devices.json`` in the folder, which keeps them.

    Args:
        url: The hub's address.
        login: User and password of its management API.
        folder: Takes the file.
        names: The devices.
        tags: What each of them is tagged with.

    Raises:
        ProviderError: The hub refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / FILE
    known = read_crowd(folder) if file.exists() else {}
    tokens = {name: known.get(name) or secrets.token_hex(16) for name in names}
    file.touch(mode=0o600)
    file.write_bytes(msgspec.json.encode(tokens))
    new = [name for name in names if name not in known]
    try:
        with httpx.Client(base_url=url, auth=login, timeout=_TIMEOUT_S) as client:
            numbers = [_tag(client, tag) for tag in tags] if new else []
            for start in range(0, len(new), _BATCH):
                _add(client, {name: tokens[name] for name in new[start : start + _BATCH]}, numbers)
    except httpx.HTTPError as exc:
        raise ProviderError(f"the hub does not take a crowd: {exc}") from exc


def read_crowd(folder: Path) -> dict[str, str]:
    """Return the crowd's devices and their tokens."""
    return msgspec.json.decode((folder / FILE).read_bytes(), type=dict[str, str])


def crowd_tags(target: Target, hardware: str) -> list[str]:
    """Return the tags with which a target finds its devices, and that say their hardware.

    Raises:
        ProviderError: It finds devices by something else.
    """
    tags = [*fiql.selector_tags(target)]
    if not tags:
        raise ProviderError(
            f"target '{target.name}' has no tags for a crowd to carry",
            hint="give it a selector such as {tags: {site: dc}}",
        )
    return list(dict.fromkeys([*tags, fiql.label_tag(HARDWARE_LABEL, hardware)]))


def _add(client: httpx.Client, tokens: Mapping[str, str], tags: list[int]) -> None:
    targets = [
        {"controllerId": name, "name": name, "securityToken": token}
        for name, token in tokens.items()
    ]
    client.post(TARGETS, json=targets).raise_for_status()
    for tag in tags:
        client.post(f"{TAGS}/{tag}/assigned", json=list(tokens)).raise_for_status()


def _tag(client: httpx.Client, name: str) -> int:
    query = {"q": fiql.equal("name", name)}
    found = client.get(TAGS, params=query).raise_for_status().json()["content"]
    if not found:
        found = client.post(TAGS, json=[{"name": name}]).raise_for_status().json()
    number: int = found[0]["id"]
    return number
