"""``inventory``: the devices that a selector finds, with what is known of each."""

from __future__ import annotations

from edgectl.api import Device, InventoryPage, InventoryRequest
from edgectl_gke_edge import names
from edgectl_gke_edge._sdk.account import Account
from edgectl_gke_edge._sdk.fleet import Member, find


def inventory(account: Account, request: InventoryRequest) -> InventoryPage:
    """Return the target's devices, by id; also those of clusters that are cut off."""
    found = find(account, request.target)
    return InventoryPage(devices=tuple(_device(member) for member in found.members))


def _device(member: Member) -> Device:
    labels = {"cluster": member.cluster}
    seen = None
    if member.seen is not None:
        node = member.seen
        labels |= {
            key.removeprefix(names.LABEL): value
            for key, value in sorted(node.labels.items())
            if key.startswith(names.LABEL)
        }
        labels |= {"arch": node.arch} if node.arch else {}
        seen = node.heard
    return Device(
        id=member.id,
        name=member.node or member.cluster,
        hardware=member.hardware,
        labels=labels,
        last_seen=seen,
    )
