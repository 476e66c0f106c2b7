"""The one door of the emulated account: counts, faults, throttling, signature, policy, dispatch.

What a service of ours implements it answers itself; all else goes to moto in this process. An
operation that neither has is refused by name, so that nothing seems to work that was not built.
"""

from __future__ import annotations

import contextlib
import io
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication

from moto.core.model import OperationModel
from moto.core.request import Request
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.wrappers import Response

from edgectl.api import Record
from edgectl.emulation import Calls, DropError, Faults
from edgectl_aws_greengrass.emulator import sigv4, wire
from edgectl_aws_greengrass.emulator.callers import Caller, Callers
from edgectl_aws_greengrass.emulator.permissions import Need, needs
from edgectl_aws_greengrass.emulator.policy import allows
from edgectl_aws_greengrass.emulator.ports import CloudError
from edgectl_aws_greengrass.emulator.throttle import Throttle
from edgectl_aws_greengrass.emulator.uploads import check_upload
from edgectl_aws_greengrass.emulator.wire import Params, ServiceError

Handler = Callable[[Params, Caller], Params]
"""An operation: its input, who calls; returns its output or raises ServiceError."""

After = Callable[[Params], None]
"""Told of an operation that moto did."""


class Services(Record, frozen=True, kw_only=True):
    """What the emulator does beside moto.

    Attributes:
        handlers: (botocore's service name, operation) → what answers.
        before: The same, to check a call that moto then answers.
        after: Told when moto answered without an error.
        unbuilt: Services of which moto has nothing, or nothing true.
    """

    handlers: Mapping[tuple[str, str], Handler]
    before: Mapping[tuple[str, str], Handler]
    after: Mapping[tuple[str, str], After]
    unbuilt: frozenset[str] = frozenset({"greengrassv2", "iot-jobs-data"})


class Front:
    """A WSGI application that answers as the AWS endpoints of one account and Region do.

    Args:
        region: The only Region that has anything.
        account: Twelve digits.
        callers: Keys and policies.
        services: What is ours.
        control: Answers ``/_edgectl/…``.

    Attributes:
        devices: Answers requests over TLS that nobody signed (data plane, credentials), once it
            is set.
        ahead_s: How far the account's clock is ahead of this machine's when it looks at
            signatures, so that a client's clock seems to be off.
    """

    def __init__(
        self,
        *,
        region: str,
        account: str,
        callers: Callers,
        services: Services,
        calls: Calls,
        faults: Faults,
        throttle: Throttle,
        control: Callable[[Request], Response],
    ) -> None:
        self.devices: WSGIApplication | None = None
        self.ahead_s = 0.0
        self._region = region
        self._account = account
        self._callers = callers
        self._services = services
        self._calls = calls
        self._faults = faults
        self._throttle = throttle
        self._control = control
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._conditional = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        request = Request(environ)
        request.get_data(cache=True, parse_form_data=False)
        signed = "Authorization" in request.headers or "X-Amz-Signature" in request.args
        if request.scheme == "https" and self.devices is not None and not signed:
            return self.devices(_again(environ, request), start_response)
        if request.scheme == "http" and request.path.startswith("/_edgectl/"):
            return self._control(request)(environ, start_response)
        return self._answer(request)(environ, start_response)

    def _answer(self, request: Request) -> Response:
        service = "s3"
        try:
            scope = _scope(request)
            service = wire.SERVICES[scope.signing_name]
            return self._served(service, request, scope)
        except ServiceError as error:
            return wire.render_error(service, error)
        except CloudError as error:
            return wire.render_error(service, ServiceError(error.code, error.message, error.status))
        except DropError:
            raise
        except NotImplementedError as error:
            said = f"neither the emulator nor moto has this: {error}"
            return wire.render_error(service, ServiceError("NotImplemented", said, 501))
        except Exception:  # noqa: BLE001 - a defect of ours or of moto's, told as AWS tells its own
            traceback.print_exc()
            said = f"the emulator failed to answer {service}; its standard error says why"
            return wire.render_error(service, ServiceError("InternalFailure", said, 500))

    def _served(self, service: str, request: Request, scope: sigv4.Scope) -> Response:
        found = wire.operation_of(service, request)
        if found is None:
            raise ServiceError(
                "UnknownOperationException", f"{request.method} {request.path} is no operation", 404
            )
        operation, labels = found
        name = str(operation.name)
        self._calls.count(service, name)
        self._faults.raise_for(service, name)
        key = self._callers.key(scope.access_key_id)
        sigv4.check(request, scope, key, region=self._region, now=self._now)
        caller = self._callers.caller(scope.access_key_id)
        params = self._params(service, operation, labels, request)
        self._authorize(caller, service, name, params)
        self._throttled(service, name)
        handler = self._services.handlers.get((service, name))
        if handler is not None:
            return wire.render(operation, handler(params, caller))
        if service in self._services.unbuilt:
            raise ServiceError("NotImplemented", f"the emulator has no {service} {name}", 501)
        check = self._services.before.get((service, name))
        if check is not None:
            check(params, caller)
        if service == "s3":
            check_upload(name, params["Key"], request)
        answer = self._from_moto(request)
        after = self._services.after.get((service, name))
        if after is not None and answer.status_code < 300:
            after(params)
        return answer

    def _throttled(self, service: str, operation: str) -> None:
        try:
            self._throttle.take(service, operation)
        except ServiceError:
            self._calls.count_throttled(service, operation)
            raise

    def _now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.ahead_s)

    def _params(
        self, service: str, operation: OperationModel, labels: Params, request: Request
    ) -> Params:
        if service == "s3":
            return s3_params(request)
        if operation.service_model.protocol == "query":
            return {name: values[0] for name, values in wire.form(request).items()}
        return wire.parse(operation, labels, request)

    def _authorize(self, caller: Caller, service: str, operation: str, params: Params) -> None:
        if (service, operation) == ("sts", "GetCallerIdentity"):
            return
        for need in needs(service, operation, params, region=self._region, account=self._account):
            if not allows(caller.policies, need.action, need.resource, dict(need.context)):
                raise denied(service, caller, need)

    def _alone(self, request: Request) -> contextlib.AbstractContextManager[object]:
        """Let conditional writes pass one by one: moto looks and then writes, S3 swaps."""
        conditional = {"If-Match", "If-None-Match"} & {name for name, _ in request.headers}
        if request.method == "PUT" and conditional:
            return self._conditional
        return contextlib.nullcontext()

    def _from_moto(self, request: Request) -> Response:
        environ = _again(dict(request.environ), request)
        environ.pop("werkzeug.request", None)
        environ["HTTP_X_MOTO_ACCOUNT_ID"] = self._account
        head: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], _: object = None) -> Any:
            head[:] = [status, headers]

        with self._alone(request):
            parts = self._moto(environ, start_response)
            try:
                body = b"".join(parts)
            finally:
                close = getattr(parts, "close", None)
                if close is not None:
                    close()
        # A list: given bytes, werkzeug writes their length over the one that HEAD is to tell.
        answer = Response([body], status=head[0], headers=head[1])
        answer.automatically_set_content_length = False  # HEAD tells the length of what it spares
        return answer


