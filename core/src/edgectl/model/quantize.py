"""Turn a model into int8, with the same bytes each time; runs in the worker.

Choices, and why: static int8 is QDQ with unsigned activations and signed weights of 7 bits
(``reduce_range``), because x86 processors without VNNI saturate on 8 bits, and then a device
would not agree with the machine that measured the variant. Weights are quantised per channel.
Softmax, Sigmoid and normalisations stay in float: they cost little time and much accuracy.
Source: ONNX Runtime, "Quantize ONNX models".
"""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto, TensorProto
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry
from onnxruntime.quantization.shape_inference import quant_pre_process

from edgectl.errors import ModelError
from edgectl.model.onnxfile import walk_tensors
from edgectl.model.ranges import measure_ranges, read_samples, round_ranges
from edgectl.model.storing import store_variant

MIN_STATIC_OPSET = 13
_KEEP_FLOAT = frozenset(
    {
        "ArgMax",
        "BatchNormalization",
        "InstanceNormalization",
        "LayerNormalization",
        "Sigmoid",
        "Softmax",
    }
)
_DYNAMIC_OPS = ["Attention", "Gather", "LSTM", "MatMul"]
_INTEGERS = frozenset({TensorProto.INT8, TensorProto.UINT8})


def quantize_dynamic_int8(*, model: str, output: str, external: bool) -> None:
    """Write the model with int8 matrix products whose ranges are measured at run time.

    Raises:
        ModelError: There is nothing in the model that this can quantise.
    """
    with tempfile.TemporaryDirectory(prefix="edgectl-int8-") as folder:
        prepared = _prepare(model, Path(folder), external=external)
        target = Path(folder) / "int8.onnx"
        quantize_dynamic(
            prepared,
            target,
            op_types_to_quantize=_DYNAMIC_OPS,
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=external,
        )
        quantized = onnx.load(target)
    _check_quantized(quantized, "give a calibration set, then convolutions are quantised as well")
    store_variant(quantized, Path(output), external=external)


def quantize_static_int8(
    *, model: str, output: str, external: bool, samples: dict[str, Any]
) -> None:
    """Write the model in QDQ form with ranges measured on calibration inputs.

    Args:
        model: The original.
        output: Where the variant goes.
        external: Keep weights in a data file beside it.
        samples: The calibration inputs.

    Raises:
        ModelError: The opset is too old, or there is nothing to quantise.
    """
    operators = sorted({*QDQRegistry, *QLinearOpsRegistry} - _KEEP_FLOAT)
    with tempfile.TemporaryDirectory(prefix="edgectl-int8-") as folder:
        prepared = _prepare(model, Path(folder), external=external)
        loaded = onnx.load(prepared)
        _check_opset(loaded)
        flatten_biases(loaded)
        measured = measure_ranges(
            prepared, Path(folder), read_samples(samples), external=external, operators=operators
        )
        # The class below `quantize_static`, which would walk over a set of operators and measure
        # with many threads.
        quantizer = QDQQuantizer(
            loaded,
            True,
            True,
            QuantType.QInt8,
            QuantType.QUInt8,
            round_ranges(measured),
            [],
            [],
            operators,
            {},
        )
        quantizer.quantize_model()
        quantized = quantizer.model.model
    _check_quantized(quantized, "the model has no convolutions or matrix products with weights")
    store_variant(quantized, Path(output), external=external)


def flatten_biases(model: ModelProto) -> None:
    """Give every Gemm bias of shape [1, n] the shape [n], which means the same.

    ONNX Runtime 1.31 takes a row for a number where it fits the weights of such a bias.
    """
    rows = {
        tensor.name: tensor
        for tensor in model.graph.initializer
        if len(tensor.dims) == 2 and tensor.dims[0] == 1
    }
    used = Counter(name for node in model.graph.node for name in node.input)
    for node in model.graph.node:
        bias = rows.get(node.input[2]) if node.op_type == "Gemm" and len(node.input) > 2 else None
        if bias is not None and used[bias.name] == 1:
            del bias.dims[0]


def _prepare(model: str, folder: Path, *, external: bool) -> Path:
    """Fold and fuse what the quantiser would otherwise quantise in pieces; infer all shapes."""
    prepared = folder / "prepared.onnx"
    quant_pre_process(
        model,
        prepared,
        skip_symbolic_shape=True,
        save_as_external_data=external,
        all_tensors_to_one_file=external,
        external_data_location="prepared.data" if external else None,
    )
    return prepared


def _check_opset(model: ModelProto) -> None:
    opset = next((o.version for o in model.opset_import if o.domain in {"", "ai.onnx"}), 0)
    if opset < MIN_STATIC_OPSET:
        raise ModelError(
            f"int8 needs opset {MIN_STATIC_OPSET} or later, the model has {opset}",
            hint="export the model with a newer opset",
        )


def _check_quantized(model: ModelProto, why: str) -> None:
    if not any(t.data_type in _INTEGERS and math.prod(t.dims) > 1 for t in walk_tensors(model)):
        raise ModelError("no weight of the model became int8", hint=why)
