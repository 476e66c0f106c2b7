"""The wide lane: requests with raw tensors that run on a thread, like those before them.

It is for models that are too slow for the event loop, and for tensors that are too large for
buffers of a lane: they stay where they arrived. After a run of some milliseconds the processor's
caches hold nothing of Python, so each call on the way costs many times what it costs otherwise;
for requests of one form the way is short. Like the express lane (``express``) it takes a request
only if all about it is as it was before, and leaves the rest to the careful way.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from edge_components.contract.package import TensorSpec
from edge_components.runtime.http import BINARY_TYPE, Buffer, Response, tensors_line
from edge_components.runtime.lanes import MAX_ID_CHARS, AnswerTemplate, Lanes, only_says_raw
from edge_components.runtime.oip.datatypes import NUMPY_TYPES, Array
from edge_components.runtime.oip.decode import DECODER, ModelSignature, WireInput

_KNOWN = 64
_MAX_JSON_BYTES = 4 << 10


class Field(msgspec.Struct):
    """One input of a lane: what it has to be."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    dtype: npt.DTypeLike
    size: int

    def array(self, data: Buffer, at: int) -> Array:
        """Return the input whose raw numbers begin somewhere in ``data``, copied if need be."""
        array: Array = np.ndarray(self.shape, self.dtype, data, at)
        return array if array.flags.aligned else array.copy()


class WideLane:
    """What requests of one form have to be, and what their answers begin with.

    Attributes:
        samples: How many samples a request holds.
        fields: What each input has to be, in the order of the client.
        size: Of all inputs together.
        specs: Of the outputs.
        model: The model's name and version.
        message: A place for gRPC to keep the beginning of its answer.
    """

    def __init__(
        self,
        inputs: Mapping[str, Array],
        outputs: Sequence[Array],
        signature: ModelSignature,
        model: tuple[str, str],
        samples: int,
    ) -> None:
        self.samples = samples
        self.specs = specs = tuple(signature.outputs.values())
        self.model = model
        self.message: bytes | None = None
        self.fields = [_field(signature.inputs[name], array) for name, array in inputs.items()]
        self.size = sum(field.size for field in self.fields)
        self._template = AnswerTemplate(specs, outputs, model)

    def fits(self, given: Sequence[WireInput]) -> bool:
        """Whether all inputs of a REST request are raw and as they were before."""
        for item, field in zip(given, self.fields, strict=True):
            parameters = item.parameters
            if item.name != field.name or item.datatype != field.datatype or not parameters:
                return False
            size = parameters.get("binary_data_size")
            if len(parameters) > 1 or type(size) is not int or size != field.size or item.data:
                return False
        return True

    def inputs(self, body: Buffer, at: int) -> dict[str, Array]:
        """Return views of the raw tensors of a REST request."""
        found: dict[str, Array] = {}
        for field in self.fields:
            found[field.name] = field.array(body, at)
            at += field.size
        return found

    def is_usual(self, arrays: Sequence[Array]) -> bool:
        """Whether outputs have the shapes of those before; they may depend on the values."""
        for array, shape in zip(arrays, self._template.shapes, strict=True):
            if array.shape != shape:
                return False
        return True

    def encoder(self, request_id: str | None, *, raw: bool) -> Callable[[list[Array]], Response]:
        """Return how the answers to a REST request are written."""
        if not raw:
            return functools.partial(self._text, request_id)
        head = self._template.head(request_id)
        return functools.partial(self._raw, request_id, head, tensors_line(len(head)))

    def _raw(
        self, request_id: str | None, head: bytes, line: bytes, arrays: Sequence[Array]
    ) -> Response:
        if not self.is_usual(arrays):
            head = AnswerTemplate(self.specs, arrays, self.model).head(request_id)
            line = tensors_line(len(head))
        parts: list[bytes | memoryview] = [head]
        for array in arrays:
            parts.append(array.reshape(-1).data.cast("B"))  # noqa: PERF401  # one call less
        return Response(200, parts, BINARY_TYPE, line)

    def _text(self, request_id: str | None, arrays: Sequence[Array]) -> Response:
        template = self._template
        if not self.is_usual(arrays):
            template = AnswerTemplate(self.specs, arrays, self.model)
        return Response(200, [template.text([a.reshape(-1) for a in arrays], request_id)])


class WideRequest(NamedTuple):
    """A REST request that a lane takes, and how its answer is written."""

    lane: WideLane
    encode: Callable[[list[Array]], Response]


class Wide:
    """The wide lanes of one loaded model.

    Args:
        signature: Of the model.
    """

    def __init__(self, signature: ModelSignature) -> None:
        self._signature = signature
        specs = (*signature.inputs.values(), *signature.outputs.values())
        self._lanes: Lanes[WideLane] = Lanes(specs)
        self._known: dict[bytes, WideRequest] = {}  # by their JSON
        self.wants = self._lanes.wants
        self.lane = self._lanes.find_named

    def __bool__(self) -> bool:
        return bool(self._lanes)

    def find(self, body: Buffer, json_length: int) -> WideRequest | None:
        """Return what is asked for if there is a lane for it.

        Args:
            body: Of a REST request.
            json_length: How much of it is JSON, where raw tensors follow.
        """
        if json_length > _MAX_JSON_BYTES:
            return None
        text = bytes(body[:json_length])
        request = self._known.get(text)
        if request is None:
            request = self._read(text)
            if request is None:
                return None
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[text] = request
        return request if len(body) == json_length + request.lane.size else None

    def _read(self, text: bytes) -> WideRequest | None:
        try:
            request = DECODER.decode(text)
            lane = self._lanes.find(request.inputs)
            if (
                lane is None
                or request.outputs is not None
                or not only_says_raw(request.parameters)
                or (request.id is not None and len(request.id) > MAX_ID_CHARS)
                or not lane.fits(request.inputs)
            ):
                return None
        except Exception:  # noqa: BLE001  # whatever it is, the careful way says it well
            return None
        raw = request.parameters is not None
        return WideRequest(lane, lane.encoder(request.id, raw=raw))

    def open(
        self,
        inputs: Mapping[str, Array],
        outputs: Sequence[Array],
        model: tuple[str, str],
        samples: int,
    ) -> None:
        """Add a lane for requests like one that was answered."""
        lane = WideLane(inputs, outputs, self._signature, model, samples)
        self._lanes.add(inputs, lane)


def _field(spec: TensorSpec, array: Array) -> Field:
    dtype = NUMPY_TYPES[spec.datatype]
    return Field(spec.name, spec.datatype, array.shape, dtype, array.nbytes)
