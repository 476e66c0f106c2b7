"""The identities of devices and modules, each with its twin, and how they come and go.

One lock keeps every operation whole.

Source: the service's OpenAPI (2021-04-12) for shapes; for ``If-Match``, keys and scopes reports of
what a real hub does: a PUT without ``If-Match`` only creates and with it only updates, DELETE of an
identity needs it, an update without ``authentication`` gets new keys.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from edgectl_azure_iot_edge.emulator.hub import etags
from edgectl_azure_iot_edge.emulator.hub.errors import NUMBERED, HubError
from edgectl_azure_iot_edge.emulator.hub.identity import (
    MANAGED,
    MAX_MODULES,
    SYSTEM_MODULES,
    Identity,
    apply_body,
    check_id,
    new_etag,
    new_key,
)
from edgectl_azure_iot_edge.emulator.hub.twin import Json, Twin, new_twin

MAX_DEVICES = 1_000_000

GoneListener = Callable[[str, str | None], None]
"""Told of (device, module) that may not be connected any more, with the lock held."""


@dataclass
class Entry:
    """An identity and its twin."""

    identity: Identity
    twin: Twin


@dataclass
class DeviceEntry(Entry):
    """A device with its modules by id.

    Attributes:
        assigned: What deployments gave each module last. It is written again only when it changes,
            so what somebody else writes into a twin stays until then.
    """

    modules: dict[str, Entry] = field(default_factory=dict)
    assigned: dict[str, Json] = field(default_factory=dict)


class Roster:
    """Devices and their modules.

    Args:
        now: The account's time.
        changed: Called after each change that may make a deployment target other devices.

    Attributes:
        lock: Held by whoever reads or writes entries.
        devices: By id.
        revision: Rises with each change.
        changed_devices: Whose deployments may be others now; the background work empties it.
    """

    def __init__(self, now: Callable[[], datetime], changed: Callable[[], None]) -> None:
        self.lock = threading.RLock()
        self.devices: dict[str, DeviceEntry] = {}
        self.revision = 0
        self.changed_devices: set[str] = set()
        self._now = now
        self._changed = changed
        self._gone_listeners: list[GoneListener] = []

    def on_gone(self, listener: GoneListener) -> None:
        """Be told of devices and modules that were deleted or disabled; may not wait."""
        self._gone_listeners.append(listener)

    def device(self, device_id: str) -> DeviceEntry:
        """Return a device.

        Raises:
            HubError: ``DeviceNotFound``.
        """
        found = self.devices.get(device_id)
        if found is None:
            raise HubError("DeviceNotFound", f"Unable to find device '{device_id}'")
        return found

    def entry(self, device_id: str, module_id: str | None = None) -> Entry:
        """Return a device's or a module's identity and twin.

        Raises:
            HubError: ``DeviceNotFound``, ``ModuleNotFound``.
        """
        device = self.device(device_id)
        if module_id is None:
            return device
        found = device.modules.get(module_id)
        if found is None:
            raise HubError(
                "ModuleNotFound",
                f"Unable to find module '{module_id}' on device '{device_id}'",
                envelope=NUMBERED,
            )
        return found

    def put_device(self, device_id: str, body: Json, if_match: str | None) -> Identity:
        """Create or update a device.

        Raises:
            HubError: What the request breaks.
        """
        check_id(device_id, "device")
        if body.get("deviceId") != device_id:
            raise HubError("ArgumentInvalid", "The deviceId in the body is not the one in the path")
        condition = etags.wanted(if_match)
        with self.lock:
            found = self.devices.get(device_id)
            if condition is None:
                if found is not None:
                    said = f"A device with ID '{device_id}' is already registered."
                    raise HubError("DeviceAlreadyExists", said)
                if len(self.devices) >= MAX_DEVICES:
                    raise HubError("TooManyDevices", "the hub has as many devices as it can have")
                found = self._new_device(device_id)
                apply_body(found.identity, body, self._now(), own=False)
                self.devices[device_id] = found
            else:
                found = self.device(device_id)
                etags.check(condition, found.identity.etag)
                fresh = replace(found.identity, etag=new_etag())
                apply_body(fresh, body, self._now(), own=False)
                found.identity = fresh
            self._fit_system_modules(found)
            self._touch(device_id)
            if found.identity.status == "disabled":
                self._tell_gone(device_id, None)
            return found.identity

    def delete_device(self, device_id: str, if_match: str | None) -> None:
        """Delete a device, its modules and twins.

        Raises:
            HubError: ``DeviceNotFound``, ``PreconditionFailed``.
        """
        with self.lock:
            found = self.device(device_id)
            _check_delete(if_match, found.identity)
            del self.devices[device_id]
            self._touch(device_id)
            self._tell_gone(device_id, None)

    def put_module(
        self, device_id: str, module_id: str, body: Json, if_match: str | None, *, own: bool
    ) -> Identity:
        """Create or update a module; ``own`` when the device itself asks.

        Raises:
            HubError: What the request breaks.
        """
        check_id(module_id, "module")
        condition = etags.wanted(if_match)
        with self.lock:
            device = self.device(device_id)
            found = device.modules.get(module_id)
            if condition is None:
                found = self._new_module(device, module_id, found, own=own)
            elif found is None:
                self.entry(device_id, module_id)
            if found is None:
                raise AssertionError("a module that is not there was refused")
            etags.check(condition, found.identity.etag)
            fresh = replace(found.identity, etag=new_etag())
            apply_body(fresh, body, self._now(), own=own)
            found.identity = fresh
            device.modules[module_id] = found
            self._touch(device_id)
            return fresh

    def delete_module(self, device_id: str, module_id: str, if_match: str | None) -> None:
        """Delete a module and its twin.

        Raises:
            HubError: ``ModuleNotFound``, ``PreconditionFailed``, or it is a system module.
        """
        with self.lock:
            found = self.entry(device_id, module_id)
            _check_delete(if_match, found.identity)
            if module_id in SYSTEM_MODULES:
                said = f"The system module '{module_id}' cannot be deleted."
                raise HubError("GenericBadRequest", said, envelope=NUMBERED)
            self.drop_module(self.devices[device_id], module_id)
            self._touch(device_id)

    def manage_module(self, device: DeviceEntry, module_id: str) -> Entry:
        """Return a module that a deployment names; it is made when it is not there."""
        found = device.modules.get(module_id)
        if found is None:
            found = self._entry(device.identity.device_id, module_id)
            found.identity.managed_by = MANAGED
            device.modules[module_id] = found
            self.revision += 1
        return found

    def drop_module(self, device: DeviceEntry, module_id: str) -> None:
        """Remove a module with its twin, and what deployments gave it."""
        device.modules.pop(module_id, None)
        device.assigned.pop(module_id, None)
        self.revision += 1
        self._tell_gone(device.identity.device_id, module_id)

    def forget_assigned(self, device: DeviceEntry) -> None:
        """Have the next round of the background work write everything again."""
        device.assigned.clear()
        self._touch(device.identity.device_id)

    def _new_device(self, device_id: str) -> DeviceEntry:
        entry = self._entry(device_id, None)
        return DeviceEntry(identity=entry.identity, twin=entry.twin)

    def _new_module(
        self, device: DeviceEntry, module_id: str, found: Entry | None, *, own: bool
    ) -> Entry:
        name = device.identity.device_id
        if found is not None:
            raise HubError(
                "ModuleAlreadyExistsOnDevice",
                f"Device {name} already contains Module {module_id}.",
                envelope=NUMBERED,
            )
        if module_id.startswith("$") and not own:
            said = f"The module id '{module_id}' is reserved."
            raise HubError("ArgumentInvalid", said, envelope=NUMBERED)
        if len([m for m in device.modules if m not in SYSTEM_MODULES]) >= MAX_MODULES:
            said = f"Device {name} has {MAX_MODULES} modules already."
            raise HubError("TooManyModulesOnDevice", said, envelope=NUMBERED)
        return self._entry(name, module_id)

    def _entry(self, device_id: str, module_id: str | None) -> Entry:
        now = self._now()
        ticks = str(int(now.timestamp() * 10_000_000) + 621_355_968_000_000_000)
        identity = Identity(
            device_id=device_id,
            module_id=module_id,
            generation_id=ticks,
            etag=new_etag(),
            created=now,
            keys=(new_key(), new_key()),
        )
        return Entry(identity=identity, twin=new_twin(now))

    def _fit_system_modules(self, device: DeviceEntry) -> None:
        for name in SYSTEM_MODULES:
            if device.identity.iot_edge and name not in device.modules:
                entry = self._entry(device.identity.device_id, name)
                entry.identity.managed_by = MANAGED
                entry.identity.auth, entry.identity.keys = "none", (None, None)
                device.modules[name] = entry
            elif not device.identity.iot_edge:
                device.modules.pop(name, None)

    def entries(self, *, modules: bool) -> Iterator[Entry]:
        """Return all devices, or all modules; the caller holds the lock."""
        for device in self.devices.values():
            if modules:
                yield from device.modules.values()
            else:
                yield device

    def _touch(self, device_id: str) -> None:
        self.revision += 1
        self.changed_devices.add(device_id)
        self._changed()

    def _tell_gone(self, device_id: str, module_id: str | None) -> None:
        for listener in self._gone_listeners:
            listener(device_id, module_id)


def _check_delete(if_match: str | None, identity: Identity) -> None:
    condition = etags.wanted(if_match)
    if condition is None:
        raise HubError("PreconditionFailed", "Precondition failed: Etag missing")
    etags.check(condition, identity.etag)
