"""Azure Machine Learning's place on the web server: who may call, then the operation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from werkzeug.wrappers import Request, Response

from edgectl_azure_iot_edge.emulator.blob.room import BlobRoom
from edgectl_azure_iot_edge.emulator.directory import TokenError
from edgectl_azure_iot_edge.emulator.ml import routes
from edgectl_azure_iot_edge.emulator.ml.errors import MlError
from edgectl_azure_iot_edge.emulator.ml.naming import PROVIDER
from edgectl_azure_iot_edge.emulator.ml.service import Call, Service
from edgectl_azure_iot_edge.emulator.rooms import AzureFault, Controls
from edgectl_azure_iot_edge.emulator.site import Site

_API_VERSION = re.compile(r"20\d\d-\d\d-\d\d(?:-preview)?")
_AUDIENCES = (
    "https://ml.azure.com",
    "https://management.azure.com",
    "https://management.core.windows.net",
)
_TOKEN_CODES = {
    "ExpiredToken": "ExpiredAuthenticationToken",
    "InvalidAudience": "InvalidAuthenticationTokenAudience",
}


class MlRoom:
    """One workspace."""

    name = "ml"

    def __init__(self, site: Site) -> None:
        self._site = site
        self._service: Service | None = None

    def start(self) -> None:
        """Begin to take jobs.

        Raises:
            ProviderError: The account has no storage.
        """
        self._service = Service(self._site, self._site.find(BlobRoom))

    def stop(self) -> None:
        """Kill the jobs that run."""
        if self._service is not None:
            self._service.close()

    def settings(self) -> Mapping[str, str]:
        """There are none: the SDK finds the workspace by ARM's metadata."""
        return {}

    def controls(self) -> Controls:
        """There are none."""
        return {}

    def serves(self, request: Request) -> bool:
        """Take what goes to a workspace, its run history or its data plane."""
        return routes.serves(request.path)

    def operation(self, request: Request) -> str:
        """Name the request."""
        found = routes.parse(request.method, request.path)
        return found.operation if found is not None else ""

    def answer(self, request: Request) -> Response:
        """Answer in JSON, errors as ARM words them."""
        try:
            return self._answered(request)
        except MlError as error:
            return _json(error.document(), error.status)

    def refusal(self, fault: AzureFault) -> Response:
        """Word a fault as ARM does."""
        error = MlError(fault.code, fault.message, status=fault.status)
        return _json(error.document(), error.status)

    def _answered(self, request: Request) -> Response:
        route = routes.parse(request.method, request.path)
        service = self._service
        if route is None or service is None:
            said = f"the emulator has no {request.method} '{request.path}'"
            raise MlError("NotFound", said, status=501)
        by = self._authorized(request, route) if route.operation != "Discover" else ""
        if route.scope is not None:
            self._check_scope(route.scope, service)
        if request.path.lower().startswith("/subscriptions/"):
            _check_version(request.args.get("api-version", ""))
        call = Call(route, request.args.to_dict(), _body(request), by)
        reply = service.answer(call)
        if reply.document is None:
            return Response(status=reply.status, headers=reply.headers)
        answer = _json(reply.document, reply.status)
        answer.headers.update(reply.headers)
        return answer

    def _authorized(self, request: Request, route: routes.Route) -> str:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer":
            raise MlError("InvalidAuthenticationToken", "The access token is missing.", status=401)
        try:
            found = self._site.directory.check(token, self._site.url, *_AUDIENCES)
        except TokenError as exc:
            code = _TOKEN_CODES.get(exc.code, "InvalidAuthenticationToken")
            raise MlError(code, f"The access token is invalid: {exc}.", status=401) from exc
        if route.action and not found.allows(route.action):
            scope = route.scope.id if route.scope is not None else "/"
            raise MlError(
                "AuthorizationFailed",
                f"The client '{found.client_id}' with object id '{found.client_id}' does not have "
                f"authorization to perform action '{route.action}' over scope '{scope}' or the "
                "scope is invalid. If access was recently granted, please refresh your "
                "credentials.",
            )
        return found.client_id

    def _check_scope(self, scope: Any, service: Service) -> None:
        known = service.scope
        if scope.subscription.lower() != known.subscription.lower():
            said = f"The subscription '{scope.subscription}' could not be found."
            raise MlError("SubscriptionNotFound", said)
        if scope.resource_group.lower() != known.resource_group.lower():
            said = f"Resource group '{scope.resource_group}' could not be found."
            raise MlError("ResourceGroupNotFound", said)
        if scope.workspace.lower() != known.workspace.lower():
            raise MlError(
                "ResourceNotFound",
                f"The Resource '{PROVIDER}/workspaces/{scope.workspace}' under resource group "
                f"'{scope.resource_group}' was not found. For more details please go to "
                "https://aka.ms/ARMResourceNotFoundFix",
            )


def _check_version(version: str) -> None:
    if not version:
        said = "The api-version query parameter (?api-version=) is required for all requests."
        raise MlError("MissingApiVersionParameter", said)
    if not _API_VERSION.fullmatch(version):
        said = f"The api-version '{version}' is invalid."
        raise MlError("InvalidApiVersionParameter", said)


def _body(request: Request) -> dict[str, Any]:
    data = request.get_data(cache=True)
    if not data:
        return {}
    try:
        found = msgspec.json.decode(data)
    except msgspec.DecodeError as exc:
        raise MlError("InvalidRequestContent", f"The request content was invalid: {exc}") from exc
    if not isinstance(found, dict):
        raise MlError("InvalidRequestContent", "The request content is not a JSON object.")
    return found


def _json(document: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(document), status=status, content_type="application/json")
