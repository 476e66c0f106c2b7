"""Puts a crowd's devices into the hub, and writes down who they are.

They do not come through the service API: a hub takes 100 registry operations a minute, so a
thousand devices would take ten minutes before a test has begun.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from edgectl_azure_iot_edge.emulator.hub.errors import HubError
from edgectl_azure_iot_edge.emulator.hub.hub import Hub
from edgectl_azure_iot_edge.names import HARDWARE_TAG

FILE = "devices.json"


def add_crowd(
    hub: Hub, folder: Path, *, names: list[str], tags: Mapping[str, str], hardware: str
) -> None:
    """Make edge devices with a target's tags; their keys go to ``devices.json`` in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    keys: dict[str, str] = {}
    for name in names:
        body = {"deviceId": name, "capabilities": {"iotEdge": True}}
        try:
            identity = hub.registry.put_device(name, body, None)
        except HubError as exc:
            if exc.status != 409:
                raise
            identity = hub.registry.device(name).identity
        wanted: dict[str, object] = {HARDWARE_TAG: hardware}
        for path, value in tags.items():
            _set(wanted, path, value)
        hub.registry.patch_twin(name, None, {"tags": wanted}, None)
        keys[name] = str(identity.keys[0])
    file = folder / FILE
    file.touch(mode=0o600)
    file.write_bytes(msgspec.json.encode(keys))


def read_crowd(folder: Path) -> dict[str, str]:
    """Return the crowd's devices and their keys."""
    return msgspec.json.decode((folder / FILE).read_bytes(), type=dict[str, str])


def _set(tags: dict[str, object], path: str, value: str) -> None:
    *above, last = path.split(".")
    for key in above:
        inner = tags.setdefault(key, {})
        if not isinstance(inner, dict):
            return
        tags = inner
    tags[last] = value
