"""A provider behind one typed method per hook."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import msgspec
import pluggy

from edgectl import requests as rq
from edgectl.errors import ProviderError, UnsupportedError
from edgectl.records import (
    Capabilities,
    Device,
    DeviceStatus,
    Finding,
    ModelVersion,
    ReleaseRecord,
    TrainedModel,
)

R = TypeVar("R")
Page = TypeVar("Page", rq.InventoryPage, rq.ObservePage, rq.HistoryPage, rq.TelemetryPage)
MAX_PAGES = 100_000


class Paged(Protocol):
    """A request with a cursor."""

    @property
    def cursor(self) -> str:
        """Where the page begins."""


class ProviderContext(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider gets beside its configuration.

    Attributes:
        project_dir: The folder of the project file.
        state_dir: ``.edgectl`` below it; the provider may keep a folder of its own name there.
        progress: Takes one line for people; goes to stderr.
    """

    project_dir: Path
    state_dir: Path
    progress: Callable[[str], None]


class Provider:
    """The typed facade of an opened provider.

    Every method is one hook. A hook that the provider leaves out raises ``UnsupportedError``; a
    result of the wrong type is a ``ProviderError`` that names plugin and hook.
    """

    def __init__(self, name: str, manager: pluggy.PluginManager) -> None:
        self.name = name
        self._manager = manager

    def supports(self, hook: str) -> bool:
        """Whether the provider itself implements the hook (wrappers do not count)."""
        return any(
            not impl.wrapper and not impl.hookwrapper
            for impl in getattr(self._manager.hook, hook).get_hookimpls()
        )

    def train(self, request: rq.TrainRequest) -> TrainedModel:
        """Run the project's training."""
        return self._call("train", request, TrainedModel)

    def register(self, request: rq.RegisterRequest) -> ModelVersion:
        """Record a model version, or set its approval."""
        return self._call("register", request, ModelVersion)

    def approval(self, request: rq.ApprovalRequest) -> rq.ApprovalResult:
        """Say what was decided about a registered version."""
        return self._call("approval", request, rq.ApprovalResult)

    def package(self, request: rq.PackageRequest) -> rq.PackageResult:
        """Bring a package and its release to the provider."""
        return self._call("package", request, rq.PackageResult)

    def preview(self, request: rq.PreviewRequest) -> rq.PreviewResult:
        """Check limits, and say what deploying would leave or take."""
        return self._call("preview", request, rq.PreviewResult)

    def deploy(self, request: rq.DeployRequest) -> rq.DeployResult:
        """Give a release to devices."""
        return self._call("deploy", request, rq.DeployResult)

    def inventory(self, request: rq.InventoryRequest) -> Iterator[Device]:
        """Yield the devices of a target, page by page."""
        for page in self._pages("inventory", request, rq.InventoryPage):
            yield from page.devices

    def observe(self, request: rq.ObserveRequest) -> Iterator[DeviceStatus]:
        """Yield where each device stands, page by page."""
        for page in self._pages("observe", request, rq.ObservePage):
            yield from page.states

    def history(self, request: rq.HistoryRequest) -> Iterator[ReleaseRecord]:
        """Yield an application's releases, newest first."""
        for page in self._pages("history", request, rq.HistoryPage):
            yield from page.releases

    def telemetry(self, request: rq.TelemetryRequest) -> Iterator[rq.TelemetryPage]:
        """Yield pages of records, oldest first."""
        yield from self._pages("telemetry", request, rq.TelemetryPage)

    def withdraw(self, request: rq.WithdrawRequest) -> rq.WithdrawResult:
        """Take a release back, or remove the application."""
        return self._call("withdraw", request, rq.WithdrawResult)

    def coordinate(self, request: rq.CoordinateRequest) -> rq.CoordinateResult:
        """Compare and swap a shared text."""
        return self._call("coordinate", request, rq.CoordinateResult)

    def check(self, request: rq.CheckRequest) -> tuple[Finding, ...]:
        """Check credentials and prerequisites."""
        return self._call("check", request, rq.CheckResult).findings

    def capabilities(self) -> Capabilities:
        """Say what the provider can do."""
        return self._call("capabilities", rq.CapabilitiesRequest(), Capabilities)

    def enroll(self, request: rq.EnrollRequest) -> rq.EnrollResult:
        """Make a device known."""
        return self._call("enroll", request, rq.EnrollResult)

    def retire(self, request: rq.RetireRequest) -> rq.RetireResult:
        """Forget a device."""
        return self._call("retire", request, rq.RetireResult)

    def _require(self, hook: str) -> None:
        if not self.supports(hook):
            raise UnsupportedError(
                f"provider '{self.name}' does not implement '{hook}'",
                hint="`edgectl providers` lists what each provider can do",
            )

    def _call(self, hook: str, request: object, result_type: type[R]) -> R:
        self._require(hook)
        result = getattr(self._manager.hook, hook)(request=request)
        if result is None:
            raise UnsupportedError(f"provider '{self.name}' does not implement '{hook}' here")
        if not isinstance(result, result_type):
            raise ProviderError(
                f"provider '{self.name}' is broken: '{hook}' returned "
                f"{type(result).__name__}, expected {result_type.__name__}",
                hint="this is a defect of the plugin; its conformance tests would find it",
            )
        return result

    def _pages(self, hook: str, request: Paged, page_type: type[Page]) -> Iterator[Page]:
        for _ in range(MAX_PAGES):
            page = self._call(hook, request, page_type)
            yield page
            if not page.next or page.next == request.cursor:
                return
            request = cast("Paged", msgspec.structs.replace(cast("Any", request), cursor=page.next))
        raise ProviderError(f"provider '{self.name}' is broken: '{hook}' has no last page")
