"""gRPC without generated servers: methods by their paths, with the client libraries' messages.

Every call is authenticated and authorised before its method runs; refusals carry their details in
the trailing metadata, as Google's servers send them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_status import rpc_status

from edgectl_gke_edge.emulator.google.account import Account
from edgectl_gke_edge.emulator.google.errors import GoogleError


@dataclass(frozen=True)
class Method:
    """One method.

    Attributes:
        path: ``/package.Service/Method``.
        request: The request's message class, proto-plus or plain.
        handler: Answers a request with a response's message.
        permission: The IAM permission that a caller needs, "" for none.
        resource: The field of the request that names the resource.
    """

    path: str
    request: Any
    handler: Callable[[Any], Any]
    permission: str = ""
    resource: str = "name"

    @property
    def service(self) -> str:
        """The API's host name, from the permission's first part."""
        return f"{self.permission.split('.', 1)[0]}.googleapis.com"


class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no annotations
    """Serves methods.

    Args:
        account: Who may call, and its faults.
        methods: What is served; all else is UNIMPLEMENTED.
    """

    def __init__(self, account: Account, methods: Iterable[Method]) -> None:
        self._account = account
        self._methods = {method.path: method for method in methods}

    def service(self, handler_call_details: Any) -> Any:
        """Find a call's method."""
        method = self._methods.get(handler_call_details.method)
        if method is None:
            return None
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self._answer(method, request, context),
            request_deserializer=_reader(method.request),
            response_serializer=_write,
        )

    def _answer(self, method: Method, request: Any, context: Any) -> Any:
        metadata = dict(context.invocation_metadata())
        try:
            with self._account.operations.lock:
                principal = self._account.identity.authenticate(metadata.get("authorization", ""))
                if method.permission:
                    resource = str(getattr(request, method.resource, ""))
                    self._account.strike(method.service)
                    self._account.identity.check(principal, method.permission, resource)
                self._account.operations.settle()
                return method.handler(request)
        except GoogleError as exc:
            context.abort_with_status(rpc_status.to_status(exc.to_status()))
            raise


def _reader(message: Any) -> Callable[[bytes], Any]:
    if hasattr(message, "deserialize"):
        read: Callable[[bytes], Any] = message.deserialize
        return read
    plain: Callable[[bytes], Any] = message.FromString
    return plain


def _write(message: Any) -> bytes:
    kind = type(message)
    written: bytes = kind.serialize(message) if hasattr(kind, "pb") else message.SerializeToString()
    return written
