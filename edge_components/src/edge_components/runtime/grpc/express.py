"""The express lane (``runtime.express``) for gRPC messages with raw tensors.

The answer is written as bytes: protobuf allows fields in any order, so what is always the same is
serialized once, and the tensors and the id are put behind it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from edge_components.runtime.express import Express, Lane
from edge_components.runtime.grpc.schema import MESSAGES
from edge_components.runtime.statistics import Timing

_MAX_ID_CHARS = 256
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
    if not raws or len(raws) != len(given) or request.outputs or request.parameters:
        return None
    lane = express.lane([(item.name, tuple(item.shape)) for item in given])
    if lane is None or len(request.id) > _MAX_ID_CHARS or not _fill(lane, given, raws):
        return None
    ready = clock()
    if not express.run(lane, ready):
        return None
    ran = clock()
    message = _encode(lane, request.id)
    return PassedMessage(message, lane, Timing(0, ready - began, ran - ready, clock() - ran))


def _fill(lane: Lane, given: Sequence[Any], raws: Sequence[bytes]) -> bool:
    for item, raw, field in zip(given, raws, lane.fields, strict=True):
        if (
            item.name != field.name
            or item.datatype != field.datatype
            or len(raw) != field.size
            or item.parameters
            or item.HasField("contents")
        ):
            return False
        field.memory[:] = raw
    return True


def _encode(lane: Lane, request_id: str) -> bytes:
    head = lane.message
    if head is None:
        name, version = lane.model
        start = _Response(model_name=name, model_version=version)
        for spec, array in zip(lane.specs, lane.outputs, strict=True):
            start.outputs.add(name=spec.name, datatype=spec.datatype, shape=array.shape)
        head = lane.message = start.SerializeToString()
    parts = [head]
    for raw in lane.raws:
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
