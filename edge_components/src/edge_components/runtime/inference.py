"""Which way a request goes to its answer, whatever the transport, and what is counted of it.

Quick models run on the event loop: the express lane first, then the careful way. Slow ones and
large bodies go to a few threads, so that health checks stay prompt. When too many wait, the client
is told to come back instead of queueing without bound.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from typing import TypeVar

from edge_components.runtime.express import Lane
from edge_components.runtime.holdup import FRESH_NS, SLOW_NS
from edge_components.runtime.http import (
    BINARY_TYPE,
    Head,
    HttpError,
    Request,
    Response,
    tensors_line,
    whole_answer,
)
from edge_components.runtime.lineup import Lineup
from edge_components.runtime.metrics import Metrics
from edge_components.runtime.model import Model
from edge_components.runtime.oip.decode import ModelSignature, decode_request
from edge_components.runtime.oip.encode import encode_response
from edge_components.runtime.oip.messages import DecodeLimits, InferRequest, InferResponse
from edge_components.runtime.process import cores
from edge_components.runtime.registry import Registry
from edge_components.runtime.statistics import Timing
from edge_components.runtime.work import Codec, Done, Task, work, work_together
from edge_components.telemetry.recorder import Recorder

log = logging.getLogger(__name__)

_LARGE_BODY = 64 << 10
_BYTES_PER_ELEMENT = 4
_WARNING = 13  # OpenTelemetry's severity
R = TypeVar("R")
A = TypeVar("A")


class Inference:
    """The inference endpoint for all models and transports.

    Args:
        registry: The models.
        metrics: Where requests are counted.
        recorder: Where predictions go.
        limits: Bounds on a request.
        max_waiting: How many requests may wait for a thread, those that run among them.
        threads: How many requests run at once beside the event loop; 0 for one on each core, and
            two at least, so that one slow model does not hold up all others.
    """

    def __init__(
        self,
        registry: Registry,
        metrics: Metrics,
        recorder: Recorder,
        *,
        limits: DecodeLimits | None = None,
        max_waiting: int = 64,
        threads: int = 0,
    ) -> None:
        self._registry = registry
        self._metrics = metrics
        self._recorder = recorder
        self._limits = limits or DecodeLimits()
        self._max_waiting = max_waiting
        self._lineup = Lineup(
            functools.partial(work_together, limits=self._limits),
            threads=threads or max(2, cores()),
            each=threads or cores(),
        )

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
        task = Task(request, codec, time.perf_counter_ns())
        if size > _LARGE_BODY or not model.runs_inline(size // _BYTES_PER_ELEMENT):
            return self._threaded(model, task)
        if task.asked_ns - model.holdup.noted_ns > FRESH_NS:
            model.holdup.note(task.asked_ns)
        try:
            done = work(model, task, self._limits)
        except HttpError as exc:
            self._refused(model, exc, task)
            raise
        finally:
            if (took_ns := time.perf_counter_ns() - task.asked_ns) > SLOW_NS:
                self._judge(model, took_ns)
        if done.result.specs is model.outputs and model.express.wants(done.inputs):
            model.open_lane(done.inputs, done.result.arrays)
        return self._finish(model, task, done)

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
        self.passed(model, passed.lane, passed.timing, "http")
        return whole_answer(passed.body, passed.json_length, date)

    def passed(self, model: Model, lane: Lane, timing: Timing, source: str) -> None:
        """Count an answer of the express lane."""
        if timing.infer_ns > SLOW_NS:
            self._judge(model, timing.infer_ns)
        seconds = (timing.input_ns + timing.infer_ns + timing.output_ns) * 1e-9
        metrics = self._metrics
        metrics.requests += 1
        metrics.latency.observe(seconds)
        model.statistics.succeeded(timing, lane.samples)
        self._recorder.prediction(
            model, seconds, model.outputs, lane.outputs, source, inputs=lane.inputs, lent=True
        )

    def close(self) -> None:
        """Stop the threads; what runs on them is not waited for."""
        self._lineup.close()

    def _threaded(self, model: Model, task: Task[R, A]) -> asyncio.Future[A]:
        metrics = self._metrics
        if metrics.in_flight >= self._max_waiting:
            metrics.errors["overloaded"] += 1
            raise HttpError(
                503, f"{metrics.in_flight} requests wait already", headers=b"Retry-After: 1\r\n"
            )

        def settle(outcome: Done[A] | BaseException) -> A:
            if isinstance(outcome, HttpError):
                self._refused(model, outcome, task)
            if isinstance(outcome, BaseException):
                raise outcome
            return self._finish(model, task, outcome)

        metrics.in_flight += 1
        future: asyncio.Future[A] = self._lineup.add(model, task, settle)
        future.add_done_callback(self._left)
        return future

    def _judge(self, model: Model, run_ns: int) -> None:
        """Let a model that holds up the event loop leave it for the threads."""
        if not model.holdup.is_proven(run_ns, time.perf_counter_ns(), time.thread_time_ns()):
            return
        model.leave_loop()
        name, took = model.identity.name, f"{run_ns * 1e-6:.0f} ms"
        text = f"model '{name}' held up all requests for {took}; from now on it runs on threads"
        log.warning("%s", text)
        self._metrics.left_loop[name] += 1
        self._recorder.event(
            text,
            severity=_WARNING,
            attributes={"model.name": name, "seconds": round(run_ns * 1e-9, 6)},
        )

    def _left(self, _: asyncio.Future[A]) -> None:
        self._metrics.in_flight -= 1

    def _finish(self, model: Model, task: Task[R, A], done: Done[A]) -> A:
        passed = (time.perf_counter_ns() - task.asked_ns) * 1e-9
        metrics = self._metrics
        metrics.requests += 1
        metrics.latency.observe(passed)
        model.statistics.succeeded(done.timing, model.samples(done.inputs), done.batch)
        result = done.result
        self._recorder.prediction(
            model, passed, result.specs, result.arrays, task.codec.source, inputs=done.inputs
        )
        return done.answer

    def _refused(self, model: Model, error: HttpError, task: Task[R, A]) -> None:
        model.statistics.failed(time.perf_counter_ns() - task.asked_ns)
        self._metrics.errors["invalid_request" if error.status < 500 else "model_failed"] += 1


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
