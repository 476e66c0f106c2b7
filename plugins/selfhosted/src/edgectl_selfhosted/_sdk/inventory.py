"""``inventory``: the devices that a selector finds, with what is known of each.

All on one page: the selector's devices, then one listing per hardware profile and per label tag
until every device is described, so the calls grow with pages, profiles and tags.
"""

from __future__ import annotations

from collections.abc import Iterator

from edgectl.api import PROFILES, Device, InventoryPage, InventoryRequest
from edgectl_selfhosted import fiql
from edgectl_selfhosted._sdk.client import Client
from edgectl_selfhosted._sdk.devices import Scope, seconds
from edgectl_selfhosted._sdk.tags import tags
from edgectl_selfhosted._sdk.wire import TargetView

HARDWARE_LABEL = "hardware"
LABELS_UP_TO = 100


def inventory(client: Client, request: InventoryRequest) -> InventoryPage:
    """Return the target's devices, ordered by name.

    A device's hardware is what it says itself, else the label ``hardware`` of its enrolment,
    else the target's.
    """
    scope = Scope(client, fiql.selector_query(request.target))
    found = scope.find(what=f"list the devices of '{request.target.name}'")
    labels = _labels(client, scope, found)
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


def _labels(
    client: Client, scope: Scope, found: dict[str, TargetView]
) -> dict[str, dict[str, str]]:
    labels: dict[str, dict[str, str]] = {device: {} for device in found}
    for number, (key, value) in enumerate(_label_tags(client) if found else ()):
        if number == LABELS_UP_TO:
            break
        for device in scope.find(fiql.equal("tag", fiql.label_tag(key, value))):
            if device in labels:
                labels[device][key] = value
    return labels


def _label_tags(client: Client) -> Iterator[tuple[str, str]]:
    for tag in tags(client, 'name=="*=*"'):
        if (label := fiql.tag_label(tag.name)) is not None:
            yield label
