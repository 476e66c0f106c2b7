"""The express and the wide lane (``runtime.express``, ``.wide``) for messages with raw tensors.

The answer is written as bytes: protobuf allows fields in any order, so what is always the same is
serialized once, and the tensors and the id are put behind it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from edge_components.runtime.express import Express, Field, Lane
from edge_components.runtime.grpc.schema import MESSAGES
from edge_components.runtime.lanes import MAX_ID_CHARS
from edge_components.runtime.model import Model
from edge_components.runtime.oip.datatypes import Array
from edge_components.runtime.statistics import Timing
from edge_components.runtime.wide import Field as WideField
from edge_components.runtime.wide import WideLane
from edge_components.runtime.work import Ride

_LENGTH_DELIMITED = 2  # protobuf's wire type for bytes and text
_Response = MESSAGES["ModelInferResponse"]


def _key(field: str) -> bytes:
    number = _Response.DESCRIPTOR.fields_by_name[field].number
    return bytes([number << 3 | _LENGTH_DELIMITED])


_ID, _RAW = _key("id"), _key("raw_output_contents")


class PassedMessage(msgspec.Struct, gc=False):
    """A serialized answer, and what the books need of it; see ``express.Passed``."""

    message: bytes
    lane: Lane
    timing: Timing


def answer_message(express: Express, request: Any) -> PassedMessage | None:
    """Answer a ``ModelInferRequest`` like those before it, or return None without any effect."""
    clock = time.perf_counter_ns
    began = clock()
    given, raws = request.inputs, request.raw_input_contents
    if not _is_raw(request):
        return None
    lane = express.lane([(item.name, tuple(item.shape)) for item in given])
    if lane is None or len(request.id) > MAX_ID_CHARS or not _fill(lane, given, raws):
        return None
    ready = clock()
    if not express.run(lane, ready):
        return None
    ran = clock()
    message = _encode(lane, request.id)
    return PassedMessage(message, lane, Timing(0, ready - began, ran - ready, clock() - ran))


def _fill(lane: Lane, given: Sequence[Any], raws: Sequence[bytes]) -> bool:
    for item, raw, field in zip(given, raws, lane.fields, strict=True):
        if not _fits(item, raw, field):
            return False
        field.memory[:] = raw
    return True


def ride_of(model: Model, request: Any) -> Ride[bytes] | None:
    """Return the ride of a ``ModelInferRequest`` like those before it, or None."""
    wide, given, raws = model.wide, request.inputs, request.raw_input_contents
    if not wide or not _is_raw(request):
        return None
    asked = time.perf_counter_ns()
    lane = wide.lane([(item.name, tuple(item.shape)) for item in given])
    request_id = request.id
    if lane is None or len(request_id) > MAX_ID_CHARS:
        return None
    inputs: dict[str, Array] = {}
    for item, raw, field in zip(given, raws, lane.fields, strict=True):
        if not _fits(item, raw, field):
            return None
        inputs[field.name] = field.array(raw, 0)

    def encode(arrays: list[Array]) -> bytes:
        return _encode_wide(lane, arrays, request_id)

    return Ride(lane, inputs, encode, asked, time.perf_counter_ns())


def _is_raw(request: Any) -> bool:
    """Whether all inputs are raw, and nothing is asked but all outputs."""
    raws = request.raw_input_contents
    return len(raws) == len(request.inputs) > 0 and not (request.outputs or request.parameters)


def _fits(item: Any, raw: bytes | memoryview, field: Field | WideField) -> bool:
    return not (
        item.name != field.name
        or item.datatype != field.datatype
        or len(raw) != field.size
        or item.parameters
        or item.HasField("contents")
    )


def _start(lane: Lane | WideLane, arrays: Sequence[Array]) -> bytes:
    name, version = lane.model
    start = _Response(model_name=name, model_version=version)
    for spec, array in zip(lane.specs, arrays, strict=True):
        start.outputs.add(name=spec.name, datatype=spec.datatype, shape=array.shape)
    found: bytes = start.SerializeToString()
    return found


def _encode_wide(lane: WideLane, arrays: list[Array], request_id: str) -> bytes:
    raws = [array.reshape(-1).data.cast("B") for array in arrays]
    if not lane.is_usual(arrays):
        return _joined(_start(lane, arrays), raws, request_id)
    if lane.message is None:
        lane.message = _start(lane, arrays)
    return _joined(lane.message, raws, request_id)


def _encode(lane: Lane, request_id: str) -> bytes:
    if lane.message is None:
        lane.message = _start(lane, lane.outputs)
    return _joined(lane.message, lane.raws, request_id)


def _joined(head: bytes, raws: Sequence[memoryview], request_id: str) -> bytes:
    parts: list[bytes | memoryview] = [head]
    for raw in raws:
        parts += (_RAW, _varint(raw.nbytes), raw)
    if request_id:
        text = request_id.encode()
        parts += (_ID, _varint(len(text)), text)
    return b"".join(parts)


def _varint(number: int) -> bytes:
    if number < 0x80:
        return bytes((number,))
    found = bytearray()
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)
