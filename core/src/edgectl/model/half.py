"""Turn a model into half precision; runs in the worker.

Inputs and outputs keep their types, so clients do not change. ONNX Runtime's CPU computes such a
model in float32 and would not show what overflows on a GPU; so the original's values between
operators have to fit first.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto
from onnxruntime.transformers.float16 import convert_float_to_float16

from edgectl.errors import ModelError
from edgectl.model.onnxfile import walk_tensors
from edgectl.model.ranges import measure_ranges, read_samples
from edgectl.model.storing import is_big, store_variant, write_model

MAX_HALF = 65504.0


def convert_fp16(*, model: str, output: str, external: bool, samples: dict[str, Any]) -> None:
    """Write the model with half-precision weights.

    Args:
        model: The original.
        output: Where the variant goes.
        external: Keep weights in a data file beside it.
        samples: Inputs on which every value has to stay within half precision.

    Raises:
        ModelError: A weight, or a value on the samples, is beyond half precision.
    """
    with tempfile.TemporaryDirectory(prefix="edgectl-fp16-") as folder:
        copy = Path(folder) / "original.onnx"
        write_model(onnx.load(model), copy, external=external)
        measured = measure_ranges(copy, Path(folder), read_samples(samples), external=external)
    loaded = onnx.load(model)
    largest = _largest_weights(loaded) | {
        name: max(abs(float(bound.item())) for bound in data.range_value)
        for name, data in measured.items()
    }
    for name in sorted(largest):
        if largest[name] > MAX_HALF:
            raise ModelError(
                f"'{name}' reaches {largest[name]:.3g}, half precision ends at {MAX_HALF:g}",
                hint="leave the fp16 variant out, or scale the model's values",
            )
    converted = convert_float_to_float16(
        loaded, keep_io_types=True, disable_shape_infer=is_big(loaded)
    )
    store_variant(converted, Path(output), external=external)


def _largest_weights(model: ModelProto) -> dict[str, float]:
    return {
        tensor.name: float(np.abs(onnx.numpy_helper.to_array(tensor)).max())
        for tensor in walk_tensors(model)
        if tensor.data_type == TensorProto.FLOAT and math.prod(tensor.dims)
    }
