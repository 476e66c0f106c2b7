"""EndpointSlices: which pods a Service leads to.

Source: kubernetes.io, "EndpointSlices". One slice a Service, of 100 pods at most as there; those
beyond, which a real cluster has further slices for, only a pretended crowd has here.
"""

from __future__ import annotations

from edgectl_gke_edge.emulator.nodes.api import Api, ApiError, Obj
from edgectl_gke_edge.emulator.nodes.controllers.base import Controller
from edgectl_gke_edge.emulator.nodes.informer import Informer, key_of
from edgectl_gke_edge.emulator.nodes.podfacts import (
    is_going,
    is_over,
    is_ready,
    owner_reference,
)
from edgectl_gke_edge.emulator.nodes.proxy import target_port
from edgectl_gke_edge.emulator.nodes.selection import labels_of, selects

MAX_ENDPOINTS = 100
_MANAGER = "endpointslice-controller.k8s.io"


def slice_of(service: Obj, pods: list[Obj]) -> Obj:
    """Return the EndpointSlice of a service with a selector."""
    meta, spec = service["metadata"], service["spec"]
    wanted = {"matchLabels": spec["selector"]}
    chosen = [
        pod
        for pod in pods
        if pod["metadata"]["namespace"] == meta["namespace"]
        and selects(wanted, labels_of(pod))
        and (pod.get("status") or {}).get("podIP")
        and not is_over(pod)
    ]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{meta['name']}-emulated",
            "namespace": meta["namespace"],
            "labels": {
                "kubernetes.io/service-name": meta["name"],
                "endpointslice.kubernetes.io/managed-by": _MANAGER,
            },
            "ownerReferences": [owner_reference(service, "v1", "Service")],
        },
        "addressType": "IPv4",
        "endpoints": [
            _endpoint(service, pod) for pod in sorted(chosen, key=key_of)[:MAX_ENDPOINTS]
        ],
        "ports": [
            {
                "name": port.get("name") or "",
                "protocol": port.get("protocol") or "TCP",
                "port": target_port(chosen[0], port) if chosen else port["port"],
            }
            for port in spec.get("ports") or ()
        ],
    }


def _endpoint(service: Obj, pod: Obj) -> Obj:
    serving, going = is_ready(pod), is_going(pod)
    anyway = bool(service["spec"].get("publishNotReadyAddresses"))
    return {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {
            "ready": anyway or (serving and not going),
            "serving": serving,
            "terminating": going,
        },
        "nodeName": pod["spec"].get("nodeName"),
        "targetRef": {
            "kind": "Pod",
            "name": pod["metadata"]["name"],
            "namespace": pod["metadata"]["namespace"],
            "uid": pod["metadata"]["uid"],
        },
    }


class EndpointSlices(Controller):
    """Keeps the EndpointSlices of all services.

    Args:
        api: The API server.
        services: All Services.
        pods: All pods.
    """

    def __init__(self, api: Api, services: Informer, pods: Informer) -> None:
        super().__init__(api, "services", services)
        self._pods = pods
        self._written: dict[str, Obj] = {}
        pods.on_change(self._on_pod)

    async def sync(self, key: str) -> float | None:
        """Write the slice of one service."""
        service = self.objects.get(key)
        if service is None or is_going(service) or not service["spec"].get("selector"):
            self._written.pop(key, None)
            return None
        wanted = slice_of(service, list(self._pods.items.values()))
        if self._written.get(key) == wanted:
            return None
        namespace, name = wanted["metadata"]["namespace"], wanted["metadata"]["name"]
        body = {one: wanted[one] for one in ("endpoints", "ports")}
        try:
            await self.api.patch("endpointslices", namespace, name, body)
        except ApiError as exc:
            if exc.code != 404:
                raise
            await self.api.create("endpointslices", namespace, wanted)
        self._written[key] = wanted
        return None

    def _on_pod(self, before: Obj | None, after: Obj | None) -> None:
        for pod in (before, after):
            if pod is None:
                continue
            for key, service in self.objects.items.items():
                same = service["metadata"]["namespace"] == pod["metadata"]["namespace"]
                selector = service["spec"].get("selector")
                if same and selector and selects({"matchLabels": selector}, labels_of(pod)):
                    self.wake(key, self._pods)
