"""The one door of the emulated subscription: control routes, counts, faults, then a room."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from wsgiref.types import StartResponse

import msgspec
from werkzeug.http import http_date
from werkzeug.wrappers import Request, Response

from edgectl.api import Record
from edgectl.emulation import Fault
from edgectl_azure_iot_edge.emulator.rooms import AzureFault, FaultError, WebRoom
from edgectl_azure_iot_edge.emulator.site import Site

CONTROL = "/emulator/"


class Clock(Record, frozen=True, kw_only=True):
    """``PUT /emulator/clock``: the account's clock is so far ahead of this machine's."""

    ahead_s: float


class NewClient(Record, frozen=True, kw_only=True):
    """``POST /emulator/clients``: a service principal with built-in roles."""

    roles: tuple[str, ...]


class Front:
    """The WSGI application of the account's web server.

    ``/emulator/calls`` (GET, DELETE), ``/emulator/faults`` (POST an ``AzureFault``, DELETE),
    ``/emulator/clock`` (PUT) and ``/emulator/clients`` (POST) are its own; rooms add more.
    """

    def __init__(self, site: Site) -> None:
        self._site = site

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        request = Request(environ)
        request.get_data(cache=True, parse_form_data=False)
        if request.path.startswith(CONTROL):
            return self._control(request)(environ, start_response)
        return self._answer(request)(environ, start_response)

    def _answer(self, request: Request) -> Response:
        for room in self._site.rooms:
            if isinstance(room, WebRoom) and room.serves(request):
                return self._by(room, request)
        said = f"nothing at '{request.path}'"
        return _json({"error": {"code": "NotFound", "message": said}}, 404)

    def _by(self, room: WebRoom, request: Request) -> Response:
        try:
            self._site.enter(room.name, room.operation(request))
            answer = room.answer(request)
        except FaultError as exc:
            answer = room.refusal(exc.fault)
            if exc.fault.retry_after_s is not None:
                answer.headers["Retry-After"] = f"{exc.fault.retry_after_s:g}"
            return answer
        except ConnectionError:
            raise
        except Exception:  # noqa: BLE001 - a defect of ours, told as the service tells its own
            traceback.print_exc()
            said = "the emulator failed; its standard error says why"
            return room.refusal(
                AzureFault(operation="", code="ServerError", message=said, status=500)
            )
        else:
            answer.headers["Date"] = http_date(self._site.now())
            return answer

    def _control(self, request: Request) -> Response:
        key = (request.method, request.path.removeprefix(CONTROL))
        route = self._routes().get(key)
        if route is None:
            return Response("no such route", status=404)
        try:
            result = route(request.get_data(cache=True))
        except (msgspec.ValidationError, msgspec.DecodeError, LookupError, ValueError) as error:
            return Response(f"{type(error).__name__}: {error}", status=400)
        return Response(msgspec.json.encode(result), content_type="application/json")

    def _routes(self) -> Mapping[tuple[str, str], Callable[[bytes], object]]:
        site = self._site
        routes: dict[tuple[str, str], Callable[[bytes], object]] = {
            ("GET", "calls"): lambda _: site.calls.counts(),
            ("DELETE", "calls"): lambda _: site.calls.reset(),
            ("POST", "faults"): self._fault,
            ("DELETE", "faults"): lambda _: site.faults.clear(),
            ("PUT", "clock"): self._set_clock,
            ("POST", "clients"): self._new_client,
        }
        for room in site.rooms:
            routes.update(room.controls())
        return routes

    def _fault(self, body: bytes) -> object:
        fault: Fault = msgspec.json.decode(body, type=AzureFault)
        self._site.faults.add(fault)
        return None

    def _set_clock(self, body: bytes) -> object:
        self._site.ahead_s = msgspec.json.decode(body, type=Clock).ahead_s
        return None

    def _new_client(self, body: bytes) -> object:
        wanted = msgspec.json.decode(body, type=NewClient)
        made = self._site.directory.add(wanted.roles)
        return {"AZURE_CLIENT_ID": made.client_id, "AZURE_CLIENT_SECRET": made.secret}


def _json(document: object, status: int) -> Response:
    return Response(msgspec.json.encode(document), status=status, content_type="application/json")
