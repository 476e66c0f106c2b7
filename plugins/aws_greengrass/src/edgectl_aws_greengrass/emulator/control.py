"""``/_edgectl/…``: what tests and users steer the emulator with. Not part of any AWS service."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
from moto.core.request import Request
from werkzeug.wrappers import Response

from edgectl.api import Record
from edgectl.emulation import Calls, Fault, Faults
from edgectl_aws_greengrass.emulator.callers import Callers
from edgectl_aws_greengrass.emulator.throttle import Throttle


class NewUser(Record, frozen=True, kw_only=True):
    """``POST /_edgectl/users``: a user with one policy document."""

    name: str
    policy: dict[str, object]


class NewSession(Record, frozen=True, kw_only=True):
    """``POST /_edgectl/sessions``: temporary credentials of a role; a past end is allowed."""

    role_arn: str
    seconds: int = 3600


class Stale(Record, frozen=True, kw_only=True):
    """``POST /_edgectl/stale``: lets a core device's last message be so much older."""

    thing: str
    seconds: float


class Clock(Record, frozen=True, kw_only=True):
    """``PUT /_edgectl/clock``: the account's clock is so far ahead when it checks signatures."""

    ahead_s: float


class NewThings(Record, frozen=True, kw_only=True):
    """``POST /_edgectl/things``: many things at once, which the API takes one by one.

    Attributes:
        group: The thing group that they join.
        certificate: ARN of the certificate that all of them have.
    """

    names: tuple[str, ...]
    group: str
    certificate: str
    attributes: dict[str, str] = {}


class Control:
    """The routes.

    Args:
        callers: Gets new users and sessions.
        calls: Is shown at ``/_edgectl/calls``; DELETE resets it.
        faults: Are set by POST to ``/_edgectl/faults`` and cleared by DELETE.
        throttle: Its rates are shown at ``/_edgectl/rates``; PUT replaces them.
    """

    def __init__(
        self, *, callers: Callers, calls: Calls, faults: Faults, throttle: Throttle
    ) -> None:
        self._callers = callers
        self._calls = calls
        self._faults = faults
        self._throttle = throttle
        self.more: dict[tuple[str, str], Callable[[bytes], object]] = {}

    def __call__(self, request: Request) -> Response:
        """Answer; bodies are JSON both ways."""
        name = request.path.removeprefix("/_edgectl/")
        route = self._routes().get((request.method, name)) or self.more.get((request.method, name))
        if route is None:
            return Response("no such route", status=404)
        try:
            result = route(request.get_data(cache=True))
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            return Response(str(error), status=400)
        return Response(msgspec.json.encode(result), content_type="application/json")

    def _routes(self) -> Mapping[tuple[str, str], Callable[[bytes], object]]:
        return {
            ("GET", "calls"): lambda _: self._calls.counts(),
            ("DELETE", "calls"): lambda _: self._calls.reset(),
            ("POST", "faults"): self._fault,
            ("DELETE", "faults"): lambda _: self._faults.clear(),
            ("GET", "rates"): lambda _: self._throttle.rates,
            ("PUT", "rates"): self._rates,
            ("POST", "users"): self._user,
            ("POST", "sessions"): self._session,
        }

    def _fault(self, body: bytes) -> object:
        self._faults.add(msgspec.json.decode(body, type=Fault))
        return None

    def _rates(self, body: bytes) -> object:
        self._throttle.rates = msgspec.json.decode(body, type=dict[str, float])
        return self._throttle.rates

    def _user(self, body: bytes) -> object:
        wanted = msgspec.json.decode(body, type=NewUser)
        key, secret = self._callers.new_user(wanted.name, wanted.policy)
        return {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}

    def _session(self, body: bytes) -> object:
        wanted = msgspec.json.decode(body, type=NewSession)
        made = self._callers.new_session(wanted.role_arn, "edgectl", wanted.seconds)
        return {
            "AWS_ACCESS_KEY_ID": made.access_key_id,
            "AWS_SECRET_ACCESS_KEY": made.secret,
            "AWS_SESSION_TOKEN": made.token,
        }
