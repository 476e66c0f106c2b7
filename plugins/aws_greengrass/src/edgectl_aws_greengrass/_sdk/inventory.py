"""``inventory``: the devices that a selector finds, with what is known of each."""

from __future__ import annotations

from edgectl.api import Device, InventoryPage, InventoryRequest
from edgectl_aws_greengrass._sdk import fleet
from edgectl_aws_greengrass._sdk.account import Account
from edgectl_aws_greengrass.selector import read_selector

PREFIX = "edgectl_"


def inventory(account: Account, request: InventoryRequest) -> InventoryPage:
    """Return the target's things, ordered by name.

    A device's hardware is the thing attribute ``edgectl_hardware``, else the target's. When it
    was heard of last is what Greengrass says of it; a thing that never was a core device has none.
    """
    target, selector = request.target, read_selector(request.target)
    names = fleet.things(account, target, selector)
    if not names:
        return InventoryPage(devices=())
    known = fleet.attributes(account, target, selector, names)
    seen = fleet.cores(account, selector, names)
    return InventoryPage(
        devices=tuple(
            Device(
                id=name,
                name=name,
                hardware=known.get(name, {}).get(fleet.HARDWARE) or target.hardware,
                labels={
                    key: value
                    for key, value in sorted(known.get(name, {}).items())
                    if not key.startswith(PREFIX)
                },
                last_seen=seen[name].at if name in seen else None,
            )
            for name in names
        )
    )
