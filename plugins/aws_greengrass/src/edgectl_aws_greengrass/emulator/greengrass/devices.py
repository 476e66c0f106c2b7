"""Core devices: what the cloud knows of them is what their fleet status messages said.

A device is one from its first message on. Nobody asks it anything: its status is as old as
``lastStatusUpdateTimestamp`` says (nucleus, FleetStatusService; developer guide, device-status).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from edgectl_aws_greengrass.emulator.greengrass.components import missing
from edgectl_aws_greengrass.emulator.ports import CloudError
from edgectl_aws_greengrass.emulator.wire import Params

_LIFECYCLE = {
    "NEW", "INSTALLED", "STARTING", "RUNNING", "STOPPING", "ERRORED", "BROKEN", "FINISHED",
}  # fmt: skip
MAX_DETAILS = 1000


class ComponentStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A component in a fleet status message."""

    component_name: str
    version: str
    status: str
    is_root: bool = False
    fleet_config_arns: tuple[str, ...] = ()
    component_status_details: Any = None
    status_details: Any = None


class FleetStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A fleet status message; members that nothing here needs are passed over."""

    ggc_version: str
    thing: str
    overall_device_status: str = "HEALTHY"
    message_type: str = "COMPLETE"
    platform: str | None = None
    architecture: str | None = None
    runtime: str | None = None
    timestamp: float | None = None
    components: tuple[ComponentStatus, ...] = ()
    deployment_information: Any = None


@dataclass
class CoreDevice:
    """What is known of a device.

    Attributes:
        deployments: Deployment id or configuration ARN → its ``deploymentInformation``.
    """

    name: str
    created: datetime
    updated: datetime
    status: FleetStatus
    components: dict[str, tuple[ComponentStatus, datetime]] = field(default_factory=dict)
    deployments: dict[str, dict[str, Any]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def summary(self) -> Params:
        """Return the members of a ``CoreDevice``."""
        found: Params = {
            "coreDeviceThingName": self.name,
            "status": self.status.overall_device_status,
            "lastStatusUpdateTimestamp": self.updated,
        }
        for name in ("platform", "architecture", "runtime"):
            value = getattr(self.status, name)
            if value:
                found[name] = value
        return found


class CoreDevices:
    """The core devices of an account.

    Args:
        thing_exists: Whether the registry has a thing.
        clock: The time of day.
    """

    def __init__(
        self,
        thing_exists: Callable[[str], bool],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._thing_exists = thing_exists
        self._clock = clock
        self._lock = threading.RLock()
        self._known: dict[str, CoreDevice] = {}

    def take(self, thing: str, payload: bytes) -> None:
        """Take a fleet status message.

        Raises:
            CloudError: ``ValidationException``.
        """
        try:
            status = msgspec.json.decode(payload, type=FleetStatus)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise CloudError("ValidationException", f"fleet status of '{thing}': {error}") from None
        _check(thing, status)
        with self._lock:
            self._store(thing, status)

    def _store(self, thing: str, status: FleetStatus) -> None:
        now = self._clock()
        device = self._known.get(thing)
        if device is None:
            device = self._known[thing] = CoreDevice(thing, now, now, status)
        if status.message_type == "COMPLETE":
            device.components.clear()
        for component in status.components:
            if status.message_type == "PARTIAL" and _is_gone(component):
                device.components.pop(component.component_name, None)
            else:
                device.components[component.component_name] = (component, now)
        device.status, device.updated = status, now
        information = status.deployment_information
        if isinstance(information, dict):
            for key in ("deploymentId", "fleetConfigurationArnForStatus"):
                if information.get(key):
                    device.deployments[str(information[key])] = information

    def get(self, thing: str) -> CoreDevice:
        """Return a device.

        Raises:
            ServiceError: ``ResourceNotFoundException``.
        """
        with self._lock:
            found = self._known.get(thing)
        if found is None:
            raise missing("coreDevice", thing)
        return found

    def all(self) -> list[CoreDevice]:
        """Return every device whose thing still exists, by name."""
        with self._lock:
            return [d for name, d in sorted(self._known.items()) if self._thing_exists(name)]

    def delete(self, thing: str) -> None:
        """Forget a device; its thing stays."""
        self.get(thing)
        with self._lock:
            del self._known[thing]

    def age(self, thing: str, updated: datetime) -> None:
        """Let a device's last message be an older one (for tests of stale devices)."""
        self.get(thing).updated = updated


def installed(device: CoreDevice, *, roots_only: bool) -> list[Params]:
    """Return the ``InstalledComponent`` records of a device."""
    return [
        _installed(component, at)
        for component, at in _sorted(device)
        if component.is_root or not roots_only
    ]


def _sorted(device: CoreDevice) -> Iterable[tuple[ComponentStatus, datetime]]:
    return (device.components[name] for name in sorted(device.components))


def _installed(component: ComponentStatus, at: datetime) -> Params:
    found: Params = {
        "componentName": component.component_name,
        "componentVersion": component.version,
        "lifecycleState": component.status,
        "isRoot": component.is_root,
        "lastStatusChangeTimestamp": at,
        "lastReportedTimestamp": at,
    }
    details = component.component_status_details or component.status_details
    if isinstance(details, dict):
        if details.get("statusReason"):
            found["lifecycleStateDetails"] = str(details["statusReason"])[:MAX_DETAILS]
        codes = details.get("statusCodes") or []
        if codes:
            found["lifecycleStatusCodes"] = [str(code)[:255] for code in codes]
    elif details:
        found["lifecycleStateDetails"] = str(details)[:MAX_DETAILS]
    if component.fleet_config_arns:
        found["lastInstallationSource"] = component.fleet_config_arns[0]
    return found


def _is_gone(component: ComponentStatus) -> bool:
    """Say whether a changed component is one that the device removed: of no deployment any more."""
    return component.status == "FINISHED" and not component.fleet_config_arns


def _check(thing: str, status: FleetStatus) -> None:
    if status.thing != thing:
        raise CloudError("ValidationException", f"'{thing}' sent the status of '{status.thing}'")
    if status.overall_device_status not in {"HEALTHY", "UNHEALTHY"}:
        said = status.overall_device_status
        raise CloudError("ValidationException", f"'{said}' is no status of a core device")
    for component in status.components:
        if component.status not in _LIFECYCLE:
            raise CloudError("ValidationException", f"'{component.status}' is no lifecycle state")
