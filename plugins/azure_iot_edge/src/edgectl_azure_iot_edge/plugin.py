"""The provider ``azure``: IoT Hub and IoT Edge, Azure ML, and any container registry.

The hooks are here; what they do is in ``_sdk`` (which imports Azure's SDKs, inside the hooks
only), what they send and read is in ``render``, ``schema``, ``queries``, ``states`` and
``devicefiles``.
"""

# ruff: noqa: PLC0415 - the SDK is imported by the hook that needs it

from __future__ import annotations

from typing import TYPE_CHECKING

from edgectl import api
from edgectl.api import hookimpl
from edgectl_azure_iot_edge.config import AzureConfig
from edgectl_azure_iot_edge.limits import CONFIGURATIONS, documented_rates

if TYPE_CHECKING:
    from edgectl_azure_iot_edge._sdk.account import Account


class AzureProvider:
    """Azure IoT Edge as a provider.

    Args:
        config: ``providers.azure`` of the project file.
        context: Where the project and its state lie, and who hears of progress.
    """

    config_type = AzureConfig

    def __init__(self, config: AzureConfig, context: api.ProviderContext) -> None:
        self.config = config
        self.context = context

    @hookimpl
    def train(self, request: api.TrainRequest) -> api.TrainedModel:
        """Run the project's training in an Azure ML command job."""
        from edgectl_azure_iot_edge._sdk.train import train

        return train(self.config, self.context, request)

    @hookimpl
    def register(self, request: api.RegisterRequest) -> api.ModelVersion:
        """Make a model of the workspace, or set its approval."""
        from edgectl_azure_iot_edge._sdk.register import register

        return register(self.config, request)

    @hookimpl
    def approval(self, request: api.ApprovalRequest) -> api.ApprovalResult:
        """Read the approval of a model of the workspace."""
        from edgectl_azure_iot_edge._sdk.register import approval

        return approval(self.config, request)

    @hookimpl
    def package(self, request: api.PackageRequest) -> api.PackageResult:
        """Push what is missing of the package, its release and, if baked, its image."""
        from edgectl_azure_iot_edge._sdk.package import publish

        return publish(self._open(), request, self.context.progress)

    @hookimpl
    def preview(self, request: api.PreviewRequest) -> api.PreviewResult:
        """Check the deployment, the hub's limits and every device's base deployment."""
        from edgectl_azure_iot_edge._sdk.preview import preview

        return preview(self._open(), request)

    @hookimpl
    def deploy(self, request: api.DeployRequest) -> api.DeployResult:
        """Make the release's layered deployment, and tag who is given it."""
        from edgectl_azure_iot_edge._sdk.deploy import deploy

        return deploy(self._open(), request)

    @hookimpl
    def inventory(self, request: api.InventoryRequest) -> api.InventoryPage:
        """List the edge devices that the selector finds."""
        from edgectl_azure_iot_edge._sdk.inventory import inventory

        return inventory(self._open(), request)

    @hookimpl
    def observe(self, request: api.ObserveRequest) -> api.ObservePage:
        """Read what edgeAgent and our module of each device report."""
        from edgectl_azure_iot_edge._sdk.observe import observe

        return observe(self._open(), request)

    @hookimpl
    def history(self, request: api.HistoryRequest) -> api.HistoryPage:
        """List the releases that the registry has."""
        from edgectl_azure_iot_edge._sdk.history import history

        return history(self._open(), request)

    @hookimpl
    def withdraw(self, request: api.WithdrawRequest) -> api.WithdrawResult:
        """Give devices that have not begun the release before back, or take our module away."""
        from edgectl_azure_iot_edge._sdk.withdraw import withdraw

        return withdraw(self._open(), request)

    @hookimpl
    def coordinate(self, request: api.CoordinateRequest) -> api.CoordinateResult:
        """Compare and swap a text in a twin by its ETag."""
        from edgectl_azure_iot_edge._sdk.coordinate import coordinate

        return coordinate(self._open(), request)

    @hookimpl
    def telemetry(self, request: api.TelemetryRequest) -> api.TelemetryPage:
        """Read what devices sent from the hub's built-in endpoint."""
        from edgectl_azure_iot_edge._sdk.telemetry import telemetry

        return telemetry(self._open(), request)

    @hookimpl
    def check(self, request: api.CheckRequest) -> api.CheckResult:
        """Look at hub, rights, registry, image, the targets and the workspace."""
        from edgectl_azure_iot_edge._sdk.check import check

        findings = check(self._open(), request).findings
        if self.config.workspace is not None:
            from edgectl_azure_iot_edge._sdk.check_workspace import check_workspace

            findings = (*findings, check_workspace(self.config))
        return api.CheckResult(findings=findings)

    @hookimpl
    def enroll(self, request: api.EnrollRequest) -> api.EnrollResult:
        """Make an edge device with its tags, and write its files."""
        from edgectl_azure_iot_edge._sdk.enroll import enroll

        return enroll(self._open(), request)

    @hookimpl
    def retire(self, request: api.RetireRequest) -> api.RetireResult:
        """Delete a device that edgectl added."""
        from edgectl_azure_iot_edge._sdk.enroll import retire

        return retire(self._open(), request)

    @hookimpl
    def capabilities(self, request: api.CapabilitiesRequest) -> api.Capabilities:
        """Say what IoT Edge does by itself, and what it allows.

        Automatic deployments have no rate, no threshold and no rollback; a device returns to its
        version before because our module on it does that.
        """
        del request
        rate = documented_rates(self.config.tier, self.config.units)[CONFIGURATIONS]
        return api.Capabilities(
            device_rollback=True,
            pace=False,
            withdraw=True,
            telemetry=True,
            emulator=True,
            deltas=not self.config.runtime.bake,
            network=not self.config.runtime.bake,  # edgeAgent pulls images as fast as it can
            limits=api.Limits(calls_per_second=rate.calls / rate.seconds),
        )

    def _open(self) -> Account:
        """Return the account; its client is made once, and shared by all threads."""
        from edgectl_azure_iot_edge._sdk.account import shared_account

        return shared_account(self.config)
