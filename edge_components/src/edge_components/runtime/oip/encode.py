"""An ``InferResponse`` to a REST body, encoded straight from the arrays.

orjson writes numpy arrays without a Python object per number and a float32 with the digits that
it has; NaN and the infinities, which JSON does not know, become null. Raw outputs follow the JSON
in the order of the outputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson

from edge_components.contract.package import TensorSpec
from edge_components.runtime.oip.binary import array_to_bytes
from edge_components.runtime.oip.datatypes import Array, bf16_to_float32
from edge_components.runtime.oip.messages import InferResponse

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY
Buffer = bytes | memoryview


def encode_response(response: InferResponse) -> tuple[list[Buffer], int | None]:
    """Return the body's parts, and the length of its JSON where raw tensors follow it."""
    tail: list[Buffer] = []
    outputs = []
    binary = response.binary
    for index, spec in enumerate(response.specs):
        array = response.arrays[index]
        output: dict[str, Any] = {
            "name": spec.name,
            "datatype": spec.datatype,
            "shape": array.shape,
        }
        if binary is not None and binary[index]:
            raw = array_to_bytes(spec.datatype, array)
            output["parameters"] = {"binary_data_size": len(raw)}
            tail.append(raw)
        else:
            output["data"] = _json_values(spec, array)
        outputs.append(output)
    document: dict[str, Any] = {
        "model_name": response.model_name,
        "model_version": response.model_version,
        "outputs": outputs,
    }
    if response.id is not None:
        document["id"] = response.id
    head = orjson.dumps(document, option=_OPTIONS)
    return ([head, *tail], len(head)) if binary is not None and tail else ([head], None)


def _json_values(spec: TensorSpec, array: Array) -> Any:
    if spec.datatype in {"FP32", "FP64", "INT64"} and array.flags.c_contiguous:
        return array.reshape(-1)
    if spec.datatype == "BYTES":
        return [
            item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)
            for item in array.ravel()
        ]
    if spec.datatype == "BF16":
        array = bf16_to_float32(array)
    elif spec.datatype == "FP16":
        array = array.astype(np.float32)
    return np.ascontiguousarray(array).reshape(-1)
