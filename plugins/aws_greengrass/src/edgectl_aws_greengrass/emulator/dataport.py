"""The Greengrass data plane as ``ports.Greengrass``, from the control plane's records."""

from __future__ import annotations

from edgectl_aws_greengrass.emulator.greengrass import recipes
from edgectl_aws_greengrass.emulator.greengrass.components import Components
from edgectl_aws_greengrass.emulator.greengrass.deployments import Deployments
from edgectl_aws_greengrass.emulator.greengrass.devices import CoreDevices
from edgectl_aws_greengrass.emulator.greengrass.resolve import resolve
from edgectl_aws_greengrass.emulator.ports import Candidate, CloudError, Platform, Resolved
from edgectl_aws_greengrass.emulator.wire import ServiceError


class GreengrassDevicePort:
    """What devices ask of Greengrass; its errors are CloudError."""

    def __init__(
        self, components: Components, deployments: Deployments, devices: CoreDevices
    ) -> None:
        self._components = components
        self._deployments = deployments
        self._devices = devices

    def resolve(
        self, thing: str, candidates: tuple[Candidate, ...], platform: Platform
    ) -> tuple[Resolved, ...]:
        """Answer ``resolveComponentCandidates``."""
        del thing
        return resolve(self._components, candidates, platform)

    def recipe(self, arn: str) -> bytes:
        """Return the canonical recipe of a component version."""
        try:
            return recipes.encode(self._components.get(arn).recipe)
        except ServiceError as error:
            raise CloudError(error.code, error.message, 404) from error

    def configuration(self, thing: str, arn: str) -> bytes:
        """Return a deployment's whole document."""
        del thing
        try:
            return self._deployments.of_configuration(arn).document.encode()
        except ServiceError as error:
            raise CloudError(error.code, error.message, 404) from error

    def device_status(self, thing: str, payload: bytes) -> None:
        """Take a fleet status message."""
        self._devices.take(thing, payload)
