"""The ASGI application: what devices send all day first, then operators' sign-in, then the router.

The router looks at one route after the other; the requests that every device sends in an update
are found by one look into a table.

Whatever goes wrong leaves as hawkBit's error document; only a bug is a 500, with its traceback in
the log and nothing of it in the answer.
"""

from __future__ import annotations

import logging
import sqlite3
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from edgectl_selfhosted.hub import telemetry
from edgectl_selfhosted.hub.ddi import confirmation, routes
from edgectl_selfhosted.hub.ddi.poll import poll
from edgectl_selfhosted.hub.errors import Fault, HubError
from edgectl_selfhosted.hub.http import header
from edgectl_selfhosted.hub.hub import Hub, now_ms
from edgectl_selfhosted.hub.mgmt import ROUTES as MGMT_ROUTES

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

_LOG = logging.getLogger("edgectl.hub")
_OPERATORS_ONLY = ("/rest/", "/telemetry/")


class HubApp:
    """Routes requests; the poll takes a short way.

    Attributes:
        most_connections: How many there may be at a time; 0 for as many as there are.
    """

    def __init__(self, hub: Hub, most_connections: int = 0) -> None:
        self.hub = hub
        self.most_connections = most_connections
        self.router = Starlette(
            routes=[*routes.ROUTES, *confirmation.ROUTES, *telemetry.ROUTES, *MGMT_ROUTES],
            exception_handlers={
                HTTPException: _http_error,
                HubError: _hub_error,
                sqlite3.Error: _store_error,
                Exception: _bug,
            },
        )
        self.router.router.redirect_slashes = False
        self.router.state.hub = hub

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        path: str = scope["path"]
        try:
            parts = path.split("/")
            if (
                len(parts) == 5
                and parts[2] == "controller"
                and parts[3] == "v1"
                and scope["method"] == "GET"
            ):
                await poll(self.hub, scope, send, now_ms=now_ms())
                return
            if (found := routes.find(scope["method"], parts)) is not None:
                await self._endpoint(*found, scope, receive, send)
                return
            if path.startswith(_OPERATORS_ONLY):
                await self.hub.operators.check(header(scope["headers"], b"authorization"))
            await self.router(scope, receive, send)
        except HubError as exc:
            await error_response(exc)(scope, receive, send)
        except ClientDisconnect:
            _LOG.debug("a client left before its request was whole")

    async def _endpoint(
        self,
        endpoint: routes.Endpoint,
        params: dict[str, str],
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        scope["app"] = self.router
        scope["path_params"] = params
        request = Request(scope, receive, send)
        try:
            response = await endpoint(request)
        except (HubError, ClientDisconnect):
            raise
        except sqlite3.Error as exc:
            response = await _store_error(request, exc)
        except Exception as exc:
            await (await _bug(request, exc))(scope, receive, send)
            raise
        await response(scope, receive, send)


def error_response(exc: HubError) -> Response:
    """Return hawkBit's error document."""
    headers = {}
    if exc.fault is Fault.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Basic realm="edgectl hub", charset="UTF-8"'
    return Response(
        exc.body(), status_code=exc.fault.status, headers=headers, media_type="application/json"
    )


async def _hub_error(_: Request, exc: Exception) -> Response:
    if not isinstance(exc, HubError):
        raise exc
    return error_response(exc)


async def _store_error(_: Request, exc: Exception) -> Response:
    _LOG.error("the store could not be read", exc_info=exc)
    return error_response(HubError(Fault.STORAGE, "the store could not be read"))


async def _bug(_: Request, exc: Exception) -> Response:
    # The exception goes on to the server after this, which logs its traceback.
    return error_response(HubError(Fault.INTERNAL, f"the hub failed: {type(exc).__name__}"))


async def _http_error(request: Request, exc: Exception) -> Response:
    if not isinstance(exc, HTTPException):
        raise exc
    if exc.status_code == 405:
        found = HubError(
            Fault.METHOD, f"{request.method} is not taken at '{request.url.path[:200]}'"
        )
    else:
        found = HubError(Fault.NO_SUCH_PATH, f"there is nothing at '{request.url.path[:200]}'")
    response = error_response(found)
    if exc.headers and "Allow" in exc.headers:
        response.headers["Allow"] = exc.headers["Allow"]
    return response