def _scope(request: Request) -> sigv4.Scope:
    scope = sigv4.scope_of(request)
    if scope is None:
        raise _unsigned(request)
    if scope.signing_name not in wire.SERVICES:
        said = f"the emulator has no service '{scope.signing_name}'"
        raise ServiceError("NotImplemented", said, 501)
    return scope


def _unsigned(request: Request) -> ServiceError:
    if "AWSAccessKeyId" in request.args or request.headers.get("Authorization"):
        return ServiceError(
            "InvalidRequest",
            "The authorization mechanism you have provided is not supported. Please use "
            "AWS4-HMAC-SHA256.",
        )
    return ServiceError("MissingAuthenticationToken", "Missing Authentication Token", 403)


def s3_params(request: Request) -> Params:
    """Read bucket, key and the wanted sub-resources of an S3 request, of either style."""
    host = request.headers.get("Host", "").partition(":")[0]
    path = request.path.lstrip("/")
    bucket, separator, _ = host.partition(".s3.")
    if not separator:
        bucket, _, path = path.partition("/")
    return {"Bucket": bucket, "Key": path, "Prefix": request.args.get("prefix", "")}


def denied(service: str, caller: Caller, need: Need) -> ServiceError:
    """Say in the service's words that a policy does not allow an action."""
    code = "AccessDenied" if service in {"s3", "iam", "sts"} else "AccessDeniedException"
    where = f" on resource: {need.resource}" if need.resource else ""
    return ServiceError(
        code,
        f"User: {caller.arn} is not authorized to perform: {need.action}{where} because no "
        f"identity-based policy allows the {need.action} action",
        403,
    )


def _again(environ: dict[str, Any], request: Request) -> dict[str, Any]:
    """Let the next application read the body from its start."""
    environ["wsgi.input"] = io.BytesIO(request.get_data(cache=True))
    return environ
