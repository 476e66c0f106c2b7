"""The provider ``aws``: the hooks of AWS IoT Greengrass V2 and SageMaker.

Only ``capabilities`` stands here: the limits that a plan can be checked against. A hook that is
absent is not implemented, and core says so by its name.
"""

from __future__ import annotations

from edgectl.api import Capabilities, CapabilitiesRequest, Limits, ProviderContext, hookimpl
from edgectl_aws_greengrass.config import AwsConfig


class AwsProvider:
    """AWS IoT Greengrass V2 as an edgectl provider."""

    config_type = AwsConfig

    def __init__(self, config: AwsConfig, context: ProviderContext) -> None:
        self.config = config
        self.context = context

    @hookimpl
    def capabilities(self, request: CapabilitiesRequest) -> Capabilities:
        """Say what Greengrass V2 does by itself, and what it allows.

        - The nucleus returns to the components before when a deployment fails
          (``failureHandlingPolicy`` ROLLBACK is its default; developer guide,
          create-deployments). Nucleus lite has no rollback.
        - The artifacts of a component version are 2 GB at most, and the control plane takes 30
          calls a second and Region, CreateComponentVersion one (AWS General Reference,
          greengrassv2; none is adjustable). The smaller reading of "2 GB" is used.
        """
        return Capabilities(
            device_rollback=True,
            withdraw=False,
            telemetry=False,
            emulator=False,
            limits=Limits(max_package_bytes=2_000_000_000, calls_per_second=30.0),
        )
