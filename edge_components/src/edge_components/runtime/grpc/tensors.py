"""A ``ModelInferRequest`` to an ``InferRequest``, an ``InferResponse`` to a ``ModelInferResponse``.

Tensors come raw for all inputs or typed for all; the answer has the form of the request. FP16 and
BF16 have no typed form, so an answer with one of them is raw throughout, as the protocol wants it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from edge_components.runtime.grpc.schema import MESSAGES
from edge_components.runtime.oip.binary import array_from_bytes, array_to_bytes, text_element
from edge_components.runtime.oip.datatypes import NUMPY_TYPES, Array
from edge_components.runtime.oip.decode import (
    ModelSignature,
    OutputOrder,
    check_counts,
    refuse_shared_memory,
    requested_outputs,
)
from edge_components.runtime.oip.messages import (
    DecodeLimits,
    InferRequest,
    InferResponse,
    Parameter,
    ProtocolError,
)
from edge_components.runtime.oip.validate import check_complete, check_input

_FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_Response = MESSAGES["ModelInferResponse"]


def decode_message(request: Any, signature: ModelSignature, limits: DecodeLimits) -> InferRequest:
    """Decode a ``ModelInferRequest``.

    Raises:
        ProtocolError: With a message for the client.
    """
    given, raws = request.inputs, request.raw_input_contents
    check_counts(len(given) + len(request.outputs), request.id, limits)
    if raws and len(raws) != len(given):
        raise ProtocolError(f"{len(raws)} raw contents for {len(given)} inputs")
    inputs: dict[str, Array] = {}
    for index, item in enumerate(given):
        name = item.name
        shape = check_input(signature.inputs, name, item.datatype, item.shape, limits)
        if name in inputs:
            raise ProtocolError(f"input '{name}' is given twice")
        if item.parameters:
            refuse_shared_memory(name, _parameters(item.parameters))
        if not raws:
            inputs[name] = _typed(item, shape)
        elif item.HasField("contents"):
            raise ProtocolError(f"input '{name}' has both raw and typed contents")
        else:
            inputs[name] = array_from_bytes(name, item.datatype, shape, raws[index])
    if len(inputs) != len(signature.inputs):
        check_complete(dict(inputs), signature.inputs)
    raw = bool(raws) or not given
    orders = [OutputOrder(item.name, _parameters(item.parameters)) for item in request.outputs]
    return InferRequest(
        inputs=inputs,
        outputs=requested_outputs(orders, raw, signature) if orders else None,
        binary_outputs=raw,
        id=request.id or None,
    )


def encode_message(response: InferResponse) -> Any:
    """Return the ``ModelInferResponse``."""
    message = _Response(
        model_name=response.model_name, model_version=response.model_version, id=response.id or ""
    )
    raw = any(response.binary or ()) or any(spec.datatype not in _FIELDS for spec in response.specs)
    for spec, array in zip(response.specs, response.arrays, strict=True):
        output = message.outputs.add(name=spec.name, datatype=spec.datatype, shape=array.shape)
        if raw:
            message.raw_output_contents.append(bytes(array_to_bytes(spec.datatype, array)))
        else:
            getattr(output.contents, _FIELDS[spec.datatype]).extend(_values(spec.datatype, array))
    return message


def _typed(item: Any, shape: tuple[int, ...]) -> Array:
    name, datatype = item.name, item.datatype
    field = _FIELDS.get(datatype)
    if field is None:
        raise ProtocolError(f"input '{name}' is {datatype}, which has to come as raw contents")
    values = getattr(item.contents, field)
    if len(values) != math.prod(shape):
        raise ProtocolError(
            f"input '{name}' has {len(values)} values in {field}, "
            f"shape {list(shape)} needs {math.prod(shape)}"
        )
    if datatype == "BYTES":
        texts = [text_element(name, value) for value in values]
        return np.array(texts, dtype=np.object_).reshape(shape)
    try:
        return np.array(values, dtype=NUMPY_TYPES[datatype]).reshape(shape)
    except OverflowError as exc:
        raise ProtocolError(f"input '{name}' has a number that {datatype} cannot hold") from exc


def _values(datatype: str, array: Array) -> Any:
    if datatype != "BYTES":
        return array.ravel().tolist()
    return [item if isinstance(item, bytes) else str(item).encode() for item in array.ravel()]


def _parameters(given: Mapping[str, Any]) -> dict[str, Parameter]:
    found = {}
    for name, value in given.items():
        choice = value.WhichOneof("parameter_choice")
        if choice is not None:
            found[name] = getattr(value, choice)
    return found
