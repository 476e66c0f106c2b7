"""The control API on the unix socket: activate, deactivate, status, event, shutdown.

Only the user that runs the runtime can open the socket; whoever can is trusted with the device's
model, so there is no further authentication. When somebody last called matters: a runtime whose
supervisor died ends itself if nobody does for a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from edge_components.contract.errors import ContractError
from edge_components.contract.jsonio import decode_json
from edge_components.runtime.http import (
    Head,
    HttpError,
    Request,
    Response,
    error_response,
    json_response,
)
from edge_components.runtime.version import ActivationError

MAX_BODY_BYTES = 1 << 20
T = TypeVar("T")


class Activate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /control/activate``."""

    version_dir: str
    precision: str | None = None


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of ``POST /control/event``."""

    body: str
    severity: int = 9
    attributes: dict[str, str | int | float | bool] = {}


class Activated(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of ``POST /control/activate``."""

    release: int
    package: str
    precision: str
    provider: str


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Answer of ``GET /control/status``."""

    pid: int
    ready: bool
    release: int
    package: str
    version_dir: str
    precision: str
    provider: str
    requests: int
    errors: int
    uptime_s: float
    rss_bytes: int
    model: str = ""
    port: int = 0


class Controlled(Protocol):
    """What the control API drives."""

    async def activate(self, folder: Path, precision: str | None) -> Activated:
        """Switch to a version."""

    async def deactivate(self) -> None:
        """Answer with no version."""

    def status(self) -> Status:
        """Say what runs."""

    def event(self, event: Event) -> None:
        """Record an event."""

    def shutdown(self) -> None:
        """Begin the graceful end."""


class ControlRoutes:
    """Resolves the control API's paths."""

    def __init__(self, runtime: Controlled, clock: Callable[[], float]) -> None:
        self._runtime = runtime
        self._clock = clock
        self.last_call = clock()

    def resolve(
        self, head: Head
    ) -> Callable[[Request], Response | asyncio.Future[Response]] | Response:
        """Return who answers a head, or the refusal."""
        known: dict[str, tuple[str, Callable[[Request], Any]]] = {
            "/control/activate": ("POST", self._activate),
            "/control/deactivate": ("POST", self._deactivate),
            "/control/status": ("GET", self._status),
            "/control/event": ("POST", self._event),
            "/control/shutdown": ("POST", self._shutdown),
        }
        found = known.get(head.target)
        if found is None:
            return error_response(HttpError(404, f"there is nothing at '{head.target[:200]}'"))
        method, endpoint = found
        if head.method != method:
            allow = f"Allow: {method}\r\n".encode()
            return error_response(HttpError(405, f"only {method} is possible", headers=allow))
        return endpoint

    def _called(self) -> None:
        self.last_call = self._clock()

    def _activate(self, request: Request) -> asyncio.Future[Response]:
        self._called()
        body = _read(request, Activate)
        return asyncio.ensure_future(self._activated(body))

    async def _activated(self, body: Activate) -> Response:
        try:
            done = await self._runtime.activate(Path(body.version_dir), body.precision)
        except ActivationError as exc:
            return json_response(422, {"reason": str(exc.reason), "detail": exc.detail})
        finally:
            self._called()
        return json_response(200, msgspec.to_builtins(done))

    def _deactivate(self, _: Request) -> asyncio.Future[Response]:
        self._called()
        return asyncio.ensure_future(self._deactivated())

    async def _deactivated(self) -> Response:
        await self._runtime.deactivate()
        return json_response(200, {"ready": False})

    def _status(self, _: Request) -> Response:
        self._called()
        return json_response(200, msgspec.to_builtins(self._runtime.status()))

    def _event(self, request: Request) -> Response:
        self._called()
        self._runtime.event(_read(request, Event))
        return json_response(200, {"recorded": True})

    def _shutdown(self, _: Request) -> Response:
        self._called()
        self._runtime.shutdown()
        return json_response(202, {"stopping": True})


def _read(request: Request, type_: type[T]) -> T:
    try:
        return decode_json(bytes(request.body), type_, what="the request", max_bytes=MAX_BODY_BYTES)
    except ContractError as exc:
        raise HttpError(400, str(exc)) from exc
