"""Which way a request goes to its answer, whatever the transport, and what is counted of it.

Quick models run on the event loop: the express lane first, then the careful way. Slow ones and
large bodies go to a few threads, so that health checks stay prompt; brief ones stay where there is
one core and no other model. When too many wait, the client is told to come back instead of queueing
without bound.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from edge_components.runtime.express import Lane
from edge_components.runtime.holdup import FRESH_NS, SLOW_NS
from edge_components.runtime.http import (
    BINARY_TYPE,
    Buffer,
    Head,
    HttpError,
    Reply,
    Request,
    Response,
    tensors_line,
    whole_answer,
)
from edge_components.runtime.lineup import Call, Lineup
from edge_components.runtime.metrics import Metrics
from edge_components.runtime.model import Model
from edge_components.runtime.oip.decode import ModelSignature, decode_request
from edge_components.runtime.oip.encode import encode_response
from edge_components.runtime.oip.messages import DecodeLimits, InferRequest, InferResponse
from edge_components.runtime.process import cores
from edge_components.runtime.registry import Registry
from edge_components.runtime.statistics import Timing
from edge_components.runtime.work import Codec, Done, Ridden, Ride, Task, outcomes, work
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
        self._one_core = cores() == 1 and threads <= 1
        self._lineup = Lineup(
            functools.partial(outcomes, limits=self._limits),
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
        task = Task(request, _REST, time.perf_counter_ns())
        return self.ask(self.find(name, version), task, len(request.body))

    def ask(self, model: Model, task: Task[R, A], size: int) -> A | asyncio.Future[A]:
        """Answer a transport's request with a body of ``size`` bytes.

        Raises:
            HttpError: With the status and the message for the client.
        """
        if size > _LARGE_BODY or not model.runs_inline(size // _BYTES_PER_ELEMENT):
            return self._wait(model, task, functools.partial(self._settle, model, task), size)
        if task.asked_ns - model.holdup.noted_ns > FRESH_NS:
            model.holdup.note(task.asked_ns)
        try:
            done = work(model, task, self._limits)
        except HttpError as exc:
            self._refused(model, exc, task.asked_ns)
            raise
        finally:
            if (took_ns := time.perf_counter_ns() - task.asked_ns) > SLOW_NS:
                self._judge(model, took_ns)
        if done.result.specs is model.outputs and model.express.wants(done.inputs):
            model.open_lane(done.inputs, done.result.arrays)
        return self._finish(model, task, done)

    def ride(self, model: Model, task: Ride[A], source: str) -> asyncio.Future[A]:
        """Answer a request of a wide lane.

        Args:
            model: That the lane is of.
            task: The request.
            source: The transport's name in telemetry.

        Raises:
            HttpError: With the status and the message for the client.
        """

        def settle(outcome: Ridden[A] | BaseException) -> A:
            if isinstance(outcome, BaseException):
                self._failed(model, outcome, task.asked_ns)
                raise outcome
            self._rode(model, task, outcome, source)
            return outcome.answer

        return self._wait(model, task, settle, task.lane.size)

    def wide(self, name: str, version: str | None, head: Head, body: Buffer, reply: Reply) -> bool:
        """Begin to answer a request like those before it, or return False without any effect.

        Args:
            name: The model's.
            version: The model's, if one was named.
            head: Of the request, which has raw tensors.
            body: Of the request.
            reply: Whom to tell the answer, or the error.
        """
        asked = time.perf_counter_ns()
        model, at = self._registry.get(name), head.tensors_at
        if (
            model is None
            or at is None
            or (version is not None and version != model.identity.version)
        ):
            return False
        request = model.wide.find(body, at)
        metrics = self._metrics
        if request is None or metrics.in_flight >= self._max_waiting:
            return False
        lane, encode = request
        task = Ride(lane, lane.inputs(body, at), encode, asked, time.perf_counter_ns())

        def settle(outcome: Ridden[Response] | BaseException) -> None:
            metrics.in_flight -= 1
            if isinstance(outcome, BaseException):
                self._failed(model, outcome, asked)
                reply(outcome)
            else:
                self._rode(model, task, outcome, _REST.source)
                reply(outcome.answer)

        metrics.in_flight += 1
        here = self._stays(model, lane.size, asked)
        self._lineup.add(model, Call(task, settle), here=here)
        return True

    def _rode(self, model: Model, task: Ride[A], outcome: Ridden[A], source: str) -> None:
        if outcome.timing.infer_ns > SLOW_NS:
            self._watch(model, outcome.timing.infer_ns)
        seconds, lane = (time.perf_counter_ns() - task.asked_ns) * 1e-9, task.lane
        self._count(model, seconds, outcome.timing, lane.samples)
        self._recorder.prediction(
            model, seconds, lane.specs, outcome.arrays, source, inputs=task.inputs
        )

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
        self._count(model, seconds, timing, lane.samples)
        self._recorder.prediction(
            model, seconds, model.outputs, lane.outputs, source, inputs=lane.inputs, lent=True
        )

    def close(self) -> None:
        """Stop the threads; what runs on them is not waited for."""
        self._lineup.close()

    def _stays(self, model: Model, size: int, now_ns: int) -> bool:
        """Whether the event loop itself runs a request that is not quick.

        On one core a thread makes nothing sooner; it lets the loop answer others in between, at
        the cost of some changes from thread to thread for each request. So the loop does it where
        nobody waits for long: the model is brief, and no other model is there to be waited for.
        """
        if not self._one_core or not self._registry.is_single:
            return False
        if not model.is_brief(size // _BYTES_PER_ELEMENT):
            return False
        if now_ns - model.holdup.noted_ns > FRESH_NS:
            model.holdup.note(now_ns)
        return True

    def _wait(
        self,
        model: Model,
        task: Task[R, A] | Ride[A],
        settle: Callable[[Any], A],
        size: int,
    ) -> asyncio.Future[A]:
        metrics = self._metrics
        if metrics.in_flight >= self._max_waiting:
            metrics.errors["overloaded"] += 1
            raise HttpError(
                503, f"{metrics.in_flight} requests wait already", headers=b"Retry-After: 1\r\n"
            )
        metrics.in_flight += 1
        here = self._stays(model, size, task.asked_ns)
        future: asyncio.Future[A] = self._lineup.ask(model, task, settle, here=here)
        future.add_done_callback(self._left)
        return future

    def _settle(self, model: Model, task: Task[R, A], outcome: Done[A] | BaseException) -> A:
        if isinstance(outcome, BaseException):
            self._failed(model, outcome, task.asked_ns)
            raise outcome
        if outcome.timing.infer_ns > SLOW_NS:
            self._watch(model, outcome.timing.infer_ns)
        is_whole, runs_alone = outcome.result.specs is model.outputs, model.max_batch == 1
        if is_whole and runs_alone and model.wide.wants(outcome.inputs):
            model.open_wide_lane(outcome.inputs, outcome.result.arrays)
        return self._finish(model, task, outcome)

    def _watch(self, model: Model, run_ns: int) -> None:
        if self._one_core and model.is_brief(1):
            self._judge(model, run_ns)

    def _judge(self, model: Model, run_ns: int) -> None:
        """Let a model that holds up the event loop leave it for the threads."""
        now, cpu = time.perf_counter_ns(), time.thread_time_ns()
        if not model.holdup.is_proven(run_ns, now, cpu, model.latency_s * 1e9):
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
        self._count(model, passed, done.timing, model.samples(done.inputs), done.batch)
        result = done.result
        self._recorder.prediction(
            model, passed, result.specs, result.arrays, task.codec.source, inputs=done.inputs
        )
        return done.answer

    def _count(
        self, model: Model, seconds: float, timing: Timing, samples: int, batch: int | None = None
    ) -> None:
        metrics = self._metrics
        metrics.requests += 1
        metrics.latency.observe(seconds)
        model.statistics.succeeded(timing, samples, batch)

    def _failed(self, model: Model, error: BaseException, asked_ns: int) -> None:
        if isinstance(error, HttpError):
            self._refused(model, error, asked_ns)

    def _refused(self, model: Model, error: HttpError, asked_ns: int) -> None:
        model.statistics.failed(time.perf_counter_ns() - asked_ns)
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
