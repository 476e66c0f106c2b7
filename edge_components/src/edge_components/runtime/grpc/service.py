"""The gRPC server: the protocol's methods over the same inference, models and errors as REST.

An error is the status that fits REST's (404 is NOT_FOUND, and so on) with the same message.
Messages are bounded in size, calls in number.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Callable
from typing import Any

import grpc
from grpc import aio

from edge_components.runtime.access import Token
from edge_components.runtime.grpc.express import answer_message, ride_of
from edge_components.runtime.grpc.large import parse_request
from edge_components.runtime.grpc.schema import MESSAGES, METHODS, SERVICE, DecodeError
from edge_components.runtime.grpc.tensors import decode_message, encode_message
from edge_components.runtime.http import HttpError, Limits
from edge_components.runtime.inference import Inference
from edge_components.runtime.repository import Repository
from edge_components.runtime.routes import check_load, metadata, server_metadata, statistics
from edge_components.runtime.settings import ServeSettings
from edge_components.runtime.work import Codec, Task

log = logging.getLogger(__name__)

_CODEC: Codec[Any, Any] = Codec("grpc", decode_message, encode_message)
_OPEN = frozenset({"ServerLive", "ServerReady"})
_MORE_BYTES = 64 << 10  # names, shapes and parameters around the tensors
# What a client may send before it hears from us: a picture in one go, and in few frames.
_FRAME_BYTES = 1 << 20
_WINDOW_BYTES = 1 << 20
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}


class Service:
    """The methods, one for each of the protocol's, under its name."""

    def __init__(
        self, inference: Inference, repository: Repository, *, ready: Callable[[], bool]
    ) -> None:
        self._inference = inference
        self._repository = repository
        self._ready = ready

    def handler(self, token: Token | None) -> Any:
        """Return what a gRPC server takes; calls need the token, but for the server's health."""
        methods = {
            name: _method(name, getattr(self, _snake(name)), None if name in _OPEN else token)
            for name in METHODS
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def server_live(self, _: Any) -> dict[str, Any]:
        """Say that the server is there."""
        return {"live": True}

    def server_ready(self, _: Any) -> dict[str, Any]:
        """Say whether it takes traffic."""
        return {"ready": self._ready()}

    def server_metadata(self, _: Any) -> dict[str, Any]:
        """Name the server and its extensions."""
        return server_metadata(self._repository)

    def model_ready(self, request: Any) -> dict[str, Any]:
        """Say whether a model answers; one that is not there is not ready."""
        try:
            self._inference.find(request.name, request.version or None)
        except HttpError:
            return {"ready": False}
        return {"ready": True}

    def model_metadata(self, request: Any) -> dict[str, Any]:
        """Describe a model's inputs and outputs."""
        found = metadata(self._inference.find(request.name, request.version or None))
        properties: Any = found.pop("parameters")
        return {**found, "properties": {key: str(value) for key, value in properties.items()}}

    def model_infer(self, request: Any) -> Any:
        """Answer an inference request."""
        version = request.model_version or None
        model = self._inference.find(request.model_name, version)
        passed = answer_message(model.express, request)
        if passed is not None:
            self._inference.passed(model, passed.lane, passed.timing, _CODEC.source)
            return passed.message
        ride = ride_of(model, request)
        if ride is not None:
            return self._inference.ride(model, ride, _CODEC.source)
        task = Task(request, _CODEC, time.perf_counter_ns())
        return self._inference.ask(model, task, request.ByteSize())

    def model_statistics(self, request: Any) -> dict[str, Any]:
        """Count what a model has done, or every model where no name is given."""
        if not request.name:
            return statistics(self._inference.models)
        return statistics([self._inference.find(request.name, request.version or None)])

    def repository_index(self, request: Any) -> dict[str, Any]:
        """List the models that answer and those that could."""
        entries = self._repository.index(ready_only=request.ready)
        return {
            "models": [
                {"name": e.name, "version": e.version, "state": e.state, "reason": e.reason}
                for e in entries
            ]
        }

    async def repository_model_load(self, request: Any) -> dict[str, Any]:
        """Load a model of the folder."""
        check_load(dict(request.parameters))
        await self._repository.load(request.model_name)
        return {}

    async def repository_model_unload(self, request: Any) -> dict[str, Any]:
        """Unload a model of the folder."""
        await self._repository.unload(request.model_name)
        return {}


class GrpcServer:
    """The listening side.

    Args:
        service: The methods.
        limits: Those of REST; the largest message is its largest body.
        settings: Say whether there is TLS.
        token: What a call has to show, if anything.
    """

    def __init__(
        self, service: Service, limits: Limits, settings: ServeSettings, token: Token | None
    ) -> None:
        self._credentials = _credentials(settings)
        self._server = aio.server(
            handlers=[service.handler(token)],
            options=[
                ("grpc.max_receive_message_length", limits.max_body_bytes + _MORE_BYTES),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_metadata_size", limits.max_head_bytes),
                ("grpc.http2.max_frame_size", _FRAME_BYTES),
                ("grpc.http2.lookahead_bytes", _WINDOW_BYTES),
                ("grpc.so_reuseport", 0),
                ("grpc.server_handshake_timeout_ms", int(limits.head_timeout_s * 1000)),
                ("grpc.max_connection_idle_ms", int(limits.idle_timeout_s * 1000)),
            ],
            maximum_concurrent_rpcs=limits.max_connections,
        )

    async def listen(self, host: str, port: int) -> int:
        """Listen; return the port, which matters when 0 was asked for.

        Raises:
            OSError: The address cannot be used.
        """
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            found: int = (
                self._server.add_insecure_port(address)
                if self._credentials is None
                else self._server.add_secure_port(address, self._credentials)
            )
        except RuntimeError as exc:
            raise OSError(f"gRPC cannot listen on '{address}': {exc}") from exc
        await self._server.start()
        return found

    async def drain(self, deadline_s: float) -> bool:
        """Take nothing new, finish what has begun; return whether all ended in time."""
        started = time.monotonic()
        await self._server.stop(deadline_s)
        return time.monotonic() - started < deadline_s


def _credentials(settings: ServeSettings) -> Any:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    authorities = None if settings.client_ca is None else settings.client_ca.read_bytes()
    pair = (settings.tls_key.read_bytes(), settings.tls_cert.read_bytes())
    return grpc.ssl_server_credentials(
        [pair], root_certificates=authorities, require_client_auth=authorities is not None
    )


def _check_token(token: Token, context: Any) -> None:
    given = dict(context.invocation_metadata()).get("authorization", "")
    if not token.matches(given if isinstance(given, bytes) else given.encode()):
        raise HttpError(401, "a valid bearer token is needed")


def _check_message(name: str, request: Any) -> None:
    if isinstance(request, DecodeError):
        raise HttpError(400, f"the message is no {name}Request")


def _method(name: str, answer: Callable[[Any], Any], token: Token | None) -> Any:
    response = MESSAGES[f"{name}Response"]
    parse = parse_request if name == "ModelInfer" else MESSAGES[f"{name}Request"].FromString

    def read(data: bytes) -> Any:
        try:
            return parse(data)
        except DecodeError as exc:  # gRPC itself would say UNKNOWN
            return exc

    async def call(request: Any, context: Any) -> Any:
        try:
            if token is not None:
                _check_token(token, context)
            _check_message(name, request)
            found = answer(request)
            if type(found) is bytes:
                return found
            if inspect.isawaitable(found):
                found = await found
            return response(**found) if isinstance(found, dict) else found
        except HttpError as exc:
            code, message = _CODES.get(exc.status, grpc.StatusCode.INTERNAL), exc.message
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("%s failed", name)
            code, message = grpc.StatusCode.INTERNAL, "internal error"
        return await context.abort(code, message)

    return grpc.unary_unary_rpc_method_handler(
        call,
        request_deserializer=read,
        response_serializer=_serialized,
    )


def _serialized(message: Any) -> bytes:
    found: bytes = message if type(message) is bytes else message.SerializeToString()
    return found


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
