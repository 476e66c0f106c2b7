"""The HTTP side: from a request to a verb, and from a result or refusal to an answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from edgectl_gke_edge.emulator.kube import discovery, warnings
from edgectl_gke_edge.emulator.kube.access import Access
from edgectl_gke_edge.emulator.kube.decoding import parse
from edgectl_gke_edge.emulator.kube.errors import Json, StatusError, no_such_path
from edgectl_gke_edge.emulator.kube.faults import Faults
from edgectl_gke_edge.emulator.kube.lifecycle import DeleteOptions, Lifecycle
from edgectl_gke_edge.emulator.kube.listing import listed
from edgectl_gke_edge.emulator.kube.registry import Registry
from edgectl_gke_edge.emulator.kube.requests import Target, User, find_target, read_call
from edgectl_gke_edge.emulator.kube.subresources import Subresources
from edgectl_gke_edge.emulator.kube.watching import BOOKMARK_EVERY_S, Stream

_HEALTH = {"/healthz", "/livez", "/readyz"}


class App:
    """The ASGI application of one cluster's API server.

    Args:
        peers: Address of a connection → the user of its client certificate.
    """

    def __init__(
        self,
        registry: Registry,
        access: Access,
        subresources: Subresources,
        faults: Faults,
        *,
        version: str,
        peers: dict[Any, User],
        bookmark_every_s: float = BOOKMARK_EVERY_S,
    ) -> None:
        self._registry = registry
        self._access = access
        self._subresources = subresources
        self._faults = faults
        self._version = version
        self._peers = peers
        self._bookmark_every_s = bookmark_every_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except StatusError as exc:
            response = _refusal(exc)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        path = request.url.path
        if path in _HEALTH:
            return PlainTextResponse("ok")
        if path == "/version":
            return JSONResponse(discovery.version_info(self._version))
        user = self._user(request)
        address = request.headers.get("host", "")
        document = discovery.find(path, request.headers.get("accept", ""), address)
        if document is not None:
            return JSONResponse(document)
        target = find_target(path, request.method, request.query_params)
        if target is None:
            raise no_such_path()
        self._faults.strike(target)
        self._access.check(user, target)
        return await self._do(request, target, user)

    def _user(self, request: Request) -> User:
        certified = self._peers.get(request.scope.get("client"))
        return self._access.authenticate(request.headers.get("authorization", ""), certified)

    async def _do(self, request: Request, target: Target, user: User) -> Response:
        call = read_call(user, request.query_params, request.headers.get("user-agent", ""))
        call.warnings += warnings.of_kind(target.kind, self._registry.features.version)
        if target.subresource and target.subresource != "status":
            response = await self._subresources.answer(target, call, request)
        else:
            response = await self._verbs()[target.verb](request, target, call)
        for warning in call.warnings:
            text = warning.replace("\\", "\\\\").replace('"', '\\"')
            response.headers.append("Warning", f'299 - "{text}"')
        return response

    def _verbs(self) -> dict[str, Callable[[Request, Target, Any], Awaitable[Response]]]:
        return {
            "get": self._get,
            "list": self._list,
            "watch": self._watch,
            "create": self._create,
            "update": self._update,
            "patch": self._patch,
            "delete": self._delete,
            "deletecollection": self._delete_all,
        }

    async def _get(self, request: Request, target: Target, call: Any) -> Response:
        del request, call
        return JSONResponse(self._registry.get(target))

    async def _list(self, request: Request, target: Target, call: Any) -> Response:
        del call
        return JSONResponse(listed(self._registry.store, target, request.query_params))

    async def _watch(self, request: Request, target: Target, call: Any) -> Response:
        del call
        features, every_s = self._registry.features, self._bookmark_every_s
        stream = Stream(self._registry.store, target, request.query_params, features, every_s)
        return StreamingResponse(stream.lines(), media_type="application/json")

    async def _create(self, request: Request, target: Target, call: Any) -> Response:
        body = await request.body()
        if target.kind.virtual:
            return JSONResponse(self._subresources.review(target, call, body), 201)
        content_type = request.headers.get("content-type", "")
        return JSONResponse(self._registry.create(target, call, body, content_type), 201)

    async def _update(self, request: Request, target: Target, call: Any) -> Response:
        body = await request.body()
        content_type = request.headers.get("content-type", "")
        return JSONResponse(self._registry.update(target, call, body, content_type))

    async def _patch(self, request: Request, target: Target, call: Any) -> Response:
        body = await request.body()
        content_type = request.headers.get("content-type", "")
        obj, created = self._registry.patch(target, call, body, content_type)
        return JSONResponse(obj, 201 if created else 200)

    async def _delete(self, request: Request, target: Target, call: Any) -> Response:
        options = await read_delete_options(request)
        call.dry_run = call.dry_run or options[1]
        live = self._registry.get(target)
        obj, gone = self._lifecycle.delete(target, call, options[0], live)
        if gone and target.kind.kind not in {"Pod", "Service", "ServiceAccount"}:
            return JSONResponse(_deleted(target, obj))
        return JSONResponse(obj)

    async def _delete_all(self, request: Request, target: Target, call: Any) -> Response:
        options = await read_delete_options(request)
        call.dry_run = call.dry_run or options[1]
        found = listed(self._registry.store, target, request.query_params)
        kind = target.kind
        for item in found["items"]:
            metadata = item["metadata"]
            one = Target(kind, "delete", metadata.get("namespace", ""), metadata["name"])
            self._lifecycle.delete(one, call, options[0], self._registry.get(one))
        return JSONResponse(found)

    @property
    def _lifecycle(self) -> Lifecycle:
        return self._registry.lifecycle


async def read_delete_options(request: Request) -> tuple[DeleteOptions, bool]:
    """Read a delete's options; return them and whether its body asks for a dry run.

    Raises:
        StatusError: 400 or 422.
    """
    body = await request.body()
    value = parse(body, "application/json")[0] if body.strip() else {}
    value = value if isinstance(value, dict) else {}
    return DeleteOptions.read(value, dict(request.query_params)), bool(value.get("dryRun"))


def _deleted(target: Target, obj: Json) -> Json:
    details = {"name": target.name, "group": target.kind.group, "kind": target.kind.plural}
    details = {k: v for k, v in details.items() if v} | {"uid": obj["metadata"]["uid"]}
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    return {**status, "details": details}


def _refusal(error: StatusError) -> Response:
    headers = {"Retry-After": str(error.retry_after_s)} if error.retry_after_s else {}
    return JSONResponse(error.to_json(), error.code, headers=headers)
