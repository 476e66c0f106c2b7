"""A REST request's body to an ``InferRequest``.

The JSON part is decoded into typed records with the tensor data left as raw text, which is then
decoded for the datatype it says. With the binary extension the JSON ends at
``Inference-Header-Content-Length`` and the tensors follow in the order of the inputs.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

import msgspec

from edge_components.contract.package import TensorSpec
from edge_components.runtime.oip.binary import array_from_bytes
from edge_components.runtime.oip.datatypes import Array
from edge_components.runtime.oip.messages import (
    DecodeLimits,
    InferRequest,
    Parameter,
    ProtocolError,
    RequestedOutput,
)
from edge_components.runtime.oip.validate import check_complete, check_input, unknown_output
from edge_components.runtime.oip.values import array_from_json, flat_reader

_Parameters = dict[str, Parameter] | None
_NOTHING = memoryview(b"")
_MAX_READERS = 64
_SHARED_MEMORY = "shared_memory_region"


class WireInput(msgspec.Struct, gc=False):
    """An input as it is written in a request; ``data`` is JSON text, empty where it is missing."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    data: msgspec.Raw = msgspec.Raw()
    parameters: _Parameters = None


class OutputOrder(msgspec.Struct, gc=False):
    """An output that a request names, as it names it."""

    name: str
    parameters: _Parameters = None


class WireRequest(msgspec.Struct, gc=False):
    """A request as it is written."""

    inputs: list[WireInput]
    id: str | None = None
    parameters: _Parameters = None
    outputs: list[OutputOrder] | None = None


