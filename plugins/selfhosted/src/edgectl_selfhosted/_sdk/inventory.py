"""``inventory``: the devices that a selector finds, with what is known of each.

All on one page: the selector's devices, then one listing per hardware profile and per label tag
until every device is described, so the calls grow with pages, profiles and tags (at most
``LABELS_UP_TO``). Where the server has more tags than the target devices, these are asked.
"""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor

from edgectl.api import PROFILES, Device, InventoryPage, InventoryRequest, NotFoundError
from edgectl_selfhosted import fiql
from edgectl_selfhosted._sdk.client import Client
from edgectl_selfhosted._sdk.devices import Scope, seconds
from edgectl_selfhosted._sdk.tags import device_tags, tags
from edgectl_selfhosted._sdk.wire import TargetView

HARDWARE_LABEL = "hardware"
LABELS_UP_TO = 100
ASK_AT_ONCE = 8

Labels = dict[str, dict[str, str]]


def inventory(client: Client, request: InventoryRequest) -> InventoryPage:
    """Return the target's devices, ordered by name.

    A device's hardware is what it says itself, else the label ``hardware`` of its enrolment,
    else the target's.
    """
    scope = Scope(client, fiql.selector_query(request.target))
    found = scope.find(what=f"list the devices of '{request.target.name}'")
    labels = _labels(client, found, scope)
    hardware = _hardware(scope, found)
    return InventoryPage(
        devices=tuple(
            Device(
                id=device,
                name=target.name or device,
                hardware=hardware.get(device)
                or labels[device].get(HARDWARE_LABEL)
                or request.target.hardware,
                labels=labels[device],
                last_seen=seconds(target.last_controller_request_at),
            )
            for device, target in found.items()
        )
    )


def _hardware(scope: Scope, found: dict[str, TargetView]) -> dict[str, str]:
    hardware: dict[str, str] = {}
    silent = {d for d, target in found.items() if target.last_controller_request_at is None}
    for name in PROFILES:
        if found.keys() - silent <= hardware.keys():
            break
        for device in scope.find(fiql.attribute("edgectl_hardware", name)):
            hardware[device] = name
    return hardware


def _labels(client: Client, found: dict[str, TargetView], scope: Scope) -> Labels:
    """Read the labels tag by tag or device by device, whichever is less, up to a bound."""
    labels: Labels = {device: {} for device in found}
    known = _label_tags(client) if found else {}
    if len(known) <= len(found):
        # The tags that may carry the hardware go first.
        first = sorted(known, key=lambda tag: known[tag][0] != HARDWARE_LABEL)
        for tag in first[:LABELS_UP_TO]:
            key, value = known[tag]
            for device in scope.find(fiql.equal("tag", tag)).keys() & labels.keys():
                labels[device][key] = value
        return labels
    with ThreadPoolExecutor(max_workers=ASK_AT_ONCE) as pool:
        several = pool.map(functools.partial(_tags_or_none, client), found)
        for device, names in zip(found, several, strict=True):
            labels[device] = dict(known[name] for name in sorted(names & known.keys()))
    return labels


def _label_tags(client: Client) -> dict[str, tuple[str, str]]:
    named = ((tag.name, fiql.tag_label(tag.name)) for tag in tags(client, 'name=="*=*"'))
    return {name: label for name, label in named if label is not None}


def _tags_or_none(client: Client, device: str) -> frozenset[str]:
    try:
        return device_tags(client, device)
    except NotFoundError:
        return frozenset()  # removed since it was listed
