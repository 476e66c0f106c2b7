"""``inventory``: the edge devices that a selector finds, with what is known of each."""

from __future__ import annotations

from edgectl.api import Device, InventoryPage, InventoryRequest
from edgectl_azure_iot_edge._sdk.account import Account
from edgectl_azure_iot_edge._sdk.members import EdgeDevice
from edgectl_azure_iot_edge.names import HARDWARE_TAG, TAG


def inventory(account: Account, request: InventoryRequest) -> InventoryPage:
    """Return the target's devices, ordered by name.

    A device's hardware is its tag ``edgectl_hardware``, else the target's. Its labels are its tags
    that are plain texts. When it was heard of last is what the hub says.
    """
    target = request.target
    devices = tuple(
        Device(
            id=device.id,
            name=device.id,
            hardware=device.hardware or target.hardware,
            labels=_labels(device),
            last_seen=device.last_activity,
        )
        for device in account.members(target).all(fresh=True).values()
    )
    return InventoryPage(devices=devices)


def _labels(device: EdgeDevice) -> dict[str, str]:
    return {
        key: value
        for key, value in sorted(device.tags.items())
        if isinstance(value, str) and key not in {HARDWARE_TAG, TAG}
    }
