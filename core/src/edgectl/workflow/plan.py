"""The plan: what a deploy would change, per target and device, before anything does.

It is made from what the providers say now; there is no state file that could drift. What cannot
be honoured (a device that is too small, a vendor's limit) is refused here.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from edge_components.contract.hardware import PROFILES, unfit_reason
from edge_components.contract.release import NetworkSettings
from edgectl.errors import LimitError, PlanError
from edgectl.provider import Provider
from edgectl.records import (
    Capabilities,
    Delta,
    Device,
    DeviceStatus,
    Package,
    Record,
    ReleaseRecord,
    Target,
)
from edgectl.requests import HistoryRequest, InventoryRequest, ObserveRequest, PreviewRequest
from edgectl.rollout.policy import RolloutPolicy
from edgectl.rollout.waves import choose_waves
from edgectl.rollout.window import Window
from edgectl.workflow.gatekeeper import check_readable, gate_notes
from edgectl.workflow.network import check_network, network_notes
from edgectl.workflow.transfers import Now, Transfer, plan_transfers

Change = Literal["install", "update", "none"]


class DeviceChange(Record, frozen=True, kw_only=True):
    """What a device would go through.

    Attributes:
        from_release: The release that answers now; 0 for none, None where it is not known.
        timezone: By which its maintenance window goes, or "" where the target has none.
    """

    device: str
    change: Change
    wave: int
    hardware: str = ""
    from_release: int | None = None
    from_package: str = ""
    timezone: str = ""


class TargetPlan(Record, frozen=True, kw_only=True):
    """What would happen to one target.

    Attributes:
        baseline: The package to go back to: what most devices run that do not have the release;
            "" if there is none, or if it is the same package.
        devices: One entry a device, in rollout order.
        waves: Number of devices a wave.
        notes: What an operator should know.
        release: The number of its release: targets whose network has other limits get others.
        newest: The highest number that a device of it was given or answers with.
        gates: What each wave has to keep to while it soaks.
        transfers: What devices that change have to fetch, where the package is at hand to tell.
    """

    target: str
    provider: str
    baseline: str
    devices: tuple[DeviceChange, ...]
    waves: tuple[int, ...]
    notes: tuple[str, ...] = ()
    release: int = 0
    newest: int = 0
    gates: tuple[str, ...] = ()
    transfers: tuple[Transfer, ...] = ()

    @property
    def changes(self) -> int:
        """How many devices would change."""
        return sum(1 for device in self.devices if device.change != "none")

    def wave_devices(self) -> tuple[tuple[str, ...], ...]:
        """Return the devices' ids, wave by wave."""
        result: list[list[str]] = [[] for _ in self.waves]
        for device in self.devices:
            result[device.wave - 1].append(device.device)
        return tuple(tuple(wave) for wave in result)


class Refusal(Record, frozen=True, kw_only=True):
    """Why one target of several cannot be deployed to; the others can.

    Attributes:
        error: One sentence.
        vendor_code: The provider's own code, or "".
        exit_code: What the command line exits with because of it.
    """

    target: str
    provider: str
    error: str
    hint: str = ""
    vendor_code: str = ""
    exit_code: int = 1


class Plan(Record, frozen=True, kw_only=True):
    """What a deploy would do.

    Attributes:
        format: The version of this document; a key that is added does not change it.
        release: The release's number: a new one, or the last one if its content is the same. Of
            several the highest; each target has its own.
        is_new: Whether a release has to be made.
        refused: Targets that were asked for and are left out, and why.
    """

    format: Literal["edgectl.plan/v1"] = "edgectl.plan/v1"
    application: str
    version: str
    package: str
    size_bytes: int
    release: int
    is_new: bool
    targets: tuple[TargetPlan, ...]
    refused: tuple[Refusal, ...] = ()

    @property
    def changes(self) -> int:
        """How many devices would change."""
        return sum(target.changes for target in self.targets)

    @property
    def names(self) -> tuple[str, ...]:
        """All targets that were asked for, those that are refused last."""
        return (*(one.target for one in self.targets), *(one.target for one in self.refused))

    def release_of(self, target: str) -> int:
        """Return the number of a target's release."""
        found = next((one.release for one in self.targets if one.target == target), 0)
        return found or self.release


def plan_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of what ``edgectl plan -o json`` prints."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "edgectl plan",
        **msgspec.json.schema(Plan),
    }


def release_history(
    provider: Provider, target: Target, application: str, *, most: int = 100
) -> list[ReleaseRecord]:
    """Return the application's newest releases at the provider, newest first."""
    found = []
    for record in provider.history(HistoryRequest(target=target, application=application)):
        found.append(record)
        if len(found) == most:
            break
    return found


