"""The routes that a TLS listener mounts for devices.

``application(cloud)`` is a WSGI callable for all of them; ``serves(path)`` says whether a path is
theirs, so that one listener can serve S3 as well. The client's certificate is the PEM text in
``environ["SSL_CLIENT_CERT"]``.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from werkzeug.wrappers import Request, Response

from edgectl_aws_greengrass.emulator.dataplane import documents
from edgectl_aws_greengrass.emulator.ports import Cloud, CloudError, Principal

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

_THING_HEADER = "x-amzn-iot-thingname"
_MAX_TOPIC_PAYLOAD = 128 << 10
_ROUTES = (
    ("GET", r"/greengrass/v2/coreDevices/(?P<thing>[^/]+)/thingGroups", "thing_groups"),
    ("POST", r"/greengrass/v2/resolveComponentCandidates", "resolve"),
    # The path of GetDeploymentConfiguration is not published; both forms name thing and deployment.
    (
        "GET",
        r"/greengrass/v2/coreDevices/(?P<thing>[^/]+)/deployments/(?P<deployment>[^/]+)(/.+)?",
        "configuration",
    ),
    (
        "GET",
        r"/greengrass/v2/coreDevices/(?P<thing>[^/]+)/configuration/(?P<deployment>[^/]+)",
        "configuration",
    ),
    (
        "GET",
        r"/_edgectl/documents/(?P<token>[^/]+)/(?P<thing>[^/]+)/(?P<deployment>.+)",
        "document",
    ),
    ("GET", r"/role-aliases/(?P<alias>[^/]+)/credentials", "credentials"),
    ("POST", r"/topics/(?P<topic>.+)", "publish"),
    ("GET", r"/things/(?P<thing>[^/]+)/shadow", "shadow"),
    ("POST", r"/things/(?P<thing>[^/]+)/shadow", "shadow"),
    ("DELETE", r"/things/(?P<thing>[^/]+)/shadow", "shadow"),
)
_PREFIXES = ("/greengrass/v2/", "/role-aliases/", "/topics/", "/things/", "/_edgectl/documents/")


def serves(path: str) -> bool:
    """Say whether a path belongs to the devices' routes."""
    return path.startswith(_PREFIXES)


class DataPlane:
    """The routes, over an account."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._secret = secrets.token_bytes(32)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request (WSGI)."""
        return self.answer(Request(environ))(environ, start_response)

    def answer(self, request: Request) -> Response:
        """Serve one request."""
        for method, pattern, name in _ROUTES:
            found = re.fullmatch(pattern, request.path)
            if found is not None and method == request.method:
                names = {key: unquote(value) for key, value in found.groupdict().items()}
                route: Callable[..., Response] = getattr(self, f"_{name}")
                try:
                    return route(request, **names)
                except CloudError as exc:
                    return _refusal(exc)
        why = f"no route for '{request.method} {request.path}'"
        return _refusal(CloudError("ResourceNotFoundException", why, 404))

    def _thing_groups(self, request: Request, thing: str) -> Response:
        self._allowed(request, thing, "greengrass:ListThingGroupsForCoreDevice")
        return _json(documents.groups(self._cloud.things.groups(thing)))

    def _resolve(self, request: Request) -> Response:
        principal = self._principal(request)
        thing = principal.thing
        self._allowed(request, thing, "greengrass:ResolveComponentCandidates")
        candidates, platform = documents.wanted(request.get_data())
        found = self._cloud.greengrass.resolve(thing, candidates, platform)
        return _json(documents.resolved(found))

    def _configuration(self, request: Request, thing: str, deployment: str) -> Response:
        self._allowed(request, thing, "greengrass:GetDeploymentConfiguration")
        document = self._cloud.greengrass.configuration(thing, deployment)
        token = self._sign(thing, deployment)
        url = f"{request.host_url.rstrip('/')}/_edgectl/documents/{token}/{thing}/{deployment}"
        return _json(documents.configuration(url, document))

    def _document(self, request: Request, token: str, thing: str, deployment: str) -> Response:
        del request
        if not hmac.compare_digest(token, self._sign(thing, deployment)):
            raise CloudError("AccessDenied", "The signature does not match", 403)
        document = self._cloud.greengrass.configuration(thing, deployment)
        return Response(document, mimetype="application/json")

    def _credentials(self, request: Request, alias: str) -> Response:
        principal = self._principal(request)
        default = principal.thing
        thing = request.headers.get(_THING_HEADER, default)
        if thing and thing not in principal.things:
            raise CloudError("AccessDenied", f"'{thing}' has another certificate", 403)
        return _json(documents.credentials(self._cloud.credentials(alias, principal, thing)))

    def _publish(self, request: Request, topic: str) -> Response:
        principal = self._principal(request)
        arn = self._cloud.arn("iot", f"topic/{topic}")
        client_id = principal.thing
        if not self._cloud.things.allows(principal, "iot:Publish", arn, client_id):
            raise CloudError("ForbiddenException", f"no iot:Publish for topic/{topic}", 403)
        payload = request.get_data()
        if len(payload) > _MAX_TOPIC_PAYLOAD:
            raise CloudError("RequestEntityTooLarge", "The payload exceeds 128 KB", 413)
        self._cloud.publish(topic, payload, client_id)
        return _json({"message": "OK"})

    def _shadow(self, request: Request, thing: str) -> Response:
        verb = {"GET": "Get", "POST": "Update", "DELETE": "Delete"}[request.method]
        self._allowed(
            request, thing, f"iot:{verb}ThingShadow", self._cloud.arn("iot", f"thing/{thing}")
        )
        name = request.args.get("name")
        shadows = self._cloud.shadows
        if verb == "Update":
            found = shadows.update(thing, name, request.get_data())
        else:
            found = (shadows.get if verb == "Get" else shadows.delete)(thing, name)
        return Response(found, mimetype="application/json")

    def _principal(self, request: Request) -> Principal:
        pem = request.environ.get("SSL_CLIENT_CERT")
        found = self._cloud.things.authenticate(pem.encode()) if pem else None
        if found is None or not found.active:
            raise CloudError(
                "ForbiddenException", "The certificate is not known or not active", 403
            )
        return found

    def _allowed(
        self, request: Request, thing: str, action: str, resource: str | None = None
    ) -> None:
        principal = self._principal(request)
        if thing not in principal.things:
            raise CloudError("AccessDeniedException", f"'{thing}' has another certificate", 403)
        arn = resource or self._cloud.arn("greengrass", f"coreDevices:{thing}")
        if not self._cloud.things.allows(principal, action, arn, thing):
            raise CloudError(
                "AccessDeniedException", f"'{thing}' is not authorized to perform {action}", 403
            )

    def _sign(self, thing: str, deployment: str) -> str:
        return hmac.new(self._secret, f"{thing}\n{deployment}".encode(), "sha256").hexdigest()


def _json(document: dict[str, Any], status: int = 200) -> Response:
    return Response(json.dumps(document), status=status, mimetype="application/json")


def _refusal(error: CloudError) -> Response:
    answer = _json({"message": error.message}, error.status)
    answer.headers["x-amzn-ErrorType"] = error.code
    return answer
