"""Keeps the hub across restarts: identities, twins, deployments and policies, in one file.

Jobs and messages are in memory. The file is written beside and moved into place, so a kill leaves
the one before.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgectl_azure_iot_edge.emulator.hub.access import Policy
from edgectl_azure_iot_edge.emulator.hub.configurations import Configuration
from edgectl_azure_iot_edge.emulator.hub.registry import DeviceEntry


class Kept(msgspec.Struct):
    """What a hub keeps."""

    devices: dict[str, DeviceEntry]
    configurations: dict[str, Configuration]
    policies: dict[str, Policy]


def read(file: Path) -> Kept | None:
    """Return what was kept, or None; nobody is connected any more."""
    if not file.exists():
        return None
    found = msgspec.json.decode(file.read_bytes(), type=Kept)
    for device in found.devices.values():
        for entry in (device, *device.modules.values()):
            entry.identity.connected = False
    return found


def write(file: Path, kept: bytes) -> None:
    """Write a snapshot."""
    part = file.with_name(f"{file.name}.part")
    part.touch(mode=0o600)
    part.write_bytes(kept)
    part.replace(file)
