"""Lanes: what is kept for requests of one form, that is of the same names, types and shapes.

A lane is opened after a few requests of its form, and takes a request only if all about it is as
it was before. The careful way (``work``) answers everything else, and says what is wrong; the
bytes of both ways are the same, so what lanes write is written here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import orjson

from edge_components.contract.package import TensorSpec
from edge_components.runtime.oip.datatypes import Array
from edge_components.runtime.oip.decode import FloatInput, WireInput

MAX_ID_CHARS = 256
FLOATS = {"FP32": "f", "FP64": "d"}
_SMALL = {"INT8": "b", "UINT8": "B", "INT16": "h", "UINT16": "H"}
_LARGE = {"INT32": "i", "UINT32": "I", "INT64": "q", "UINT64": "Q"}
# What struct packs and checks, and what orjson writes as it is.
CODES = FLOATS | _SMALL | _LARGE
_RAW = {"binary_data_output": True}
_LANES = 16
_OPEN_AFTER = 3
_SEEN = 64
_NUMPY = orjson.OPT_SERIALIZE_NUMPY
_Key = tuple[Any, ...]
L = TypeVar("L")


class Lanes(Generic[L]):
    """The lanes of one kind that a loaded model has; the oldest gives way.

    Args:
        specs: All inputs and outputs of the model.
    """

    def __init__(self, specs: Iterable[TensorSpec]) -> None:
        self._possible = sys.byteorder == "little" and all(s.datatype in CODES for s in specs)
        self._lanes: dict[_Key, L] = {}
        self._seen: dict[_Key, int] = {}

    def __bool__(self) -> bool:
        return bool(self._lanes)

    def find(self, given: Sequence[WireInput | FloatInput]) -> L | None:
        """Return the lane for inputs of these names and shapes, if there is one."""
        if len(given) == 1:
            return self._lanes.get(given[0].shape)
        return self._lanes.get(tuple([(item.name, item.shape) for item in given]))

    def find_named(self, given: list[tuple[str, tuple[int, ...]]]) -> L | None:
        """Return the lane for names and shapes, if there is one."""
        return self._lanes.get(given[0][1] if len(given) == 1 else tuple(given))

    def wants(self, inputs: Mapping[str, Array]) -> bool:
        """Count a request that went the careful way; say whether it is time for a lane."""
        if not self._possible:
            return False
        key = _key_of(inputs)
        if len(self._seen) >= _SEEN:
            self._seen.clear()
        seen = self._seen[key] = self._seen.get(key, 0) + 1
        return seen == _OPEN_AFTER and key not in self._lanes

    def add(self, inputs: Mapping[str, Array], lane: L) -> None:
        """Add a lane for requests with inputs like these."""
        if len(self._lanes) >= _LANES:
            del self._lanes[next(iter(self._lanes))]
        self._lanes[_key_of(inputs)] = lane

    def close(self) -> None:
        """Have no lane any more."""
        self._lanes.clear()
        self._possible = False


def only_says_raw(parameters: Mapping[str, Any] | None) -> bool:
    """Whether a request's parameters say nothing but that outputs may be raw."""
    return parameters is None or parameters == _RAW


class AnswerTemplate:
    """An answer of which only the numbers and the id are written anew.

    Args:
        specs: Of the outputs.
        arrays: Outputs of the shapes that the answers have.
        model: The model's name and version.
    """

    def __init__(
        self, specs: Sequence[TensorSpec], arrays: Sequence[Array], model: tuple[str, str]
    ) -> None:
        self.shapes = [array.shape for array in arrays]
        self._starts = _starts(specs, arrays, model)
        self._head = _binary_head(specs, arrays, model)

    def text(self, flat: Sequence[Array], request_id: str | None) -> bytes:
        """Return the answer as JSON; the arrays have one axis."""
        end = b"}]}" if request_id is None else b'}],"id":%b}' % orjson.dumps(request_id)
        texts = [
            start + orjson.dumps(array, option=_NUMPY)
            for start, array in zip(self._starts, flat, strict=True)
        ]
        return b"".join((*texts, end))

    def head(self, request_id: str | None) -> bytes:
        """Return the JSON of an answer that raw tensors follow."""
        end = b"}" if request_id is None else b',"id":%b}' % orjson.dumps(request_id)
        return self._head + end


def _key_of(inputs: Mapping[str, Array]) -> _Key:
    if len(inputs) == 1:
        return next(iter(inputs.values())).shape
    return tuple((name, array.shape) for name, array in inputs.items())


def _opening(model: tuple[str, str]) -> bytes:
    name, version = orjson.dumps(model[0]), orjson.dumps(model[1])
    return b'{"model_name":%b,"model_version":%b,"outputs":[' % (name, version)


def _described(spec: TensorSpec, array: Array) -> bytes:
    fields = {"name": spec.name, "datatype": spec.datatype, "shape": array.shape}
    return orjson.dumps(fields)[:-1]


def _starts(
    specs: Sequence[TensorSpec], arrays: Sequence[Array], model: tuple[str, str]
) -> list[bytes]:
    """Return what stands before the numbers of each output."""
    before = [_opening(model)] + [b"},"] * (len(specs) - 1)
    return [
        b'%b%b,"data":' % (start, _described(spec, array))
        for start, spec, array in zip(before, specs, arrays, strict=True)
    ]


def _binary_head(
    specs: Sequence[TensorSpec], arrays: Sequence[Array], model: tuple[str, str]
) -> bytes:
    outputs = [
        b'%b,"parameters":{"binary_data_size":%d}}' % (_described(spec, array), array.nbytes)
        for spec, array in zip(specs, arrays, strict=True)
    ]
    return _opening(model) + b",".join(outputs) + b"]"
