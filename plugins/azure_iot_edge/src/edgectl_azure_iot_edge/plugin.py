"""The provider ``azure``: the hooks of Azure IoT Edge and Azure ML.

Only ``capabilities`` stands here: the limits that a plan can be checked against. A hook that is
absent is not implemented, and core says so by its name.
"""

from __future__ import annotations

from edgectl.api import Capabilities, CapabilitiesRequest, Limits, ProviderContext, hookimpl
from edgectl_azure_iot_edge.config import AzureConfig


class AzureProvider:
    """Azure IoT Edge as an edgectl provider."""

    config_type = AzureConfig

    def __init__(self, config: AzureConfig, context: ProviderContext) -> None:
        self.config = config
        self.context = context

    @hookimpl
    def capabilities(self, request: CapabilitiesRequest) -> Capabilities:
        """Say what IoT Edge does by itself, and what it allows.

        - Automatic deployments have no rate, no threshold and no rollback: a device that fails
          keeps trying what it was given (module-deployment-monitoring).
        - Configuration operations are limited to 20 a minute and hub unit
          (iot-hub-devguide-quotas-throttling); one unit is assumed.
        """
        return Capabilities(
            device_rollback=False,
            withdraw=False,
            telemetry=False,
            emulator=False,
            limits=Limits(calls_per_second=20 / 60),
        )
