"""Azure Resource Manager: the list of clouds, the subscription, the IoT Hub and its keys.

Enough for SDKs to find their endpoints (``ARM_CLOUD_METADATA_URL``) and for the Azure CLI to look a
hub up by name. Resources of other providers are other rooms', which stand before this one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from werkzeug.wrappers import Request, Response

from edgectl_azure_iot_edge.emulator.directory import Token, TokenError
from edgectl_azure_iot_edge.emulator.hub.room import HubRoom
from edgectl_azure_iot_edge.emulator.rooms import AzureFault, Controls
from edgectl_azure_iot_edge.emulator.site import Site

CLOUD = "edgectlEmulator"
METADATA = "/metadata/endpoints"
METADATA_VERSION = "2019-05-01"
_HUBS = re.compile(
    r"/subscriptions/(?P<s>[^/]+)(/resourceGroups/(?P<g>[^/]+))?"
    r"/providers/Microsoft\.Devices/IotHubs(/(?P<hub>[^/]+)(/(?P<verb>listkeys|IotHubKeys"
    r"(/(?P<key>[^/]+)/listkeys)?))?)?",
    re.IGNORECASE,
)
_GROUPS = re.compile(r"/subscriptions/(?P<s>[^/]+)/resourceGroups(/(?P<g>[^/]+))?", re.IGNORECASE)
_SUBSCRIPTIONS = re.compile(r"/subscriptions(/(?P<s>[^/]+))?")


class ArmRoom:
    """Azure Resource Manager."""

    name = "arm"

    def __init__(self, site: Site) -> None:
        self._site = site

    def start(self) -> None:
        """Nothing runs."""

    def stop(self) -> None:
        """Nothing runs."""

    def settings(self) -> Mapping[str, str]:
        """Return where SDKs find the list of clouds."""
        where = f"{self._site.url}{METADATA}?api-version={METADATA_VERSION}"
        return {"ARM_CLOUD_METADATA_URL": where, "AZURE_SUBSCRIPTION_ID": self._site.subscription}

    def controls(self) -> Controls:
        """There are none."""
        return {}

    def serves(self, request: Request) -> bool:
        """Take the list of clouds and what is below ``/subscriptions``."""
        return bool(self.operation(request))

    def operation(self, request: Request) -> str:
        """Name the request."""
        path = request.path
        if path == METADATA:
            return "CloudMetadata"
        if path == "/tenants":
            return "ListTenants"
        if found := _HUBS.fullmatch(path):
            return "ListKeys" if found["verb"] else "GetHub" if found["hub"] else "ListHubs"
        if _GROUPS.fullmatch(path):
            return "ResourceGroups"
        return "Subscriptions" if _SUBSCRIPTIONS.fullmatch(path) else ""

    def answer(self, request: Request) -> Response:
        """Answer in JSON."""
        if request.path == METADATA:
            return _json(_clouds(self._site))
        try:
            self._check(request)
        except TokenError as exc:
            return _error(401, exc.code, str(exc))
        operation = self.operation(request)
        if operation == "ListTenants":
            tenant = self._site.tenant
            return _json({"value": [{"id": f"/tenants/{tenant}", "tenantId": tenant}]})
        if operation == "Subscriptions":
            return self._subscriptions(request)
        if operation == "ResourceGroups":
            return self._groups(request)
        return self._hubs(request, operation)

    def refusal(self, fault: AzureFault) -> Response:
        """Word an error of ARM."""
        return _error(fault.status or 400, fault.code, fault.message)

    def _check(self, request: Request) -> Token:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind != "Bearer":
            raise TokenError("AuthenticationFailed", "The 'Authorization' header is missing.")
        return self._site.directory.check(
            token,
            self._site.url,
            "https://management.azure.com",
            "https://management.core.windows.net",
        )

    def _subscriptions(self, request: Request) -> Response:
        wanted = _SUBSCRIPTIONS.fullmatch(request.path)
        name = wanted["s"] if wanted else None
        mine = {
            "id": f"/subscriptions/{self._site.subscription}",
            "subscriptionId": self._site.subscription,
            "tenantId": self._site.tenant,
            "displayName": "edgectl emulator",
            "state": "Enabled",
        }
        if name is None:
            return _json({"value": [mine], "count": {"type": "Total", "value": 1}})
        return _json(mine) if name == self._site.subscription else self._no_subscription(name)

    def _groups(self, request: Request) -> Response:
        wanted = _GROUPS.fullmatch(request.path)
        group = wanted["g"] if wanted else None
        mine = {
            "id": f"/subscriptions/{self._site.subscription}/resourceGroups/"
            f"{self._site.resource_group}",
            "name": self._site.resource_group,
            "type": "Microsoft.Resources/resourceGroups",
            "location": self._site.location,
            "properties": {"provisioningState": "Succeeded"},
        }
        if group is None:
            return _json({"value": [mine]})
        if group.lower() == self._site.resource_group.lower():
            return _json(mine)
        return _error(404, "ResourceGroupNotFound", f"Resource group '{group}' could not be found.")

    def _hubs(self, request: Request, operation: str) -> Response:
        wanted = _HUBS.fullmatch(request.path)
        if wanted is None or wanted["s"] != self._site.subscription:
            return self._no_subscription(wanted["s"] if wanted else "")
        if operation == "ListHubs":
            return _json({"value": [self._hub()]})
        if wanted["hub"].lower() != self._site.hub.lower():
            said = f"The Resource 'Microsoft.Devices/IotHubs/{wanted['hub']}' was not found."
            return _error(404, "ResourceNotFound", said)
        return _json(self._hub()) if operation == "GetHub" else self._listed_keys(wanted["key"])

    def _listed_keys(self, name: str | None) -> Response:
        keys = self._keys()
        if name is None:
            return _json({"value": keys})
        found = [key for key in keys if key["keyName"] == name]
        if not found:
            return _error(404, "IotHubKeyNotFound", f"There is no policy '{name}'.")
        return _json(found[0])

    def _hub(self) -> dict[str, Any]:
        settings = self._site.find(HubRoom).settings_of_hub
        group = self._site.resource_group
        return {
            "id": f"/subscriptions/{self._site.subscription}/resourceGroups/{group}"
            f"/providers/Microsoft.Devices/IotHubs/{self._site.hub}",
            "name": self._site.hub,
            "type": "Microsoft.Devices/IotHubs",
            "location": self._site.location,
            "subscriptionid": self._site.subscription,
            "resourcegroup": group,
            "tags": {},
            "etag": "AAAAAAAAAAE=",
            "sku": {
                "name": settings.tier,
                "tier": {"F": "Free", "B": "Basic", "S": "Standard"}[settings.tier[0]],
                "capacity": settings.units,
            },
            "properties": {
                "hostName": self._site.url.removeprefix("https://"),
                "state": "Active",
                "provisioningState": "Succeeded",
                "eventHubEndpoints": {
                    "events": {
                        "retentionTimeInDays": self._site.events.retention.days,
                        "partitionCount": self._site.events.partitions,
                        "partitionIds": [str(n) for n in range(self._site.events.partitions)],
                        "path": self._site.hub,
                        "endpoint": f"sb://{self._site.host_name}/",
                    }
                },
                "locations": [{"location": self._site.location, "role": "primary"}],
            },
        }

    def _keys(self) -> list[dict[str, str]]:
        policies = self._site.find(HubRoom).hub.policies.values()
        return [
            {
                "keyName": policy.name,
                "primaryKey": policy.primary,
                "secondaryKey": policy.secondary,
                "rights": ", ".join(policy.permissions),
            }
            for policy in policies
        ]

    def _no_subscription(self, name: str) -> Response:
        return _error(404, "SubscriptionNotFound", f"The subscription '{name}' could not be found.")


def _clouds(site: Site) -> list[dict[str, Any]]:
    host = site.host_name
    return [
        {
            "portal": site.url,
            "authentication": {
                "loginEndpoint": site.url,
                "audiences": [site.url, "https://management.azure.com/"],
                "tenant": "common",
                "identityProvider": "AAD",
            },
            "media": site.url,
            "graphAudience": site.url,
            "graph": site.url,
            "name": CLOUD,
            "suffixes": {
                "acrLoginServer": host,
                "storage": host,
                "keyVaultDns": host,
                "sqlServerHostname": host,
                "mysqlServerEndpoint": host,
                "postgresqlServerEndpoint": host,
                "azureDataLakeStoreFileSystem": host,
                "azureDataLakeAnalyticsCatalogAndJob": host,
            },
            "batch": site.url,
            "resourceManager": site.url,
            "vmImageAliasDoc": site.url,
            "activeDirectoryDataLake": site.url,
            "sqlManagement": site.url,
            "gallery": site.url,
            "microsoftGraphResourceId": site.url,
        }
    ]


def _json(document: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(document), status=status, content_type="application/json")


def _error(status: int, code: str, message: str) -> Response:
    return _json({"error": {"code": code, "message": message}}, status)
