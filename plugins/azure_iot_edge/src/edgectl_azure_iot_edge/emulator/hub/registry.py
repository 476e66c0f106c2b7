"""The hub's devices with all that may be done to them: identities, and what their twins hold.

Who wants to hear of changes of desired properties gets them as a patch, in the order of their
versions.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from edgectl_azure_iot_edge.emulator.hub import etags
from edgectl_azure_iot_edge.emulator.hub.errors import HubError
from edgectl_azure_iot_edge.emulator.hub.roster import DeviceEntry, Entry, Roster
from edgectl_azure_iot_edge.emulator.hub.twin import (
    MAX_PROPERTIES_BYTES,
    MAX_TAGS_BYTES,
    Json,
    Section,
    Twin,
    check_patch,
    check_size,
    difference,
    merged,
    replace_section,
    writable,
    write_section,
)

__all__ = ["DesiredListener", "DeviceEntry", "Entry", "Registry"]

DesiredListener = Callable[[str, str | None, Json], None]
"""Told of (device, module, patch with ``$version``), with the registry's lock held."""


class Registry(Roster):
    """Devices, modules and twins.

    Args:
        now: The account's time.
        changed: Called after each change that may make a deployment target other devices.

    Attributes:
        reports_matter: Whether a deployment's condition looks at what devices report.
    """

    def __init__(self, now: Callable[[], datetime], changed: Callable[[], None]) -> None:
        super().__init__(now, changed)
        self.reports_matter = False
        self._listeners: list[DesiredListener] = []

    def listen(self, listener: DesiredListener) -> None:
        """Be told of changes of desired properties; must be quick."""
        self._listeners.append(listener)

    def patch_twin(
        self, device_id: str, module_id: str | None, body: Json, if_match: str | None
    ) -> Entry:
        """Merge a service's patch into tags and desired properties.

        Raises:
            HubError: ``DeviceNotFound`` (also for modules), ``PreconditionFailed``,
                ``ArgumentInvalid``.
        """
        tags, desired = writable(body)
        with self.lock:
            entry = self.twin_entry(device_id, module_id)
            etags.check(etags.wanted(if_match), entry.twin.etag)
            after = merged(entry.twin.tags, tags) if tags is not None else entry.twin.tags
            self._check_tags(entry.twin, after)
            if desired is not None:
                self.write_desired(entry, desired)
            entry.twin.tags = after
            self._count(entry.twin)
            self._touch(device_id)
            return entry

    def replace_twin(
        self, device_id: str, module_id: str | None, body: Json, if_match: str | None
    ) -> Entry:
        """Set tags and desired properties whole; what the body leaves out is empty then.

        Raises:
            HubError: As ``patch_twin``.
        """
        tags, desired = writable(body)
        with self.lock:
            entry = self.twin_entry(device_id, module_id)
            etags.check(etags.wanted(if_match), entry.twin.etag)
            after = merged({}, tags or {})
            self._check_tags(entry.twin, after)
            wanted = merged({}, desired or {})
            if desired is not None or wanted != entry.twin.desired.values:
                self.set_desired(entry, wanted)
            entry.twin.tags = after
            self._count(entry.twin)
            self._touch(device_id)
            return entry

    def twin_entry(self, device_id: str, module_id: str | None) -> Entry:
        """Return an entry for its twin; a missing module is a ``DeviceNotFound`` here.

        Raises:
            HubError: ``DeviceNotFound``.
        """
        try:
            return self.entry(device_id, module_id)
        except HubError as exc:
            raise HubError("DeviceNotFound", exc.message) from exc

    def write_desired(self, entry: Entry, patch: Json) -> None:
        """Merge a checked patch into desired properties and tell listeners.

        Raises:
            HubError: It would grow too large.
        """
        after = merged(entry.twin.desired.values, patch)
        check_size(entry.twin.desired.values, after, MAX_PROPERTIES_BYTES, "properties.desired")
        write_section(entry.twin.desired, patch, self._now(), desired=True)
        self._tell(entry, patch)

    def set_desired(self, entry: Entry, values: Json) -> None:
        """Set desired properties whole and tell listeners what changes by it.

        Raises:
            HubError: They are too large.
        """
        before = entry.twin.desired.values
        check_size(before, values, MAX_PROPERTIES_BYTES, "properties.desired")
        replace_section(entry.twin.desired, values, self._now())
        self._tell(entry, difference(before, values))

    def report(self, device_id: str, module_id: str | None, patch: object) -> int:
        """Merge what a device reports; return the section's new version.

        Raises:
            HubError: ``DeviceNotFound``, ``ArgumentInvalid``.
        """
        checked = check_patch(patch, "properties.reported")
        with self.lock:
            entry = self.twin_entry(device_id, module_id)
            section: Section = entry.twin.reported
            after = merged(section.values, checked)
            check_size(section.values, after, MAX_PROPERTIES_BYTES, "properties.reported")
            write_section(section, checked, self._now(), desired=False)
            entry.twin.version += 1
            self.revision += 1
            if self.reports_matter:
                self._touch(device_id)
            return section.version

    def is_connected(self, device_id: str, module_id: str | None, *, connected: bool) -> None:
        """Note that a device or module came or went."""
        with self.lock:
            device = self.devices.get(device_id)
            entry = device and (device.modules.get(module_id) if module_id else device)
            if not entry:
                return
            entry.identity.connected = connected
            entry.identity.connection_updated = entry.identity.last_activity = self._now()
            self.revision += 1

    def active(self, device_id: str, module_id: str | None) -> None:
        """Note that a device or module did something."""
        with self.lock:
            device = self.devices.get(device_id)
            entry = device and (device.modules.get(module_id) if module_id else device)
            if entry:
                entry.identity.last_activity = self._now()
                self.revision += 1

    def _check_tags(self, twin: Twin, after: Json) -> None:
        check_size(twin.tags, after, MAX_TAGS_BYTES, "tags")

    @staticmethod
    def _count(twin: Twin) -> None:
        twin.counter += 1
        twin.version += 1

    def _tell(self, entry: Entry, patch: Json) -> None:
        told = {**patch, "$version": entry.twin.desired.version}
        for listener in self._listeners:
            listener(entry.identity.device_id, entry.identity.module_id, told)
