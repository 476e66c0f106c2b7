"""The memory provider's virtual fleet: what is kept, and how virtual devices move.

Plain data and functions without I/O. Devices have no clock of their own: every observation moves
those that are under way by one step, so tests run as fast as they ask.
"""

from __future__ import annotations

import fnmatch
from typing import Literal

import msgspec

from edge_components.contract.state import Reason, State
from edge_components.contract.telemetry import TelemetryRecord
from edgectl.records import Device, DeviceStatus, ModelVersion, Record, ReleaseRecord

_ON_THE_WAY = (State.PENDING, State.DOWNLOADING, State.INSTALLING, State.VERIFYING)


class MemoryDevice(Record, frozen=True, kw_only=True):
    """A virtual device."""

    id: str
    hardware: str | None = None
    labels: dict[str, str] = {}


class Behaviour(Record, frozen=True, kw_only=True):
    """What a virtual device does with a release.

    Attributes:
        end: Where it ends. A device that fails runs the version before; one that is
            unreachable stays so.
        reason: Why it fails.
        observations: How many observations it takes to settle; 0 is settled at the first.
        versions: Only for these versions of the application; empty for all. A package that the
            device ran well before always runs well again, so rolling back works.
    """

    end: Literal["healthy", "failed", "rolled_back", "unreachable"] = "healthy"
    reason: str = ""
    observations: int = 1
    versions: tuple[str, ...] = ()


class Given(msgspec.Struct, omit_defaults=True):
    """The release that a device was given last, and how far it is.

    Attributes:
        steps: Observations since it was given.
        since: When the state began.
        earlier: Releases that it was given before.
        active_release: What answers now, 0 for nothing.
        ran: Packages that ran well.
    """

    release: int
    package: str
    version: str
    since: float
    state: State = State.PENDING
    reason: str = ""
    steps: int = 0
    earlier: list[int] = []
    active_release: int = 0
    active_package: str = ""
    ran: list[str] = []


class FleetState(msgspec.Struct):
    """Everything that the provider remembers; one JSON document.

    Attributes:
        generation: Rises when a device comes or goes.
        enrolled: Devices that came beside the configured ones, by id.
        retired: Configured devices that were removed.
        versions: Registered model versions by ``name@version``.
        packages: Digests that were brought.
        releases: Releases by application, oldest first.
        given: By application and device.
        shared: Coordinated texts by target, application and key.
        told: How many telemetry records there ever were.
    """

    generation: int = 0
    enrolled: dict[str, MemoryDevice] = {}
    retired: list[str] = []
    versions: dict[str, ModelVersion] = {}
    packages: list[str] = []
    releases: dict[str, list[ReleaseRecord]] = {}
    given: dict[str, dict[str, Given]] = {}
    shared: dict[str, str] = {}
    telemetry: list[TelemetryRecord] = []
    told: int = 0


def numbered_devices(count: int, hardware: str) -> tuple[MemoryDevice, ...]:
    """Return ``count`` devices with names that sort by number and a ``site`` label."""
    width = max(4, len(str(count)))
    sites = [{"site": f"site-{number}"} for number in range(7)]
    return tuple(
        MemoryDevice(id=f"device-{number:0{width}}", hardware=hardware, labels=sites[number % 7])
        for number in range(1, count + 1)
    )


def as_device(device: MemoryDevice, hardware: str | None) -> Device:
    """Return the device as the inventory lists it."""
    return Device(
        id=device.id,
        name=device.id,
        hardware=device.hardware or hardware,
        labels=dict(device.labels),
    )


def behaviour_of(behaviours: dict[str, Behaviour], device: str, version: str) -> Behaviour:
    """Return what the device does with a version: the first pattern that matches decides."""
    for pattern, behaviour in behaviours.items():
        if fnmatch.fnmatchcase(device, pattern) and version in (behaviour.versions or (version,)):
            return behaviour
    return Behaviour()


def give(before: Given | None, *, release: int, package: str, version: str, now: float) -> Given:
    """Return a device's record after it was given a release."""
    fresh = Given(release=release, package=package, version=version, since=now)
    if before is not None:
        fresh.earlier = before.earlier
        if before.release != release:
            fresh.earlier = [*before.earlier, before.release]
        fresh.active_release = before.active_release
        fresh.active_package = before.active_package
        fresh.ran = before.ran
    return fresh


def needs_release(before: Given | None, release: int) -> bool:
    """Whether a device takes a release: it has neither this one nor a newer one."""
    return before is None or before.release < release


def step(given: Given, behaviour: Behaviour, now: float) -> bool:
    """Move a device by one observation; returns whether its state changed."""
    before = given.state
    if behaviour.end == "unreachable":
        given.state, given.reason = State.UNREACHABLE, Reason.NOT_SEEN
    elif given.steps >= behaviour.observations:
        _settle(given, behaviour)
    else:
        place = len(_ON_THE_WAY) * (given.steps + 1) // (behaviour.observations + 1)
        given.state = _ON_THE_WAY[min(place, len(_ON_THE_WAY) - 1)]
    given.steps += 1
    if given.state is before:
        return False
    given.since = now
    return True


def _settle(given: Given, behaviour: Behaviour) -> None:
    if behaviour.end == "healthy" or given.package in given.ran:
        given.state, given.reason = State.HEALTHY, ""
        given.active_release, given.active_package = given.release, given.package
        if given.package not in given.ran:
            given.ran = [*given.ran, given.package]
    else:
        given.state = State(behaviour.end)
        given.reason = behaviour.reason or Reason.GOLDEN_FAILED


def without_unfinished(given: Given, now: float) -> Given | None:
    """Return a device's record after its unfinished release was taken back.

    It stands where it stood before, as if it had never been given the release; None if it runs
    nothing.
    """
    if not given.active_release:
        return None
    return Given(
        release=given.active_release,
        package=given.active_package,
        version=given.version,
        since=now,
        state=State.HEALTHY,
        earlier=[number for number in given.earlier if number != given.active_release],
        active_release=given.active_release,
        active_package=given.active_package,
        ran=given.ran,
    )


def status_of(device: str, given: Given, release: int | None) -> DeviceStatus | None:
    """Return where a device stands with a release (None: its last); None if it never got it."""
    about = given.release if release is None else release
    if about != given.release and about not in given.earlier:
        return None
    current = about == given.release
    return DeviceStatus(
        device=device,
        state=given.state if current else State.SUPERSEDED,
        release=about,
        reason=given.reason if current else "",
        since=given.since,
        raw=given.state.value,
        active_release=given.active_release,
        active_package=given.active_package,
        variant="fp32" if given.active_release else "",
        execution_provider="CPUExecutionProvider" if given.active_release else "",
    )
