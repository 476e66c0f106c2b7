"""One request from bytes to bytes, or several at once: decode, run, encode, and how long each took.

Requests that waited together are run together where the model has shown that this gives the same
answers sooner (``batching``). A request that does not fit spoils nothing for the others: it gets
its own error, and if the model refuses them together each is run alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar, cast

import msgspec
import numpy as np

from edge_components.runtime.http import HttpError
from edge_components.runtime.model import InputRejected, Model, ModelError
from edge_components.runtime.oip.datatypes import Array
from edge_components.runtime.oip.decode import ModelSignature
from edge_components.runtime.oip.messages import (
    DecodeLimits,
    InferRequest,
    InferResponse,
    ProtocolError,
)
from edge_components.runtime.statistics import Timing
from edge_components.runtime.wide import WideLane

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


class Task(NamedTuple, Generic[R, A]):
    """A request that is to be answered, and since when it waits (``perf_counter_ns``)."""

    request: R
    codec: Codec[R, A]
    asked_ns: int


class Done(NamedTuple, Generic[A]):
    """An answer, and what the books need of it.

    Attributes:
        batch: How many samples the model ran on at once, those of other requests among them; 0
            for all but one request of a batch, so that a batch is counted once. None for a
            request that ran alone.
    """

    answer: A
    result: InferResponse
    timing: Timing
    inputs: dict[str, Array]
    batch: int | None


class Ride(msgspec.Struct, Generic[A]):
    """A request on a wide lane: decoded already.

    Attributes:
        lane: The lane.
        inputs: Of the model.
        encode: The model's outputs to a transport's answer.
        asked_ns: Since when it waits (``perf_counter_ns``).
        ready_ns: When it was decoded.
    """

    lane: WideLane
    inputs: dict[str, Array]
    encode: Callable[[list[Array]], A]
    asked_ns: int
    ready_ns: int


class Ridden(msgspec.Struct, Generic[A]):
    """An answer of a wide lane, and what the books need of it."""

    answer: A
    arrays: list[Array]
    timing: Timing


class _Ready(NamedTuple, Generic[R, A]):
    """A task that is decoded."""

    place: int
    task: Task[R, A]
    request: InferRequest
    began_ns: int
    ready_ns: int


def work(model: Model, task: Task[R, A], limits: DecodeLimits) -> Done[A]:
    """Answer one request.

    Raises:
        HttpError: With the status and the message for the client.
    """
    return _alone(model, _decoded(model, 0, task, limits))


def ride(model: Model, task: Ride[A]) -> Ridden[A]:
    """Answer one request of a wide lane.

    Raises:
        HttpError: With the status and the message for the client.
    """
    clock = time.perf_counter_ns
    began = clock()
    try:
        arrays = model.run(task.inputs)
    except ModelError as exc:
        raise _told(exc) from exc
    ran = clock()
    answer = task.encode(arrays)
    waited, decoding = began - task.ready_ns, task.ready_ns - task.asked_ns
    return Ridden(answer, arrays, Timing(waited, decoding, ran - began, clock() - ran))


def outcomes(
    model: Model, tasks: Sequence[Task[R, A] | Ride[A]], limits: DecodeLimits
) -> list[Done[A] | Ridden[A] | Exception]:
    """Answer requests of one model, all at once where there are several; none of those rides."""
    if len(tasks) > 1:
        return [*work_together(model, cast("Sequence[Task[R, A]]", tasks), limits)]
    (task,) = tasks
    try:
        return [ride(model, task) if isinstance(task, Ride) else work(model, task, limits)]
    except Exception as exc:  # noqa: BLE001  # it is raised where the request is answered
        return [exc]


def work_together(
    model: Model, tasks: Sequence[Task[R, A]], limits: DecodeLimits
) -> list[Done[A] | Exception]:
    """Answer requests that waited together; an error is the outcome of its request only."""
    outcomes: dict[int, Done[A] | Exception] = {}
    groups: dict[object, list[_Ready[R, A]]] = {}
    for index, task in enumerate(tasks):
        try:
            ready = _decoded(model, index, task, limits)
        except Exception as exc:  # noqa: BLE001  # it is raised where the request is answered
            outcomes[index] = exc
        else:
            groups.setdefault(_kind(ready.request), []).append(ready)
    for group in groups.values():
        found = None if len(group) == 1 else _batch(model, group)
        outcomes.update(found or {ready.place: _outcome(model, ready) for ready in group})
    return [outcomes[index] for index in range(len(tasks))]


def infer(model: Model, request: InferRequest) -> InferResponse:
    """Run a decoded request on a model.

    Raises:
        InputRejected: ONNX Runtime refuses the input.
        ModelError: The model failed.
    """
    return _response(model, request, model.run(request.inputs, _names(request)))


def _decoded(model: Model, place: int, task: Task[R, A], limits: DecodeLimits) -> _Ready[R, A]:
    began = time.perf_counter_ns()
    try:
        request = task.codec.decode(task.request, model.signature, limits)
    except ProtocolError as exc:
        raise HttpError(400, str(exc)) from exc
    return _Ready(place, task, request, began, time.perf_counter_ns())


def _alone(model: Model, ready: _Ready[R, A]) -> Done[A]:
    start = time.perf_counter_ns()
    try:
        result = infer(model, ready.request)
    except ModelError as exc:
        raise _told(exc) from exc
    passed = time.perf_counter_ns() - start
    return _done(ready, result, passed, None)


def _told(error: ModelError) -> HttpError:
    return HttpError(400 if isinstance(error, InputRejected) else 500, str(error))


def _outcome(model: Model, ready: _Ready[R, A]) -> Done[A] | Exception:
    try:
        return _alone(model, ready)
    except Exception as exc:  # noqa: BLE001  # it is raised where the request is answered
        return exc


def _batch(model: Model, group: list[_Ready[R, A]]) -> dict[int, Done[A] | Exception] | None:
    """Run requests at once; None if the model does not take them so."""
    first = group[0].request
    feeds = {
        name: np.concatenate([ready.request.inputs[name] for ready in group])
        for name in first.inputs
    }
    sizes = [model.samples(ready.request.inputs) for ready in group]
    total = sum(sizes)
    start = time.perf_counter_ns()
    try:
        arrays = model.run(feeds, _names(first))
    except ModelError:
        return None
    passed = time.perf_counter_ns() - start
    if any(array.ndim == 0 or array.shape[0] != total for array in arrays):
        return None
    outcomes: dict[int, Done[A] | Exception] = {}
    at = 0
    for ready, size in zip(group, sizes, strict=True):
        own = [array[at : at + size] for array in arrays]
        result = _response(model, ready.request, own)
        outcomes[ready.place] = _done(ready, result, passed, 0 if at else total)
        at += size
    return outcomes


def _done(ready: _Ready[R, A], result: InferResponse, ran_ns: int, batch: int | None) -> Done[A]:
    start = time.perf_counter_ns()
    answer = ready.task.codec.encode(result)
    timing = Timing(
        ready.began_ns - ready.task.asked_ns,
        ready.ready_ns - ready.began_ns,
        ran_ns,
        time.perf_counter_ns() - start,
    )
    return Done(answer, result, timing, ready.request.inputs, batch)


def _kind(request: InferRequest) -> object:
    """Return what is equal for requests that can be run at once."""
    names = _names(request)
    shapes = {name: array.shape[1:] for name, array in request.inputs.items()}
    return (None if names is None else tuple(names), tuple(sorted(shapes.items())))


def _names(request: InferRequest) -> list[str] | None:
    return None if request.outputs is None else [output.name for output in request.outputs]


def _response(model: Model, request: InferRequest, arrays: list[Array]) -> InferResponse:
    identity, outputs = model.identity, request.outputs
    if outputs is None:
        specs = model.outputs
        binary = [True] * len(arrays) if request.binary_outputs else None
    else:
        specs = tuple(model.signature.outputs[output.name] for output in outputs)
        binary = [output.binary for output in outputs]
    return InferResponse(
        model_name=identity.name,
        model_version=identity.version,
        specs=specs,
        arrays=arrays,
        binary=binary,
        id=request.id,
    )
