"""The express lane: small requests like those before them, answered in a few calls.

A client that stays asks the same model again and again with inputs of the same names, types and
shapes. After a few such requests there is a lane for them: buffers that ONNX Runtime is bound to,
a way to put numbers there without making arrays, and an answer of which only the numbers and the
id are written anew. A lane takes a request only if all about it is as it was before; for the rest
``answer`` returns None, and the careful way (``inference``) answers or says what is wrong. The
bytes of both ways are the same.

Lanes run on the event loop's thread alone, so one set of buffers is enough.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence

import msgspec

from edge_components.contract.package import TensorSpec
from edge_components.runtime.bound import Bound
from edge_components.runtime.holdup import FRESH_NS, HoldUp
from edge_components.runtime.lanes import (
    CODES,
    FLOATS,
    MAX_ID_CHARS,
    AnswerTemplate,
    Lanes,
    only_says_raw,
)
from edge_components.runtime.oip.datatypes import Array
from edge_components.runtime.oip.decode import (
    DECODER,
    FLOAT_DECODER,
    FloatInput,
    FloatRequest,
    WireInput,
    WireRequest,
)
from edge_components.runtime.oip.values import flat_decoder
from edge_components.runtime.statistics import Timing

MAX_BYTES = 32 << 10


class Passed(msgspec.Struct, gc=False):
    """An answer of the express lane, and what the books need of it.

    Attributes:
        body: Of the answer.
        json_length: How much of it is JSON, where raw tensors follow.
        lane: Whose buffers hold inputs and outputs until the next request.
        timing: How long its parts took.
    """

    body: bytes
    json_length: int | None
    lane: Lane
    timing: Timing


class Field:
    """One input of a lane: what it has to be, and where its numbers go."""

    __slots__ = ("datatype", "decode", "memory", "name", "pack_into", "size")

    def __init__(self, spec: TensorSpec, array: Array) -> None:
        self.name = spec.name
        self.datatype = spec.datatype
        self.size = array.nbytes
        self.memory = array.reshape(-1).data.cast("B")
        self.decode = flat_decoder(spec.datatype)
        self.pack_into = struct.Struct(f"={array.size}{CODES[spec.datatype]}").pack_into


class Lane:
    """Buffers and templates for requests of one form.

    Attributes:
        inputs: The inputs by name, overwritten by the next request.
        outputs: The outputs in the model's order, likewise.
        samples: How many samples a request holds.
        fields: What each input has to be, in the order of the client, and where it goes.
        raws: The memory of the outputs.
        specs: Of the outputs.
        model: The model's name and version.
        message: A place for gRPC to keep the beginning of its answer.
    """

    def __init__(
        self,
        bound: Bound,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        model: tuple[str, str],
        samples: int,
    ) -> None:
        self.inputs = bound.inputs
        self.outputs = bound.outputs
        self.samples = samples
        self.run = bound.run
        self.model = model
        self.specs = tuple(outputs)
        self.message: bytes | None = None
        self.fields = [Field(spec, bound.inputs[spec.name]) for spec in inputs]
        self._flat = [array.reshape(-1) for array in bound.outputs]
        self.raws = [array.data.cast("B") for array in self._flat]
        self._template = AnswerTemplate(outputs, bound.outputs, model)

    def fill(self, given: Sequence[WireInput | FloatInput], body: bytes, at: int) -> int:
        """Write the inputs into the buffers; return where the body's raw tensors end, or -1.

        Raises:
            Exception: Whatever decoding and packing say of data that does not fit.
        """
        for item, field in zip(given, self.fields, strict=True):
            if item.name != field.name or item.datatype != field.datatype:
                return -1
            parameters = item.parameters
            if parameters is None:
                data = item.data
                values = data if isinstance(data, list) else field.decode(data)
                field.pack_into(field.memory, 0, *values)
                continue
            size = parameters.get("binary_data_size")
            if len(parameters) > 1 or type(size) is not int or size != field.size or item.data:
                return -1
            field.memory[:] = body[at : at + size]
            at += size
        return at

    def encode(self, request_id: str | None, *, raw: bool) -> tuple[bytes, int | None]:
        """Return the answer's body, and how much of it is JSON where raw tensors follow."""
        if raw:
            head = self._template.head(request_id)
            return b"".join((head, *self.raws)), len(head)
        return self._template.text(self._flat, request_id), None


class Express:
    """The lanes of one loaded model.

    Args:
        inputs: Of the model.
        outputs: Of the model.
        holdup: Watches how long its runs hold up the event loop.
    """

    def __init__(
        self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], holdup: HoldUp
    ) -> None:
        self._holdup = holdup
        only_floats = all(spec.datatype in FLOATS for spec in inputs)
        # Floats are read at once; other types need to know the datatype before they look.
        self._decode: Callable[[bytes], WireRequest | FloatRequest] = (
            FLOAT_DECODER.decode if only_floats else DECODER.decode
        )
        self._inputs = {spec.name: spec for spec in inputs}
        self._outputs = tuple(outputs)
        self._lanes: Lanes[Lane] = Lanes((*inputs, *outputs))
        self.wants = self._lanes.wants
        self.lane = self._lanes.find_named
        self.close = self._lanes.close

    def answer(self, body: bytes, json_length: int | None) -> Passed | None:
        """Answer a REST request, or return None without any effect.

        Args:
            body: Of the request.
            json_length: How much of it is JSON, where raw tensors follow.
        """
        if not self._lanes:
            return None
        clock = time.perf_counter_ns
        began = clock()
        at = len(body) if json_length is None else json_length
        try:
            request = self._decode(body if json_length is None else body[:at])
            given, parameters = request.inputs, request.parameters
            lane = self._lanes.find(given)
            if (
                lane is None
                or request.outputs is not None
                or not only_says_raw(parameters)
                or (request.id is not None and len(request.id) > MAX_ID_CHARS)
                or lane.fill(given, body, at) != len(body)
            ):
                return None
        except Exception:  # noqa: BLE001  # whatever it is, the careful way says it well
            return None
        ready = clock()
        if not self.run(lane, ready):
            return None
        ran = clock()
        text, length = lane.encode(request.id, raw=parameters is not None)
        timing = Timing(0, ready - began, ran - ready, clock() - ran)
        return Passed(text, length, lane, timing)

    def open(self, bound: Bound, model: tuple[str, str], samples: int) -> None:
        """Add a lane for requests with the inputs of ``bound``; the oldest gives way."""
        specs = [self._inputs[name] for name in bound.inputs]
        self._lanes.add(bound.inputs, Lane(bound, specs, self._outputs, model, samples))

    def run(self, lane: Lane, now_ns: int) -> bool:
        """Run the model on what is in the lane's buffers; if it cannot, there are no more lanes.

        Args:
            lane: Whose buffers are filled.
            now_ns: By ``perf_counter_ns``.
        """
        holdup = self._holdup
        if now_ns - holdup.noted_ns > FRESH_NS:
            holdup.note(now_ns)
        try:
            lane.run()
        except Exception:  # noqa: BLE001  # ONNX Runtime has no base class; the plain run says why
            # The shapes of the outputs depend on more than those of the inputs.
            self.close()
            return False
        return True
