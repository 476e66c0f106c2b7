"""The provider ``aws``: AWS IoT Greengrass V2, S3, AWS IoT and SageMaker.

The hooks are here; what they do is in ``_sdk`` (which imports boto3, inside the hooks only), what
they send and read is in ``recipe``, ``render``, ``states`` and ``devicefiles``.
"""

# ruff: noqa: PLC0415 - the SDK is imported by the hook that needs it

from __future__ import annotations

from typing import TYPE_CHECKING

from edgectl import api
from edgectl.api import hookimpl
from edgectl_aws_greengrass.config import AwsConfig
from edgectl_aws_greengrass.limits import CONTROL_PLANE_RATE, MAX_ARTIFACTS_BYTES

if TYPE_CHECKING:
    from edgectl_aws_greengrass._sdk.account import Account


class AwsProvider:
    """AWS IoT Greengrass V2 as a provider.

    Args:
        config: ``providers.aws`` of the project file.
        context: Where the project and its state lie, and who hears of progress.
    """

    config_type = AwsConfig

    def __init__(self, config: AwsConfig, context: api.ProviderContext) -> None:
        self.config = config
        self.context = context

    @hookimpl
    def train(self, request: api.TrainRequest) -> api.TrainedModel:
        """Run the project's training in a SageMaker job."""
        from edgectl_aws_greengrass._sdk.train import train

        return train(self._open(), request, self.context.progress)

    @hookimpl
    def register(self, request: api.RegisterRequest) -> api.ModelVersion:
        """Make a model package, or set its approval."""
        from edgectl_aws_greengrass._sdk.register import register

        return register(self._open(), request)

    @hookimpl
    def approval(self, request: api.ApprovalRequest) -> api.ApprovalResult:
        """Read the approval of a model package."""
        from edgectl_aws_greengrass._sdk.register import approval

        return approval(self._open(), request)

    @hookimpl
    def package(self, request: api.PackageRequest) -> api.PackageResult:
        """Upload what is missing, make the release's component version and the telemetry rule."""
        from edgectl_aws_greengrass._sdk.package import publish
        from edgectl_aws_greengrass._sdk.telemetry import ensure_rule

        ensure_rule(self._open(), request.release.application)
        return publish(self._open(), self.context.project_dir, request, self.context.progress)

    @hookimpl
    def preview(self, request: api.PreviewRequest) -> api.PreviewResult:
        """Check Greengrass's limits, and name what of others stays on the target."""
        from edgectl_aws_greengrass._sdk.preview import preview

        return preview(self._open(), request)

    @hookimpl
    def deploy(self, request: api.DeployRequest) -> api.DeployResult:
        """Merge the release into the target's deployment, or into that of a part of it."""
        from edgectl_aws_greengrass._sdk.deploy import deploy

        return deploy(self._open(), request)

    @hookimpl
    def inventory(self, request: api.InventoryRequest) -> api.InventoryPage:
        """List the things that the selector finds."""
        from edgectl_aws_greengrass._sdk.inventory import inventory

        return inventory(self._open(), request)

    @hookimpl
    def observe(self, request: api.ObserveRequest) -> api.ObservePage:
        """Read each device's own executions, nucleus's words and report."""
        from edgectl_aws_greengrass._sdk.observe import observe

        return observe(self._open(), request)

    @hookimpl
    def history(self, request: api.HistoryRequest) -> api.HistoryPage:
        """List the records of releases in the bucket."""
        from edgectl_aws_greengrass._sdk.history import history

        return history(self._open(), request)

    @hookimpl
    def withdraw(self, request: api.WithdrawRequest) -> api.WithdrawResult:
        """Call off what devices have not begun, or remove the application's component."""
        from edgectl_aws_greengrass._sdk.withdraw import withdraw

        return withdraw(self._open(), request)

    @hookimpl
    def coordinate(self, request: api.CoordinateRequest) -> api.CoordinateResult:
        """Compare and swap a text in the bucket by conditional writes."""
        from edgectl_aws_greengrass._sdk.coordinate import coordinate

        return coordinate(self._open(), request)

    @hookimpl
    def telemetry(self, request: api.TelemetryRequest) -> api.TelemetryPage:
        """Read what the topic rule wrote to the bucket."""
        from edgectl_aws_greengrass._sdk.telemetry import telemetry

        return telemetry(self._open(), request)

    @hookimpl
    def check(self, request: api.CheckRequest) -> api.CheckResult:
        """Look at identity, bucket, permissions, the devices' role and the targets."""
        from edgectl_aws_greengrass._sdk.check import check

        return check(self._open(), request)

    @hookimpl
    def enroll(self, request: api.EnrollRequest) -> api.EnrollResult:
        """Make a thing with a certificate and a least-privilege policy, and write its files."""
        from edgectl_aws_greengrass._sdk.enroll import enroll

        return enroll(self._open(), self.context.project_dir, request)

    @hookimpl
    def retire(self, request: api.RetireRequest) -> api.RetireResult:
        """End the thing's certificates and delete it."""
        from edgectl_aws_greengrass._sdk.enroll import retire

        return retire(self._open(), request)

    @hookimpl
    def capabilities(self, request: api.CapabilitiesRequest) -> api.Capabilities:
        """Say what Greengrass V2 does by itself, and what it allows.

        The nucleus returns to the components before when a deployment fails (it is asked for
        ROLLBACK); nucleus lite cannot. An IoT job keeps to a rate and to abort criteria.
        """
        del request
        return api.Capabilities(
            device_rollback=True,
            pace=True,
            withdraw=True,
            telemetry=True,
            emulator=True,
            limits=api.Limits(
                max_package_bytes=MAX_ARTIFACTS_BYTES, calls_per_second=CONTROL_PLANE_RATE
            ),
        )

    def _open(self) -> Account:
        """Return the account; its clients are made once, and shared by all threads."""
        from edgectl_aws_greengrass._sdk.account import shared_account
        from edgectl_aws_greengrass._sdk.pace import shared_pace

        return shared_account(self.config, shared_pace())
