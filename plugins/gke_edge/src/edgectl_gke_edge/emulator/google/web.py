"""Google's HTTP side: token endpoint, connect gateway's credentials, and the gateway itself.

The gateway is a path to a member's API server:
``/v1/projects/N/locations/L/memberships/M/api/v1/…``. It checks the caller's Google token and his
right to use the gateway, and passes the request on; the cluster's own RBAC decides the rest.
"""

from __future__ import annotations

import base64
import json
import re
import ssl
from typing import Any
from urllib.parse import parse_qsl

import grpc
import httpx
import yaml
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from edgectl_gke_edge.emulator.google.account import Account
from edgectl_gke_edge.emulator.google.errors import GoogleError, not_found
from edgectl_gke_edge.emulator.google.identity import TokenError
from edgectl_gke_edge.emulator.kube.forwarding import passed, streamed

_NAME = r"projects/[^/]+/locations/[^/]+/memberships/[^/:]+"
_CREDENTIALS = re.compile(rf"/v1/(?P<name>{_NAME}):generateCredentials")
_THROUGH = re.compile(rf"/v1/(?P<name>{_NAME})(?P<path>/.*)?")
_HTTP = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNAVAILABLE: 503,
}
_READ = {"GET", "HEAD"}
_SERVICE = "connectgateway.googleapis.com"


class Web:
    """The ASGI application.

    Args:
        account: The project.
        gateway_url: Where the gateway listens with TLS, for kubeconfig files.
        gateway_ca: The CA of its certificate, PEM.
        token_uri: Where the token endpoint is; assertions must be meant for it.
    """

    def __init__(
        self, account: Account, *, gateway_url: str, gateway_ca: str, token_uri: str
    ) -> None:
        self._account = account
        self._gateway_url = gateway_url
        self._gateway_ca = gateway_ca
        self._token_uri = token_uri
        self._clients: dict[str, httpx.AsyncClient] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except GoogleError as exc:
            response = _refusal(exc)
        await response(scope, receive, send)

    async def close(self) -> None:
        """Close the connections to API servers."""
        for client in self._clients.values():
            await client.aclose()

    async def _answer(self, request: Request) -> Response:
        path = request.url.path
        if path == "/token" and request.method == "POST":
            return await self._token(request)
        if (found := _CREDENTIALS.fullmatch(path)) and request.method == "GET":
            return self._credentials(request, found["name"])
        if found := _THROUGH.fullmatch(path):
            return await self._through(request, found["name"], found["path"] or "/")
        raise not_found(path)

    # Tokens

    async def _token(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode()))
        try:
            answer = self._account.identity.exchange(
                form.get("grant_type", ""), form.get("assertion", ""), self._token_uri
            )
        except TokenError as exc:
            told = {"error": exc.code, "error_description": str(exc)}
            return JSONResponse(told, 400)
        return JSONResponse(answer)

    def _allow(self, request: Request, name: str, permission: str) -> None:
        principal = self._account.identity.authenticate(request.headers.get("authorization", ""))
        self._account.strike(_SERVICE)
        resource = f"//gkehub.googleapis.com/{name}"
        self._account.identity.check(principal, permission, resource)

    # The gateway

    def _credentials(self, request: Request, name: str) -> Response:
        self._allow(request, name, "gkehub.gateway.generateCredentials")
        membership, _ = self._account.membership_of(name)
        return JSONResponse(
            {
                "kubeconfig": base64.b64encode(self._kubeconfig(membership.name).encode()).decode(),
                "endpoint": self._endpoint(membership.name),
            }
        )

    def _endpoint(self, name: str) -> str:
        by_number = name.replace(self._account.project, self._account.number, 1)
        return f"{self._gateway_url}/v1/{by_number}"

    def _kubeconfig(self, name: str) -> str:
        _, project, _, location, _, member = name.split("/")
        context = f"connectgateway_{project}_{location}_{member}"
        authority = base64.b64encode(self._gateway_ca.encode()).decode()
        cluster = {"server": self._endpoint(name), "certificate-authority-data": authority}
        plugin = {
            "apiVersion": "client.authentication.k8s.io/v1beta1",
            "command": "gke-gcloud-auth-plugin",
            "installHint": "Install gke-gcloud-auth-plugin for use with kubectl",
            "provideClusterInfo": True,
        }
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": context, "cluster": cluster}],
            "contexts": [{"name": context, "context": {"cluster": context, "user": context}}],
            "current-context": context,
            "users": [{"name": context, "user": {"exec": plugin}}],
        }
        return yaml.safe_dump(document, sort_keys=False)

    async def _through(self, request: Request, name: str, path: str) -> Response:
        verb = "get" if request.method in _READ else "post"
        self._allow(request, name, f"gkehub.gateway.{verb}")
        membership, reach = self._account.membership_of(name)
        if reach is None or self._account.is_disconnected(membership.name):
            raise _no_agent(membership.name)
        query = f"?{request.url.query}" if request.url.query else ""
        client = self._client(reach.address, reach.ca)
        outgoing = client.build_request(
            request.method,
            f"https://{reach.address}{path}{query}",
            headers=passed(request.headers),
            content=await request.body(),
        )
        try:
            return streamed(await client.send(outgoing, stream=True))
        except httpx.HTTPError as exc:
            raise _no_agent(membership.name) from exc

    def _client(self, address: str, ca: str) -> httpx.AsyncClient:
        if address not in self._clients:
            context = ssl.create_default_context(cadata=ca)
            timeout = httpx.Timeout(30, read=None)
            client = httpx.AsyncClient(verify=context, timeout=timeout, trust_env=False)
            self._clients[address] = client
        return self._clients[address]


def _no_agent(name: str) -> GoogleError:
    message = f"Cluster '{name}' is not reachable: the connect agent has no connection."
    return GoogleError(grpc.StatusCode.UNAVAILABLE, message)


def _refusal(error: GoogleError) -> Response:
    code = _HTTP.get(error.code, 500)
    status = error.to_status()
    details: list[dict[str, Any]] = []
    for packed, detail in zip(status.details, error.details, strict=True):
        fields = {"@type": packed.type_url}
        if hasattr(detail, "reason"):
            fields |= {"reason": detail.reason, "domain": detail.domain}
            fields["metadata"] = dict(detail.metadata)
        details.append(fields)
    body = {"code": code, "message": error.message, "status": error.code.name}
    if details:
        body["details"] = details
    return Response(json.dumps({"error": body}), code, media_type="application/json")
