"""Which path of the Open Inference Protocol is answered by what.

A head is resolved once and kept with its endpoint, so an endpoint looks up its model at each
request: a switch of models is seen at once.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import msgspec

from edge_components import __version__
from edge_components.contract.package import TensorSpec
from edge_components.runtime.http import (
    Head,
    HttpError,
    Request,
    Response,
    error_response,
    json_response,
)
from edge_components.runtime.inference import Inference
from edge_components.runtime.metrics import CONTENT_TYPE
from edge_components.runtime.model import Model
from edge_components.runtime.repository import Repository

SERVER_NAME = "edgectl-runtime"
OPENAPI_FILE = Path(__file__).with_name("openapi.json")
_MAX_ORDER_BYTES = 64 << 10

Answer = Response | asyncio.Future[Response]
Endpoint = Callable[[Request], Answer]
T = TypeVar("T")


class _IndexOrder(msgspec.Struct, frozen=True):
    """Body of ``POST /v2/repository/index``."""

    ready: bool = False


class _Order(msgspec.Struct, frozen=True):
    """Body of a load or unload; what it may contain is of no use here but ``parameters``."""

    parameters: dict[str, Any] = {}


class _Infer(functools.partial[Answer]):
    """The inference endpoint of one model; ``quick`` and ``wide`` are its lanes."""

    frees_body = True
    quick: Callable[..., bytes | None]
    wide: Callable[..., bool]


class Routes:
    """The public API.

    Args:
        inference: Answers inference requests and finds models.
        repository: Lists, loads and unloads models.
        ready: Whether the server takes traffic.
        metrics_page: Writes the Prometheus page.
        push: Takes readings for the pipeline, or None.
        pages: Further JSON documents, by their path without the first slash.
    """

    def __init__(
        self,
        inference: Inference,
        repository: Repository,
        *,
        ready: Callable[[], bool],
        metrics_page: Callable[[], bytes],
        push: Endpoint | None = None,
        pages: Mapping[str, Callable[[], bytes]] | None = None,
    ) -> None:
        self._inference = inference
        self._repository = repository
        self._ready = ready
        self._metrics_page = metrics_page
        self._push = push
        self._fixed: dict[tuple[str, ...], Endpoint] = {
            ("v2",): _constant(server_metadata(repository)),
            ("v2", "health", "live"): _constant({"live": True}),
            ("v2", "health", "ready"): self._server_ready,
            ("metrics",): self._metrics,
            ("openapi.json",): _openapi,
        }
        for path, page in (pages or {}).items():
            self._fixed[tuple(path.split("/"))] = _written(page)

    def resolve(self, head: Head) -> Endpoint | Response:
        """Return who answers a head, or the refusal: 404 or 405."""
        found = self._find(head.target)
        if found is None:
            return error_response(HttpError(404, f"there is nothing at '{head.target[:200]}'"))
        method, endpoint = found
        allowed = ("GET", "HEAD") if method == "GET" else (method,)
        if head.method not in allowed:
            allow = ", ".join(allowed)
            return error_response(
                HttpError(
                    405,
                    f"{head.method} is not possible at '{head.target[:200]}', only {allow}",
                    headers=f"Allow: {allow}\r\n".encode(),
                )
            )
        return endpoint

    def _find(self, target: str) -> tuple[str, Endpoint] | None:
        match [unquote(part) for part in target.strip("/").split("/")]:
            case ["v2", "models", "stats"]:
                return "GET", self._all_statistics
            case ["v2", "models", name, *rest] if name:
                return self._find_model(name, rest)
            case ["v2", "repository", "index"]:
                return "POST", self._index
            case ["v2", "repository", "models", name, "load" | "unload" as verb] if name:
                return "POST", self._order(name, verb)
            case ["pipeline", "push"] if self._push is not None:
                return "POST", self._push
            case parts:
                endpoint = self._fixed.get(tuple(parts))
                return None if endpoint is None else ("GET", endpoint)

    def _order(self, name: str, verb: str) -> Endpoint:
        if verb == "load":
            return _ordered(name, self._repository.load, check_load)
        return _ordered(name, self._repository.unload)

    def _find_model(self, name: str, rest: list[str]) -> tuple[str, Endpoint] | None:
        version = None
        if rest[:1] == ["versions"] and len(rest) > 1:
            version, rest = rest[1], rest[2:]
        match rest:
            case []:
                return "GET", self._metadata(name, version)
            case ["ready"]:
                return "GET", self._model_ready(name, version)
            case ["infer"]:
                return "POST", self._infer(name, version)
            case ["stats"]:
                return "GET", self._statistics(name, version)
        return None

    def _infer(self, name: str, version: str | None) -> Endpoint:
        inference = self._inference
        endpoint = _Infer(inference.answer, name, version)
        endpoint.quick = functools.partial(inference.express, name, version)
        endpoint.wide = functools.partial(inference.wide, name, version)
        return endpoint

    def _metadata(self, name: str, version: str | None) -> Endpoint:
        find = self._inference.find
        return lambda _: json_response(200, metadata(find(name, version)))

    def _model_ready(self, name: str, version: str | None) -> Endpoint:
        def endpoint(_: Request) -> Response:
            self._inference.find(name, version)
            return json_response(200, {"name": name, "ready": True})

        return endpoint

    def _statistics(self, name: str, version: str | None) -> Endpoint:
        find = self._inference.find
        return lambda _: json_response(200, statistics([find(name, version)]))

    def _all_statistics(self, _: Request) -> Response:
        return json_response(200, statistics(self._inference.models))

    def _index(self, request: Request) -> Response:
        order = _read(request, _IndexOrder)
        entries = self._repository.index(ready_only=order.ready)
        return json_response(200, msgspec.to_builtins(entries))

    def _server_ready(self, _: Request) -> Response:
        ready = self._ready()
        return json_response(200 if ready else 503, {"live": True, "ready": ready})

    def _metrics(self, _: Request) -> Response:
        return Response(200, [self._metrics_page()], CONTENT_TYPE)


def server_metadata(repository: Repository) -> dict[str, object]:
    """Return the server metadata; models can be loaded only where there is a folder of them."""
    extensions = ["binary_tensor_data", "statistics"]
    if repository.folder is not None:
        extensions.append("model_repository")
    return {"name": SERVER_NAME, "version": __version__, "extensions": extensions}


def statistics(models: list[Model]) -> dict[str, Any]:
    """Return the statistics of models as Triton's extension writes them."""
    found = [m.statistics.document(m.identity.name, m.identity.version) for m in models]
    return {"model_stats": found}


