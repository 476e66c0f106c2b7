"""The reference provider: a fleet of virtual devices in memory, or in a file.

It implements every hook strictly, so that tests of core and rehearsals of a rollout meet the same
refusals as with a real provider. Selectors: ``labels`` (all have to agree) and ``ids``.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from edge_components.contract.device import DeviceConfig, DeviceSection, TrustSection
from edgectl import requests as rq
from edgectl.errors import ConflictError, LimitError
from edgectl.hookspecs import hookimpl
from edgectl.localtrain import run_training
from edgectl.provider import ProviderContext
from edgectl.records import (
    Approval,
    Capabilities,
    Finding,
    Limits,
    ModelVersion,
    Record,
    TrainedModel,
)
from edgectl.testing.memory_catalog import Catalog, selector_of
from edgectl.testing.memory_fleet import (
    Behaviour,
    MemoryDevice,
    as_device,
    give,
    needs_release,
    numbered_devices,
    status_of,
    without_unfinished,
)
from edgectl.testing.memory_ledger import add_release, advance, find_records, require_release
from edgectl.testing.memory_store import FleetStore

MAX_SHARED_CHARS = 400


class MemoryConfig(Record, frozen=True, kw_only=True):
    """The memory provider's part of the project file.

    Attributes:
        devices: How many devices, or each of them.
        hardware: The profile of counted devices.
        behaviours: What devices do with a release, by id or pattern (``device-00*``).
        path: A file below ``.edgectl`` where processes share the fleet; "" keeps it in memory.
        page_size: Devices, releases or records on one page.
        max_package_bytes: Larger packages are refused.
    """

    devices: int | tuple[MemoryDevice, ...] = 3
    hardware: str = "x86-64-cpu"
    behaviours: dict[str, Behaviour] = {}
    path: str = "memory/fleet.json"
    page_size: int = 500
    max_package_bytes: int | None = None


class MemoryProvider:
    """The provider ``memory``.

    Args:
        config: Its part of the project file.
        context: Folders and progress.
        clock: Tells the time, seconds since 1970 UTC.
    """

    config_type = MemoryConfig

    def __init__(
        self,
        config: MemoryConfig,
        context: ProviderContext,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._context = context
        self._clock = clock
        self._store = FleetStore(context.state_dir / config.path if config.path else None)
        listed = config.devices
        if isinstance(listed, int):
            listed = numbered_devices(listed, config.hardware)
        self._catalog = Catalog(listed)

    @hookimpl
    def train(self, request: rq.TrainRequest) -> TrainedModel:
        """Run the training on this machine."""
        return run_training(request, self._context.progress)

    @hookimpl
    def register(self, request: rq.RegisterRequest) -> ModelVersion:
        """Remember a model version."""
        wanted = request.version
        key = f"{wanted.name}@{wanted.version}"
        with self._store.changing() as state:
            known = state.versions.get(key)
            if known is not None and known.digest != wanted.digest:
                raise ConflictError(
                    f"model '{wanted.name}' version '{wanted.version}' is registered with "
                    f"digest {known.digest}, not {wanted.digest}",
                    hint="give the new model a new version",
                )
            version = known or msgspec.structs.replace(wanted, approval=request.initial)
            approval: Approval = request.approval or version.approval
            state.versions[key] = msgspec.structs.replace(version, approval=approval)
            return state.versions[key]

    @hookimpl
    def approval(self, request: rq.ApprovalRequest) -> rq.ApprovalResult:
        """Say what was decided about a version."""
        with self._store.reading() as state:
            known = state.versions.get(f"{request.name}@{request.version}")
        return rq.ApprovalResult(approval=None if known is None else known.approval)

    @hookimpl
    def package(self, request: rq.PackageRequest) -> rq.PackageResult:
        """Remember a package and its release."""
        size, limit = request.package.size_bytes, self._config.max_package_bytes
        if limit is not None and size > limit:
            raise LimitError(f"the package has {size} bytes, at most {limit} are allowed")
        with self._store.changing() as state:
            add_release(state, request.release, self._clock())
            is_new = request.package.digest not in state.packages
            if is_new:
                state.packages.append(request.package.digest)
        location = f"memory:{request.package.application}@{request.package.digest}"
        return rq.PackageResult(location=location, uploaded_bytes=size if is_new else 0)

    @hookimpl
    def preview(self, request: rq.PreviewRequest) -> rq.PreviewResult:
        """Say nothing: there are no limits here but those of ``capabilities``, and no others."""
        del request
        return rq.PreviewResult()

    @hookimpl
    def deploy(self, request: rq.DeployRequest) -> rq.DeployResult:
        """Give devices a release; one that has it, or a newer one, stays as it is."""
        release, wanted = request.release, dict.fromkeys(request.devices)
        with self._store.changing() as state:
            require_release(state, release)
            self._catalog.select(state, request.target).require(wanted)
            given = state.given.setdefault(release.application, {})
            now = self._clock()
            assigned = [d for d in wanted if needs_release(given.get(d), release.number)]
            for device in assigned:
                given[device] = give(
                    given.get(device),
                    release=release.number,
                    package=release.package,
                    version=release.document.version,
                    now=now,
                )
        new = set(assigned)
        unchanged = tuple(device for device in wanted if device not in new)
        return rq.DeployResult(assigned=tuple(assigned), unchanged=unchanged)

    @hookimpl
    def inventory(self, request: rq.InventoryRequest) -> rq.InventoryPage:
        """List devices by id."""
        with self._store.reading() as state:
            selection = self._catalog.select(state, request.target)
        names, following = selection.page(request.cursor, self._config.page_size)
        devices = (as_device(selection.devices[n], request.target.hardware) for n in names)
        return rq.InventoryPage(devices=tuple(devices), next=following)

    @hookimpl
    def observe(self, request: rq.ObserveRequest) -> rq.ObservePage:
        """Tell where devices stand; asking for the first page moves them by one step."""
        with self._store.reading() as state:
            selection = self._catalog.select(state, request.target).only(request.devices)
            given = state.given.get(request.application, {})
            moves = not request.cursor and any(
                name in given and not given[name].state.is_settled for name in selection.names
            )
        if moves:
            with self._store.changing() as state:
                advance(
                    state,
                    request.application,
                    selection.names,
                    self._config.behaviours,
                    self._clock(),
                )
        names, following = selection.page(request.cursor, self._config.page_size)
        with self._store.reading() as state:
            given = state.given.get(request.application, {})
            found = (status_of(n, given[n], request.release) for n in names if n in given)
            return rq.ObservePage(states=tuple(s for s in found if s is not None), next=following)

    @hookimpl
    def history(self, request: rq.HistoryRequest) -> rq.HistoryPage:
        """List releases, newest first."""
        with self._store.reading() as state:
            releases = sorted(state.releases.get(request.application, []), key=lambda r: -r.number)
        start = int(request.cursor or 0)
        end = start + self._config.page_size
        following = str(end) if end < len(releases) else ""
        return rq.HistoryPage(releases=tuple(releases[start:end]), next=following)

    @hookimpl
    def withdraw(self, request: rq.WithdrawRequest) -> rq.WithdrawResult:
        """Take a release back, or forget the application."""
        with self._store.changing() as state:
            given = state.given.get(request.application, {})
            selection = self._catalog.select(state, request.target).only(request.devices)
            there = [name for name in selection.names if name in given]
            if request.release is None:
                for name in there:
                    del given[name]
                return rq.WithdrawResult(devices=tuple(there))
            back = [
                name
                for name in there
                if given[name].release == request.release and not given[name].state.is_settled
            ]
            for name in back:
                before = without_unfinished(given.pop(name), self._clock())
                if before is not None:
                    given[name] = before
            return rq.WithdrawResult(devices=tuple(back))

    @hookimpl
    def coordinate(self, request: rq.CoordinateRequest) -> rq.CoordinateResult:
        """Compare and swap a shared text."""
        if request.value is not None and len(request.value) > MAX_SHARED_CHARS:
            raise LimitError(
                f"a shared text of {len(request.value)} characters; "
                f"at most {MAX_SHARED_CHARS} are allowed"
            )
        key = f"{request.target.name}/{request.application}/{request.key}"
        if request.read_only:
            with self._store.reading() as state:
                return rq.CoordinateResult(value=state.shared.get(key))
        with self._store.changing() as state:
            present = state.shared.get(key)
            if present != request.expect:
                return rq.CoordinateResult(value=present)
            if request.value is None:
                state.shared.pop(key, None)
            else:
                state.shared[key] = request.value
            return rq.CoordinateResult(value=request.value, swapped=True)

    @hookimpl
    def telemetry(self, request: rq.TelemetryRequest) -> rq.TelemetryPage:
        """Return what virtual devices told of their steps."""
        with self._store.reading() as state:
            devices = self._catalog.select(state, request.target).devices
            size = min(max(request.limit, 1), self._config.page_size)
            found, following = find_records(state, request, frozenset(devices), size)
        return rq.TelemetryPage(records=tuple(found), next=following)

    @hookimpl
    def check(self, request: rq.CheckRequest) -> rq.CheckResult:
        """Look whether the fleet can be read and every target finds devices."""
        with self._store.reading() as state:
            counts = {
                target.name: len(self._catalog.select(state, target).names)
                for target in request.targets
            }
        findings = [Finding(name="fleet", ok=True, detail="can be read")]
        findings += [
            Finding(
                name=f"target {name}",
                ok=count > 0,
                detail=f"{count} devices",
                hint="" if count else "its selector finds nothing",
            )
            for name, count in counts.items()
        ]
        return rq.CheckResult(findings=tuple(findings))

    @hookimpl
    def capabilities(self, request: rq.CapabilitiesRequest) -> Capabilities:
        """Say that devices roll back by themselves, and the configured limit."""
        del request
        return Capabilities(
            network=True,  # its devices fetch nothing, so they fill no link
            limits=Limits(max_package_bytes=self._config.max_package_bytes),
        )

    @hookimpl
    def enroll(self, request: rq.EnrollRequest) -> rq.EnrollResult:
        """Add a virtual device; it carries the labels that its target selects."""
        labels, ids = selector_of(request.target)
        if ids is not None and request.name not in ids:
            raise ConflictError(
                f"target '{request.target.name}' selects its devices by id and does not name "
                f"'{request.name}'",
                hint="add the id to the target's selector",
            )
        device = MemoryDevice(
            id=request.name, hardware=request.hardware, labels={**request.labels, **labels}
        )
        with self._store.changing() as state:
            self._catalog.add(state, device)
        section = DeviceSection(
            id=device.id,
            application=request.application,
            hardware=request.hardware,
            state_dir="state",
        )
        config = DeviceConfig(
            device=section, trust=TrustSection(publishers=(request.publisher_key,))
        )
        return rq.EnrollResult(
            device=as_device(device, None),
            files={f"{device.id}.toml": config.to_toml()},
            notes=("a virtual device: nothing has to be installed",),
        )

    @hookimpl
    def retire(self, request: rq.RetireRequest) -> rq.RetireResult:
        """Remove a device and what it was given."""
        with self._store.changing() as state:
            if request.device not in self._catalog.select(state, request.target).devices:
                return rq.RetireResult(removed=False)
            self._catalog.remove(state, request.device)
            for given in state.given.values():
                given.pop(request.device, None)
        return rq.RetireResult(removed=True)
