"""The way from the server to nodes and pods: logs from the kubelet, HTTP through to a pod.

As a real server does it: a node's kubelet is asked over HTTPS at ``status.addresses`` (Hostname,
InternalIP, ExternalIP in the order of preference) and ``status.daemonEndpoints.kubeletEndpoint
.Port``, without a look at its certificate, as ``/containerLogs/NAMESPACE/POD/CONTAINER``; a pod's
port is spoken to directly at ``status.podIP``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import httpx
from starlette.requests import Request
from starlette.responses import Response

from edgectl_gke_edge.emulator.kube.errors import (
    Json,
    Place,
    StatusError,
    bad_request,
    not_found,
    unavailable,
)
from edgectl_gke_edge.emulator.kube.forwarding import passed, streamed
from edgectl_gke_edge.emulator.kube.kinds import kind_of
from edgectl_gke_edge.emulator.kube.requests import Target
from edgectl_gke_edge.emulator.kube.store import Store

_PREFERRED = ("InternalIP", "Hostname", "ExternalIP")
_LOG_OPTIONS = (
    "follow",
    "previous",
    "sinceSeconds",
    "sinceTime",
    "timestamps",
    "tailLines",
    "limitBytes",
)
# Who asked is the server's matter, not the pod's.
_OWN = frozenset({"authorization"})
_TIMEOUT = httpx.Timeout(30, read=None)


class Kubelets:
    """Speaks to nodes and pods on behalf of clients."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._client = httpx.AsyncClient(verify=False, timeout=_TIMEOUT, trust_env=False)  # noqa: S501 - a real server does not check kubelets either unless it is told a CA

    async def close(self) -> None:
        """Close connections."""
        await self._client.aclose()

    async def log(self, pod: Json, query: Mapping[str, str]) -> Response:
        """Answer ``pods/log``.

        Raises:
            StatusError: 400 for a container that is not there or has not started, 5xx for a node
                that does not answer.
        """
        container = log_container(pod, query.get("container", ""))
        metadata = pod["metadata"]
        node = pod.get("spec", {}).get("nodeName")
        if not node:
            return Response(b"", media_type="text/plain")
        options = {name: query[name] for name in _LOG_OPTIONS if query.get(name)}
        path = f"containerLogs/{metadata['namespace']}/{metadata['name']}/{container}"
        url = f"{self.address(node)}/{path}?{urlencode(options)}"
        answer = await self._send("GET", url)
        if answer.status_code >= 400:
            text = (await answer.aread()).decode(errors="replace").strip()
            await answer.aclose()
            raise StatusError(
                answer.status_code,
                {400: "BadRequest", 404: "NotFound"}.get(answer.status_code, "InternalError"),
                text or f"the node '{node}' refused the log",
            )
        return streamed(answer, media_type="text/plain")

    def address(self, node: str) -> str:
        """Return the URL of a node's kubelet.

        Raises:
            StatusError: 404 or 503, there is no such node or it has not told.
        """
        found = self._store.get(kind_of("", "nodes"), "", node)
        if found is None:
            raise not_found(Place("nodes", "", node))
        status = found.get("status", {})
        port = status.get("daemonEndpoints", {}).get("kubeletEndpoint", {}).get("Port")
        addresses = {a["type"]: a["address"] for a in status.get("addresses", [])}
        host = next((addresses[kind] for kind in _PREFERRED if kind in addresses), None)
        if not port or not host:
            raise unavailable(f"no preferred addresses found for node {node!r}")
        return f"https://{host}:{port}"

    async def proxy(self, target: Target, request: Request) -> Response:
        """Pass a request on to a pod (``pods/NAME[:PORT]/proxy/PATH``) or a node's kubelet.

        Raises:
            StatusError: 404, 400 or 503.
        """
        base = self._base(target)
        query = request.url.query
        url = f"{base}/{target.rest}" + (f"?{query}" if query else "")
        headers = passed(request.headers, without=_OWN)
        answer = await self._send(request.method, url, await request.body(), headers)
        return streamed(answer)

    def _base(self, target: Target) -> str:
        scheme, name, port = split_name(target.name)
        if target.kind.plural == "nodes":
            return self.address(name)
        pod = self._store.get(target.kind, target.namespace, name)
        if pod is None:
            raise not_found(Place("pods", "", name))
        address = pod.get("status", {}).get("podIP")
        if not address:
            raise bad_request("address not allowed")
        return f"{scheme}://{address}:{port or first_port(pod)}"

    async def _send(
        self,
        method: str,
        url: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        request = self._client.build_request(method, url, content=body, headers=headers)
        try:
            return await self._client.send(request, stream=True)
        except httpx.HTTPError as exc:
            raise unavailable(
                f'error trying to reach service: {method} "{url}": {type(exc).__name__}: {exc}'
            ) from exc


def split_name(name: str) -> tuple[str, str, str]:
    """Read ``[SCHEME:]NAME[:PORT]``; return scheme, name and port ("" for none)."""
    parts = name.split(":")
    if len(parts) == 3:
        return parts[0] or "http", parts[1], parts[2]
    return "http", parts[0], parts[1] if len(parts) == 2 else ""


def first_port(pod: Json) -> int:
    """Return the port that is meant when none is named."""
    for container in pod.get("spec", {}).get("containers", []):
        for port in container.get("ports", []):
            return int(port["containerPort"])
    return 80


def log_container(pod: Json, name: str) -> str:
    """Return the container whose log is meant.

    Raises:
        StatusError: 400 when it must be named, is not there, or has not started.
    """
    spec = pod.get("spec", {})
    main = [c["name"] for c in spec.get("containers", [])]
    first = [c["name"] for c in spec.get("initContainers", [])]
    pod_name = pod["metadata"]["name"]
    if not name and len(main) > 1:
        raise bad_request(
            f"a container name must be specified for pod {pod_name}, choose one of: "
            f"[{' '.join(main)}]"
            + (f" or one of the init containers: [{' '.join(first)}]" if first else "")
        )
    name = name or main[0]
    if name not in main + first:
        raise bad_request(f"container {name} is not valid for pod {pod_name}")
    status = pod.get("status", {})
    statuses = [*status.get("containerStatuses", []), *status.get("initContainerStatuses", [])]
    waiting: Any = next(
        (s.get("state", {}).get("waiting") for s in statuses if s["name"] == name), None
    )
    ran = any(s.get("lastState") for s in statuses if s["name"] == name)
    if waiting and not ran:
        raise bad_request(
            f'container "{name}" in pod "{pod_name}" is waiting to start: '
            f"{waiting.get('reason', '')}"
        )
    return name