def check_load(parameters: dict[str, Any]) -> None:
    """Refuse a load that brings its own model or configuration.

    Raises:
        HttpError: 400.
    """
    if parameters:
        names = ", ".join(f"'{name[:100]}'" for name in list(parameters)[:8])
        raise HttpError(400, f"models are loaded as their folder has them, without {names}")


def metadata(model: Model) -> dict[str, object]:
    """Return the model metadata; ``parameters`` say which release and variant answers."""
    identity = model.identity
    return {
        "name": identity.name,
        "versions": [identity.version],
        "platform": "onnx_onnxv1",
        "inputs": [_tensor(spec) for spec in model.inputs],
        "outputs": [_tensor(spec) for spec in model.outputs],
        "parameters": {
            "release": identity.release,
            "package": identity.package,
            "precision": identity.precision,
            "provider": model.provider,
        },
    }


def _tensor(spec: TensorSpec) -> dict[str, object]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": spec.shape}


def _constant(document: object) -> Endpoint:
    response = json_response(200, document)
    return lambda _: response


def _written(page: Callable[[], bytes]) -> Endpoint:
    return lambda _: Response(200, [page()])


def _openapi(_: Request) -> Response:
    return Response(200, [OPENAPI_FILE.read_bytes()])


def _ordered(
    name: str,
    work: Callable[[str], Awaitable[None]],
    check: Callable[[dict[str, Any]], None] | None = None,
) -> Endpoint:
    async def obey() -> Response:
        await work(name)
        return json_response(200, {})

    def endpoint(request: Request) -> Answer:
        order = _read(request, _Order)
        if check is not None:
            check(order.parameters)
        return asyncio.ensure_future(obey())

    return endpoint


def _read(request: Request, kind: type[T]) -> T:
    if len(request.body) > _MAX_ORDER_BYTES:
        raise HttpError(413, f"at most {_MAX_ORDER_BYTES} bytes are taken here")
    try:
        return msgspec.json.decode(bytes(request.body) or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise HttpError(400, f"the request is not valid: {str(exc)[:300]}") from exc
