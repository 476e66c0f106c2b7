"""What ``providers.azure`` of the project file may hold.

Credentials never stand here: they come from azure-identity's own chain (environment, managed
identity, the Azure CLI's login).
"""

from __future__ import annotations

from edgectl.api import Record


class AzureConfig(Record, frozen=True, kw_only=True):
    """The part of an Azure subscription that the project uses.

    Attributes:
        subscription_id: The subscription's id.
        resource_group: The resource group of hub and workspace.
        iot_hub: The IoT Hub's name; not of the Basic tier, which has no deployments.
        workspace: The Azure ML workspace, or None when models are trained elsewhere.
        registry: The container registry of images and packages, for example ``name.azurecr.io``.
    """

    subscription_id: str
    resource_group: str
    iot_hub: str
    workspace: str | None = None
    registry: str | None = None
