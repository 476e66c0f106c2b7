"""What a namespace has from the start, and how it ends.

The emulator's own API server does both by itself; a real one leaves it to its controller manager.
"""

from __future__ import annotations

from edgectl_gke_edge.emulator.nodes.api import Api, ApiError, Obj, path_of
from edgectl_gke_edge.emulator.nodes.controllers.base import Controller
from edgectl_gke_edge.emulator.nodes.informer import Informer
from edgectl_gke_edge.emulator.nodes.podfacts import is_going

_CONTENT = (
    "daemonsets",
    "deployments",
    "replicasets",
    "jobs",
    "pods",
    "services",
    "endpointslices",
    "poddisruptionbudgets",
    "networkpolicies",
    "configmaps",
    "secrets",
    "serviceaccounts",
    "leases",
    "events",
)
_AGAIN_S = 0.5


class Namespaces(Controller):
    """Gives namespaces their service account, and empties those that are deleted.

    Args:
        api: The API server.
        namespaces: All namespaces.
    """

    def __init__(self, api: Api, namespaces: Informer) -> None:
        super().__init__(api, "namespaces", namespaces)

    async def sync(self, key: str) -> float | None:
        """Look after one namespace."""
        namespace = self.objects.get(key)
        if namespace is None:
            return None
        if is_going(namespace):
            return await self._empty(namespace)
        account = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "default", "namespace": key},
        }
        try:
            await self.api.get("serviceaccounts", key, "default")
        except ApiError as exc:
            if exc.code != 404:
                raise
            await self._create(key, account)
        return None

    async def _create(self, namespace: str, account: Obj) -> None:
        try:
            await self.api.create("serviceaccounts", namespace, account)
        except ApiError as exc:
            if exc.code not in (403, 404, 409):
                raise

    async def _empty(self, namespace: Obj) -> float | None:
        name = namespace["metadata"]["name"]
        if "kubernetes" not in (namespace["spec"].get("finalizers") or []):
            return None
        left = 0
        for kind in _CONTENT:
            page = await self.api.call("GET", path_of(kind, name))
            items = page.get("items") or []
            left += len(items)
            for item in items:
                if not is_going(item):
                    await self.api.delete(kind, item)
        if left:
            return _AGAIN_S
        body = {**namespace, "spec": {**namespace["spec"], "finalizers": []}}
        await self.api.call("PUT", path_of("namespaces", "", name, "finalize"), body)
        return None
