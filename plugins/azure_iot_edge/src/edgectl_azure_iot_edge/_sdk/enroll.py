"""``enroll`` and ``retire``: an edge device identity with tags, and the device's files.

The hub makes the device's keys; they leave it only in the device's files. Adding a known device
again hands out the same keys and brings its tags up to date.
"""

from __future__ import annotations

import re
from typing import Any

from edgectl.api import (
    PROFILES,
    AuthError,
    Device,
    EnrollRequest,
    EnrollResult,
    PlanError,
    RetireRequest,
    RetireResult,
)
from edgectl_azure_iot_edge._sdk.account import Account
from edgectl_azure_iot_edge._sdk.hub import device_path, patch_twin, read_device, read_twin
from edgectl_azure_iot_edge.devicefiles import (
    DEVICE_FILE,
    EDGE_FILE,
    PUBLISHER_FILE,
    REGISTRY_FILE,
    connection_string,
    device_config,
    edge_config,
    install_notes,
    registry_config,
)
from edgectl_azure_iot_edge.names import HARDWARE_TAG
from edgectl_azure_iot_edge.selector import Selector, read_selector

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_TAG = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")

Document = dict[str, Any]


def enroll(account: Account, request: EnrollRequest) -> EnrollResult:
    """Make a device known and return its files.

    Raises:
        PlanError: The target's selector can never find the device, or its name, hardware or a
            label cannot be; or a device of that name is there that is no edge device.
    """
    selector = read_selector(request.target)
    _check_fits(request, selector)
    identity = _ensure_identity(account, request.name)
    _ensure_tags(account, request, selector)
    account.members(request.target).forget()
    key = _key(identity, request.name)
    files = {
        EDGE_FILE: edge_config(connection_string(account.hub.host, request.name, key)),
        DEVICE_FILE: device_config(account.config, request).to_toml(),
        PUBLISHER_FILE: request.publisher_key,
        REGISTRY_FILE: registry_config(),
    }
    notes = install_notes(account.config, request)
    if not selector.tags and not selector.devices:
        notes = (
            f"give '{request.name}' what the target's condition asks for: {selector.condition}",
            *notes,
        )
    device = Device(
        id=request.name, name=request.name, hardware=request.hardware, labels=request.labels
    )
    return EnrollResult(device=device, files=files, notes=notes)


def retire(account: Account, request: RetireRequest) -> RetireResult:
    """Forget a device that edgectl added: its keys end at once.

    Raises:
        PlanError: edgectl did not add it.
    """
    name = request.device
    identity, twin = read_device(account.hub, name), read_twin(account.hub, name)
    if identity is None or twin is None:
        return RetireResult(removed=False)
    if HARDWARE_TAG not in (twin.document.get("tags") or {}):
        raise PlanError(
            f"device '{name}' was not added by edgectl, so it is not removed",
            hint="take the target's tags from it, or delete it in IoT Hub",
        )
    account.hub.write("DELETE", device_path(name), f"remove '{name}'", etag=identity.etag or "*")
    account.members(request.target).forget()
    return RetireResult(removed=True)


def _check_fits(request: EnrollRequest, selector: Selector) -> None:
    if not _NAME.fullmatch(request.name) or request.name.startswith("edgectl."):
        raise PlanError(
            f"'{request.name}' cannot be the name of a device",
            hint="letters, digits, dots, dashes and underscores, at most 128; not edgectl.…",
        )
    if request.hardware not in PROFILES:
        known = ", ".join(PROFILES)
        raise PlanError(f"unknown hardware '{request.hardware}'", hint=f"known: {known}")
    for label in request.labels:
        if not _TAG.fullmatch(label) or label.startswith("edgectl"):
            raise PlanError(f"'{label}' cannot be a tag of a device", hint="letters and digits")
    if selector.devices and request.name not in selector.devices:
        raise PlanError(
            f"target '{request.target.name}' lists its devices by name, "
            f"and '{request.name}' is not among them",
            hint=f"add it to targets.{request.target.name}.selector.devices",
        )


def _ensure_identity(account: Account, name: str) -> Document:
    found = read_device(account.hub, name)
    if found is None:
        body = {"deviceId": name, "status": "enabled", "capabilities": {"iotEdge": True}}
        made = account.hub.write("PUT", device_path(name), f"add '{name}'", body=body)
        return dict(made.document or {})
    if not (found.document.get("capabilities") or {}).get("iotEdge"):
        raise PlanError(
            f"the hub has a device '{name}' that is no IoT Edge device",
            hint="take another name, or make it an edge device in IoT Hub",
        )
    return dict(found.document)


def _ensure_tags(account: Account, request: EnrollRequest, selector: Selector) -> None:
    wanted: Document = {**request.labels, HARDWARE_TAG: request.hardware}
    for path, value in selector.tags.items():
        place = wanted
        *above, last = path.split(".")
        for key in above:
            place = place.setdefault(key, {})
        place[last] = value
    twin = read_twin(account.hub, request.name)
    present = {} if twin is None else dict(twin.document.get("tags") or {})
    if not _holds(present, wanted):
        what = f"give '{request.name}' its tags"
        patch_twin(account.hub, request.name, {"tags": wanted}, what, etag="*")


def _holds(present: Document, wanted: Document) -> bool:
    for key, value in wanted.items():
        there = present.get(key)
        if isinstance(value, dict):
            if not isinstance(there, dict) or not _holds(there, value):
                return False
        elif there != value:
            return False
    return True


def _key(identity: Document, name: str) -> str:
    authentication = identity.get("authentication") or {}
    key = (authentication.get("symmetricKey") or {}).get("primaryKey")
    if not key:
        raise AuthError(
            f"the hub does not hand out the key of '{name}': it signs in with a certificate, or "
            "the policy has no RegistryWrite",
            hint="add devices with a policy that has RegistryWrite",
        )
    return str(key)