def plan_target(
    provider: Provider,
    target: Target,
    package: Package,
    *,
    release: int,
    policy: RolloutPolicy,
    precision: str | None = None,
    window: Window | None = None,
    network: NetworkSettings | None = None,
    deltas: tuple[Delta, ...] = (),
) -> TargetPlan:
    """Plan one target.

    Args:
        provider: Where its devices are.
        target: Which.
        package: What they shall get.
        release: The number of its release.
        policy: How it goes out.
        precision: The variant that the project asks for, or None.
        window: When devices may be given a release, or None.
        network: What the target's network bears, or None.
        deltas: Deltas to the package.

    Raises:
        PlanError: No device matches, a device cannot run the package, or names no time zone.
        LimitError: A vendor's limit would be exceeded.
        ProviderError: Gates need telemetry, which cannot be read back.
    """
    devices = list(provider.inventory(InventoryRequest(target=target)))
    if not devices:
        raise PlanError(
            f"no device matches target '{target.name}' on provider '{target.provider}'",
            hint=f"`edgectl devices list -t {target.name}` lists, `edgectl devices add` enrolls",
        )
    capabilities = provider.capabilities()
    check_limits(target, package, capabilities)
    check_network(target, network, capabilities)
    _check_fit(target, devices, package, precision)
    if policy.gates is not None:
        check_readable(provider, target, package.application, time.time())
    told = _preview(provider, target, package, release)
    request = ObserveRequest(target=target, application=package.application)
    states = {status.device: status for status in provider.observe(request)}
    waves = choose_waves(policy.waves, package.application, (d.id for d in devices))
    by_id = {device.id: device for device in devices}
    changes = tuple(
        _change(
            by_id[device],
            states.get(device),
            package,
            release=release,
            wave=number,
            target=target,
            zone=_zone(by_id[device], window),
        )
        for number, wave in enumerate(waves, start=1)
        for device in wave
    )
    return TargetPlan(
        target=target.name,
        provider=target.provider,
        baseline=_baseline(states, package.digest, release),
        devices=changes,
        waves=tuple(len(wave) for wave in waves),
        release=release,
        newest=max((max(s.release, s.active_release or 0) for s in states.values()), default=0),
        notes=(
            *_notes(target, devices),
            *network_notes(network),
            *_delta_notes(target, deltas, capabilities),
            *told,
            *gate_notes(policy),
        ),
        gates=() if policy.gates is None else tuple(map(str, policy.gates.gates)),
        transfers=plan_transfers(
            package,
            (
                Now(one.hardware, one.from_release, one.from_package)
                for one in changes
                if one.change != "none"
            ),
            deltas=deltas if capabilities.deltas else None,
            precision=precision,
        ),
    )


def check_limits(target: Target, package: Package, capabilities: Capabilities) -> None:
    """Check a package against the provider's limits.

    Raises:
        LimitError: With the limit in the message.
    """
    limit = capabilities.limits.max_package_bytes
    if limit is not None and package.size_bytes > limit:
        raise LimitError(
            f"the package has {package.size_bytes} bytes, provider '{target.provider}' takes "
            f"at most {limit}"
        )
    limit = capabilities.limits.max_file_bytes
    largest = max(package.sizes.values(), default=0)
    if limit is not None and largest > limit:
        raise LimitError(
            f"a variant has {largest} bytes, provider '{target.provider}' takes files of "
            f"at most {limit}"
        )


def _preview(provider: Provider, target: Target, package: Package, release: int) -> tuple[str, ...]:
    if not provider.supports("preview"):
        return ()
    request = PreviewRequest(target=target, package=package, release=release)
    return provider.preview(request).notes


def _check_fit(
    target: Target, devices: list[Device], package: Package, precision: str | None
) -> None:
    if not package.sizes:
        return
    kinds = Counter(device.hardware or target.hardware for device in devices)
    for name, count in sorted((n, c) for n, c in kinds.items() if n in PROFILES and n):
        why = unfit_reason(PROFILES[name], package.sizes, precision)
        if why is not None:
            raise PlanError(
                f"{count} of {len(devices)} devices of target '{target.name}' cannot run the "
                f"package: {why}",
                hint="add a variant that fits, or leave these devices out of the selector",
            )


def _change(
    device: Device,
    status: DeviceStatus | None,
    package: Package,
    *,
    release: int,
    wave: int,
    target: Target,
    zone: str = "",
) -> DeviceChange:
    active = status.active_release if status is not None else None
    digest = status.active_package if status is not None else ""
    if digest == package.digest and active == release:
        change: Change = "none"
    elif digest or active:
        change = "update"
    else:
        change = "install"
    return DeviceChange(
        device=device.id,
        change=change,
        wave=wave,
        hardware=device.hardware or target.hardware or "",
        from_release=active,
        from_package=digest,
        timezone=zone,
    )


def _zone(device: Device, window: Window | None) -> str:
    if window is None:
        return ""
    try:
        return window.zone_of(device.labels)
    except ValueError as exc:
        raise PlanError(f"device '{device.id}': {exc}") from exc


def _baseline(states: Mapping[str, DeviceStatus], digest: str, release: int) -> str:
    """Return the package that most devices run which do not have this release yet.

    It is "" when most run the same package already, by an earlier release: the few that run
    another are no reason to take it from them.
    """
    active = Counter(
        status.active_package
        for status in states.values()
        if status.active_package
        and (status.active_package != digest or status.active_release not in {None, release})
    )
    most = min(active, key=lambda d: (-active[d], d)) if active else ""
    return most if most != digest else ""


def _delta_notes(
    target: Target, deltas: tuple[Delta, ...], capabilities: Capabilities
) -> tuple[str, ...]:
    if not deltas or capabilities.deltas:
        return ()
    return (f"deltas are not used: devices of '{target.provider}' get the whole files",)


def _notes(target: Target, devices: list[Device]) -> tuple[str, ...]:
    notes = []
    unknown = sum(1 for device in devices if (device.hardware or target.hardware) not in PROFILES)
    if unknown:
        notes.append(f"{unknown} devices have no hardware profile: their fit was not checked")
    names = {device.hardware or target.hardware for device in devices}
    notes += [
        f"{name}: {PROFILES[name].notes}"
        for name in sorted(n for n in names if n in PROFILES and n)
        if PROFILES[name].notes
    ]
    return tuple(notes)
