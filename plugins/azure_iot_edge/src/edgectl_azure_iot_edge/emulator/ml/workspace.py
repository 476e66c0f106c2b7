"""The workspace's own documents: itself, where its services are, its datastores and computes. Pure.

The datastores hold the account's key, as a workspace that was made with the default settings does.
"""

from __future__ import annotations

from typing import Any

from edgectl_azure_iot_edge.emulator.ml.naming import BLOB_STORE, PROVIDER, Scope
from edgectl_azure_iot_edge.emulator.ml.storage import CONTAINERS

Document = dict[str, Any]
_SERVICES = ("api", "history", "experimentation", "modelmanagement", "pipelines", "catalog")


def workspace(scope: Scope, url: str, location: str, tenant: str) -> Document:
    """Return the workspace."""
    return {
        "id": scope.id,
        "name": scope.workspace,
        "type": f"{PROVIDER}/workspaces",
        "location": location,
        "tags": {},
        "kind": "Default",
        "sku": {"name": "Basic", "tier": "Basic"},
        "identity": {"type": "SystemAssigned", "principalId": tenant, "tenantId": tenant},
        "properties": {
            "friendlyName": scope.workspace,
            "description": "",
            "storageAccount": (
                f"/subscriptions/{scope.subscription}/resourceGroups/{scope.resource_group}"
                "/providers/Microsoft.Storage/storageAccounts/edgectlstorage"
            ),
            "hbiWorkspace": False,
            "provisioningState": "Succeeded",
            "publicNetworkAccess": "Enabled",
            "discoveryUrl": f"{url}/discovery",
            "mlFlowTrackingUri": f"azureml://{url.removeprefix('https://')}/mlflow/v1.0{scope.id}",
            "workspaceId": scope.subscription,
        },
    }


def discovery(url: str) -> Document:
    """Return where the workspace's services are: all of them here."""
    return dict.fromkeys(_SERVICES, url)


def datastores(scope: Scope, account: str, suffix: str) -> list[Document]:
    """Return the datastores, the default first.

    Args:
        scope: The workspace.
        account: What the storage account is called in them.
        suffix: What its address ends with.
    """
    return [
        {
            "id": f"{scope.id}/datastores/{name}",
            "name": name,
            "type": f"{PROVIDER}/workspaces/datastores",
            "properties": {
                "description": None,
                "tags": None,
                "properties": None,
                "isDefault": name == BLOB_STORE,
                "credentials": {"credentialsType": "AccountKey"},
                "datastoreType": "AzureBlob",
                "accountName": account,
                "containerName": container,
                "endpoint": suffix,
                "protocol": "https",
                "resourceGroup": None,
                "subscriptionId": None,
                "serviceDataAccessAuthIdentity": "None",
            },
        }
        for name, container in CONTAINERS.items()
    ]


def compute(scope: Scope, name: str, location: str) -> Document:
    """Return a compute cluster."""
    return {
        "id": f"{scope.id}/computes/{name}",
        "name": name,
        "type": f"{PROVIDER}/workspaces/computes",
        "location": location,
        "properties": {
            "computeType": "AmlCompute",
            "provisioningState": "Succeeded",
            "properties": {
                "vmSize": "STANDARD_DS3_V2",
                "vmPriority": "Dedicated",
                "osType": "Linux",
                "scaleSettings": {
                    "minNodeCount": 0,
                    "maxNodeCount": 1,
                    "nodeIdleTimeBeforeScaleDown": "PT120S",
                },
                "allocationState": "Steady",
            },
        },
    }
