"""Provider ``selfhosted``: the team's own machines, through any server of hawkBit's management API.

The hooks are here, what they do is in ``_sdk`` (which imports the HTTP client, inside the hooks
only), what they send and read is in ``render``, ``fiql`` and ``states``.
"""

# ruff: noqa: PLC0415 - the SDK is imported by the hook that needs it

from __future__ import annotations

from typing import TYPE_CHECKING

from edgectl import api
from edgectl.api import hookimpl
from edgectl_selfhosted.config import SelfhostedConfig
from edgectl_selfhosted.models import approval, register
from edgectl_selfhosted.render import MAX_FILE_BYTES

if TYPE_CHECKING:
    from edgectl_selfhosted._sdk.client import Client

MAX_DEVICES_PER_CALL = 5000  # hawkBit's default quota of targets in one manual assignment


class SelfhostedProvider:
    """Eclipse hawkBit, or our hub, as a provider.

    Args:
        config: ``providers.selfhosted`` of the project file.
        context: Where the project and its state lie, and who hears of progress.
    """

    config_type = SelfhostedConfig

    def __init__(self, config: SelfhostedConfig, context: api.ProviderContext) -> None:
        self._config = config
        self._context = context
        self._members = api.TelemetryMembers()

    @hookimpl
    def train(self, request: api.TrainRequest) -> api.TrainedModel:
        """Run the project's command on this machine."""
        return api.run_training(request, self._context.progress)

    @hookimpl
    def register(self, request: api.RegisterRequest) -> api.ModelVersion:
        """Record a version in the local model registry."""
        return register(self._context.state_dir, request)

    @hookimpl
    def approval(self, request: api.ApprovalRequest) -> api.ApprovalResult:
        """Look into the local model registry."""
        return approval(self._context.state_dir, request)

    @hookimpl
    def package(self, request: api.PackageRequest) -> api.PackageResult:
        """Upload what is missing and make the release's distribution set."""
        from edgectl_selfhosted._sdk.publish import also_pushed, publish

        with self._connect() as client:
            result = publish(client, request, self._context.progress)
        return also_pushed(self._config.registry, request, result)

    @hookimpl
    def deploy(self, request: api.DeployRequest) -> api.DeployResult:
        """Assign the release's distribution set."""
        from edgectl_selfhosted._sdk.assign import assign

        with self._connect() as client:
            return assign(client, request)

    @hookimpl
    def inventory(self, request: api.InventoryRequest) -> api.InventoryPage:
        """List the targets that the selector finds."""
        from edgectl_selfhosted._sdk.inventory import inventory

        with self._connect() as client:
            return inventory(client, request)

    @hookimpl
    def observe(self, request: api.ObserveRequest) -> api.ObservePage:
        """Read the devices' own state from their attributes and feedback."""
        from edgectl_selfhosted._sdk.observe import observe

        with self._connect() as client:
            patience = self._config.unreachable_after_s
            return observe(client, request, unreachable_after_s=patience)

    @hookimpl
    def history(self, request: api.HistoryRequest) -> api.HistoryPage:
        """List the application's distribution sets."""
        from edgectl_selfhosted._sdk.history import history

        with self._connect() as client:
            return history(client, request)

    @hookimpl
    def withdraw(self, request: api.WithdrawRequest) -> api.WithdrawResult:
        """Cancel open assignments."""
        from edgectl_selfhosted._sdk.withdraw import withdraw

        with self._connect() as client:
            return withdraw(client, request, self._context.progress)

    @hookimpl
    def coordinate(self, request: api.CoordinateRequest) -> api.CoordinateResult:
        """Compare and swap a text kept in target tags."""
        from edgectl_selfhosted._sdk.coordinate import coordinate

        with self._connect() as client:
            return coordinate(client, request)

    @hookimpl
    def telemetry(self, request: api.TelemetryRequest) -> api.TelemetryPage:
        """Read records from the hub, or from a collector's files."""
        from edgectl_selfhosted._sdk.records import records

        project_dir = self._context.project_dir
        return records(self._config, project_dir, self._connect, request, self._members)

    @hookimpl
    def check(self, request: api.CheckRequest) -> api.CheckResult:
        """Look at server, credentials, devices' side, telemetry and the local store."""
        from edgectl_selfhosted._sdk.check import check

        return check(self._config, self._context.state_dir, self._connect, request)

    @hookimpl
    def capabilities(self, request: api.CapabilitiesRequest) -> api.Capabilities:
        """Say what hawkBit and our agent can do; hawkBit cannot remove an application."""
        del request
        return api.Capabilities(
            withdraw=False,
            network=True,
            deltas=True,
            limits=api.Limits(
                max_file_bytes=MAX_FILE_BYTES, max_devices_per_call=MAX_DEVICES_PER_CALL
            ),
        )

    @hookimpl
    def enroll(self, request: api.EnrollRequest) -> api.EnrollResult:
        """Create the target and write the device's configuration."""
        from edgectl_selfhosted._sdk.enroll import enroll

        with self._connect() as client:
            return enroll(client, self._config, self._context.project_dir, request)

    @hookimpl
    def retire(self, request: api.RetireRequest) -> api.RetireResult:
        """Delete the target."""
        from edgectl_selfhosted._sdk.enroll import retire

        with self._connect() as client:
            return retire(client, request)

    def _connect(self, server: str | None = None) -> Client:
        from edgectl_selfhosted._sdk.client import Client

        return Client(self._config, self._context.project_dir, server=server)
