"""One inference from request to answer, whatever the transport: decode, run, encode, count.

Quick models run on the event loop; slow ones and large bodies go to a few threads, so that health
checks stay prompt. When too many wait, the client is told to come back instead of queueing
without bound.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, NamedTuple, TypeVar

from edge_components.runtime.http import (
    BINARY_TYPE,
    Head,
    HttpError,
    Request,
    Response,
    tensors_line,
    whole_answer,
)
from edge_components.runtime.metrics import Metrics
from edge_components.runtime.model import InputRejected, Model, ModelError
from edge_components.runtime.oip.datatypes import Array
from edge_components.runtime.oip.decode import ModelSignature, decode_request
from edge_components.runtime.oip.encode import encode_response
from edge_components.runtime.oip.messages import (
    DecodeLimits,
    InferRequest,
    InferResponse,
    ProtocolError,
)
from edge_components.runtime.process import cores
from edge_components.runtime.registry import Registry
from edge_components.runtime.statistics import Timing
from edge_components.telemetry.recorder import Recorder

_LARGE_BODY = 64 << 10
_BYTES_PER_ELEMENT = 4
R = TypeVar("R")
A = TypeVar("A")


class Codec(NamedTuple, Generic[R, A]):
    """How one transport reads requests and writes answers.

    Attributes:
        source: The transport's name in telemetry.
        decode: A transport's request to the request.
        encode: The answer to a transport's answer.
    """

    source: str
    decode: Callable[[R, ModelSignature, DecodeLimits], InferRequest]
    encode: Callable[[InferResponse], A]


class _Done(NamedTuple, Generic[A]):
    answer: A
    result: InferResponse
    timing: Timing
    inputs: dict[str, Array]


def infer(model: Model, request: InferRequest) -> InferResponse:
    """Run a decoded request on a model.

    Raises:
        InputRejected: ONNX Runtime refuses the input.
        ModelError: The model failed.
    """
    identity = model.identity
    if request.outputs is None:
        arrays = model.run(request.inputs)
        return InferResponse(
            model_name=identity.name,
            model_version=identity.version,
            specs=model.outputs,
            arrays=arrays,
            binary=[True] * len(arrays) if request.binary_outputs else None,
            id=request.id,
        )
    names = [output.name for output in request.outputs]
    return InferResponse(
        model_name=identity.name,
        model_version=identity.version,
        specs=tuple(model.signature.outputs[name] for name in names),
        arrays=model.run(request.inputs, names),
        binary=[output.binary for output in request.outputs],
        id=request.id,
    )


class Inference:
    """The inference endpoint for all models and transports."""

    def __init__(
        self,
        registry: Registry,
        metrics: Metrics,
        recorder: Recorder,
        *,
        limits: DecodeLimits | None = None,
        max_waiting: int = 64,
    ) -> None:
        self._registry = registry
        self._metrics = metrics
        self._recorder = recorder
        self._limits = limits or DecodeLimits()
        self._max_waiting = max_waiting
        self._pool = ThreadPoolExecutor(max(2, cores()), thread_name_prefix="infer")

    @property
    def models(self) -> list[Model]:
        """All models that answer, by name."""
        return self._registry.models

    def find(self, name: str, version: str | None) -> Model:
        """Return the model.

        Raises:
            HttpError: 404 if there is no such model or version.
        """
        model = self._registry.get(name)
        if model is None:
            self._metrics.errors["unknown_model"] += 1
            known = ", ".join(f"'{known}'" for known in self._registry.names) or "none"
            raise HttpError(404, f"no model '{name[:200]}'; loaded: {known}")
        if version is not None and version != model.identity.version:
            self._metrics.errors["unknown_model"] += 1
            raise HttpError(
                404,
                f"model '{name}' has version '{model.identity.version}', not '{version[:200]}'",
            )
        return model

    def answer(
        self, name: str, version: str | None, request: Request
    ) -> Response | asyncio.Future[Response]:
        """Answer an inference request.

        Raises:
            HttpError: With the status and the message for the client.
        """
        head = request.head
        if head.length is None and not head.chunked:
            raise HttpError(411, "an inference request needs a Content-Length")
        return self.ask(name, version, request, len(request.body), _REST)

    def ask(
        self, name: str, version: str | None, request: R, size: int, codec: Codec[R, A]
    ) -> A | asyncio.Future[A]:
        """Answer a transport's request with a body of ``size`` bytes.

        Raises:
            HttpError: With the status and the message for the client.
        """
        model = self.find(name, version)
        if size > _LARGE_BODY or not model.runs_inline(size // _BYTES_PER_ELEMENT):
            return asyncio.ensure_future(self._threaded(model, request, codec))
        start = time.perf_counter_ns()
        try:
            done = _work(model, request, codec, self._limits, start)
        except HttpError as exc:
            self._refused(model, exc, start)
            raise
        if done.result.specs is model.outputs and model.express.wants(done.inputs):
            model.open_lane(done.inputs, done.result.arrays)
        return self._finish(model, start, done, codec.source)

    def express(
        self, name: str, version: str | None, head: Head, body: bytes, date: bytes
    ) -> bytes | None:
        """Answer a small request like those before it, or return None without any effect.

        Args:
            name: The model's.
            version: The model's, if one was named.
            head: Of the request.
            body: Of the request.
            date: The ``Date`` line of the answer.
        """
        model = self._registry.get(name)
        if model is None or (version is not None and version != model.identity.version):
            return None
        passed = model.express.answer(body, head.tensors_at)
        if passed is None:
            return None
        answer, json_length, lane, *times = passed
        seconds = sum(times) * 1e-9
        metrics = self._metrics
        metrics.requests += 1
        metrics.latency.observe(seconds)
        model.statistics.succeeded(Timing(0, *times), lane.samples)
        self._recorder.prediction(
            model, seconds, model.outputs, lane.outputs, "http", inputs=lane.inputs, lent=True
        )
        return whole_answer(answer, json_length, date)

    def close(self) -> None:
        """Stop the threads; what runs on them is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _threaded(self, model: Model, request: R, codec: Codec[R, A]) -> A:
        metrics = self._metrics
        if metrics.in_flight >= self._max_waiting:
            metrics.errors["overloaded"] += 1
            raise HttpError(
                503, f"{metrics.in_flight} requests wait already", headers=b"Retry-After: 1\r\n"
            )
        start = time.perf_counter_ns()
        metrics.in_flight += 1
        loop = asyncio.get_running_loop()
        try:
            done = await loop.run_in_executor(
                self._pool, _work, model, request, codec, self._limits, start
            )
        except HttpError as exc:
            self._refused(model, exc, start)
            raise
        finally:
            metrics.in_flight -= 1
        return self._finish(model, start, done, codec.source)

    def _finish(self, model: Model, start: int, done: _Done[A], source: str) -> A:
        passed = (time.perf_counter_ns() - start) * 1e-9
        metrics = self._metrics
        metrics.requests += 1
        metrics.latency.observe(passed)
        model.statistics.succeeded(done.timing, model.samples(done.inputs))
        result = done.result
        self._recorder.prediction(
            model, passed, result.specs, result.arrays, source, inputs=done.inputs
        )
        return done.answer

    def _refused(self, model: Model, error: HttpError, start: int) -> None:
        model.statistics.failed(time.perf_counter_ns() - start)
        self._metrics.errors["invalid_request" if error.status < 500 else "model_failed"] += 1


def _work(
    model: Model, request: R, codec: Codec[R, A], limits: DecodeLimits, asked_ns: int
) -> _Done[A]:
    clock = time.perf_counter_ns
    began = clock()
    try:
        decoded = codec.decode(request, model.signature, limits)
        ready = clock()
        result = infer(model, decoded)
    except (ProtocolError, InputRejected) as exc:
        raise HttpError(400, str(exc)) from exc
    except ModelError as exc:
        raise HttpError(500, str(exc)) from exc
    ran = clock()
    answer = codec.encode(result)
    timing = Timing(began - asked_ns, ready - began, ran - ready, clock() - ran)
    return _Done(answer, result, timing, decoded.inputs)


def _decode(request: Request, signature: ModelSignature, limits: DecodeLimits) -> InferRequest:
    body = request.body
    data = body if isinstance(body, bytes) else memoryview(body)
    return decode_request(data, request.head.tensors_at, signature, limits)


def _encode(result: InferResponse) -> Response:
    parts, json_length = encode_response(result)
    if json_length is None:
        return Response(200, parts)
    return Response(200, parts, BINARY_TYPE, tensors_line(json_length))


_REST = Codec("http", _decode, _encode)