class FloatInput(msgspec.Struct, gc=False):
    """An input as it is written in a request, its data read as a flat list of floats."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    data: list[float] = []
    parameters: _Parameters = None


class FloatRequest(msgspec.Struct, gc=False):
    """A request as it is written, if all its inputs are of floats."""

    inputs: list[FloatInput]
    id: str | None = None
    parameters: _Parameters = None
    outputs: list[OutputOrder] | None = None


DECODER = msgspec.json.Decoder(WireRequest)
FLOAT_DECODER = msgspec.json.Decoder(FloatRequest)

_Reader = Callable[[msgspec.Raw], Array]


class ModelSignature(msgspec.Struct, frozen=True):
    """The model's inputs and outputs by name, in the model's order.

    ``readers`` remembers, for names, types and shapes that have passed the checks, how to read
    them quickly; it is emptied when full.
    """

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    readers: dict[tuple[str, str, tuple[int, ...]], _Reader] = {}


def decode_request(
    body: bytes | memoryview,
    header_length: int | None,
    signature: ModelSignature,
    limits: DecodeLimits,
) -> InferRequest:
    """Decode a body that is JSON, or JSON followed by raw tensors.

    Args:
        body: The whole body.
        header_length: Bytes of JSON at its beginning where the client sent
            ``Inference-Header-Content-Length``, else None.
        signature: The model's inputs and outputs.
        limits: Bounds on what a request may contain.

    Raises:
        ProtocolError: With a message for the client.
    """
    rest = _NOTHING
    document = body
    if header_length is not None:
        if header_length > len(body):
            raise ProtocolError(
                f"Inference-Header-Content-Length is {header_length}, "
                f"the body has {len(body)} bytes"
            )
        view = memoryview(body)
        document, rest = view[:header_length], view[header_length:]
    request = _parse(document)
    check_counts(len(request.inputs) + len(request.outputs or ()), request.id, limits)
    inputs: dict[str, Array] = {}
    for item in request.inputs:
        array = _read_quickly(item, signature)
        used = 0
        if array is None:
            array, used = _decode_input(item, rest, signature, limits)
        if item.name in inputs:
            raise ProtocolError(f"input '{item.name}' is given twice")
        inputs[item.name] = array
        if used:
            rest = rest[used:]
    if rest:
        raise ProtocolError(f"{len(rest)} bytes follow the last binary input")
    if len(inputs) != len(signature.inputs):
        check_complete(dict(inputs), signature.inputs)
    binary = (request.parameters or {}).get("binary_data_output") is True
    return InferRequest(
        inputs=inputs,
        outputs=requested_outputs(request.outputs, binary, signature) if request.outputs else None,
        binary_outputs=binary,
        id=request.id,
    )


def _parse(data: bytes | memoryview) -> WireRequest:
    try:
        return DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        reason = str(exc)[:300] if len(data) else "its JSON is empty"
        raise ProtocolError(f"the request is not valid: {reason}") from exc


def check_counts(tensors: int, request_id: str | None, limits: DecodeLimits) -> None:
    """Check how many tensors a request names, and how long its id is.

    Raises:
        ProtocolError: Too many or too long.
    """
    if tensors > limits.max_tensors:
        raise ProtocolError(f"{tensors} tensors in one request, at most {limits.max_tensors}")
    if request_id is not None and len(request_id) > limits.max_id_chars:
        raise ProtocolError(f"the id is longer than {limits.max_id_chars} characters")


def _read_quickly(item: WireInput, signature: ModelSignature) -> Array | None:
    if item.parameters is not None:
        return None
    reader = signature.readers.get((item.name, item.datatype, item.shape))
    if reader is None:
        return None
    try:
        return reader(item.data)
    except (ValueError, OverflowError, struct.error):
        return None  # not a flat list of that many numbers: the careful way says what it is


def _decode_input(
    item: WireInput, rest: memoryview, signature: ModelSignature, limits: DecodeLimits
) -> tuple[Array, int]:
    shape = check_input(signature.inputs, item.name, item.datatype, item.shape, limits)
    size = None
    if item.parameters:
        refuse_shared_memory(item.name, item.parameters)
        size = item.parameters.get("binary_data_size")
    if size is None:
        if not item.data:
            raise ProtocolError(f"input '{item.name}' has neither data nor binary_data_size")
        array = array_from_json(item.name, item.datatype, shape, memoryview(item.data))
        _remember_reader(item, shape, signature)
        return array, 0
    if item.data:
        raise ProtocolError(f"input '{item.name}' has both data and binary_data_size")
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= len(rest):
        raise ProtocolError(
            f"input '{item.name}' has binary_data_size {size!r}, {len(rest)} bytes are left"
        )
    return array_from_bytes(item.name, item.datatype, shape, rest[:size]), size


def refuse_shared_memory(name: str, parameters: Mapping[str, Parameter]) -> None:
    """Refuse an input that is somewhere else.

    Raises:
        ProtocolError: It is in shared memory.
    """
    if _SHARED_MEMORY in parameters:
        raise ProtocolError(f"input '{name}' is in shared memory, which is not supported")


def _remember_reader(item: WireInput, shape: tuple[int, ...], signature: ModelSignature) -> None:
    reader = flat_reader(item.datatype, shape)
    if reader is not None:
        if len(signature.readers) >= _MAX_READERS:
            signature.readers.clear()
        signature.readers[item.name, item.datatype, shape] = reader


def requested_outputs(
    outputs: list[OutputOrder], binary: bool, signature: ModelSignature
) -> list[RequestedOutput]:
    """Return what is asked for, raw where the request or the output says so.

    Raises:
        ProtocolError: An unknown output, one twice, or in a form that is not supported.
    """
    found: dict[str, RequestedOutput] = {}
    for item in outputs:
        if item.name not in signature.outputs:
            raise unknown_output(item.name, signature.outputs)
        if item.name in found:
            raise ProtocolError(f"output '{item.name}' is asked for twice")
        parameters = item.parameters or {}
        for unsupported in (_SHARED_MEMORY, "classification"):
            if parameters.get(unsupported):
                raise ProtocolError(f"output '{item.name}': {unsupported} is not supported")
        wanted = parameters.get("binary_data", binary) is True
        found[item.name] = RequestedOutput(item.name, wanted)
    return list(found.values())
