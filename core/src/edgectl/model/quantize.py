"""Turn a model into fp16 or int8, with the same bytes each time; runs in the worker.

Choices, and why: int8 is QDQ with unsigned activations and signed weights of 7 bits
(``reduce_range``), because x86 processors without VNNI saturate on 8 bits, and then a device
would not agree with the machine that measured the variant. Weights are quantised per channel.
Softmax, Sigmoid and normalisations stay in float: they cost little time and much accuracy.
Calibrated ranges are rounded outwards to four digits, so that another processor's last bit
does not change the file. Source: ONNX Runtime, "Quantize ONNX models".
"""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, TensorProto
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic
from onnxruntime.quantization.calibrate import CalibrationMethod, MinMaxCalibrater, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16

from edge_components.contract.package import TensorSpec
from edgectl.errors import ModelError
from edgectl.model.batching import divide
from edgectl.model.npz import read_npz
from edgectl.model.onnxfile import walk_tensors
from edgectl.model.runtime import Arrays, open_session, session_options

DATA_FILE = "model.onnx.data"
EXTERNAL_ABOVE_BYTES = 1 << 30
MIN_STATIC_OPSET = 13
_CALIBRATION_ROWS = 32
_RANGE_DIGITS = 4
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


def convert_fp16(model: str, output: str, external: bool) -> None:
    """Write the model with half-precision weights; inputs and outputs keep their types.

    Raises:
        ModelError: The result does not load.
    """
    loaded = onnx.load(model)
    converted = convert_float_to_float16(
        loaded, keep_io_types=True, disable_shape_infer=_is_big(loaded)
    )
    _save(converted, Path(output), external=external)


def quantize_dynamic_int8(model: str, output: str, external: bool) -> None:
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
    _save(quantized, Path(output), external=external)


def quantize_static_int8(
    *,
    model: str,
    output: str,
    external: bool,
    calibration: str,
    inputs: list[dict[str, Any]],
    outputs: list[dict[str, Any]],
) -> None:
    """Write the model in QDQ form with ranges measured on calibration inputs.

    Args:
        model: The original.
        output: Where the variant goes.
        external: Keep weights in a data file beside it.
        calibration: An archive of arrays ``input.<tensor>``, one for each input.
        inputs: The model's inputs.
        outputs: The model's outputs.

    Raises:
        ModelError: The opset is too old, or there is nothing to quantise.
    """
    operators = sorted({*QDQRegistry, *QLinearOpsRegistry} - _KEEP_FLOAT)
    specs = [msgspec.convert(group, list[TensorSpec]) for group in (inputs, outputs)]
    with tempfile.TemporaryDirectory(prefix="edgectl-int8-") as folder:
        prepared = _prepare(model, Path(folder), external=external)
        loaded = onnx.load(prepared)
        _check_opset(loaded)
        flatten_biases(loaded)
        arrays = {k.removeprefix("input."): a for k, a in read_npz(Path(calibration)).items()}
        reader = _Reader(arrays, *specs)
        ranges = _ranges(prepared, Path(folder), operators, reader, external=external)
        quantizer = QDQQuantizer(
            loaded,
            True,
            True,
            QuantType.QInt8,
            QuantType.QUInt8,
            ranges,
            [],
            [],
            operators,
            {},
        )
        quantizer.quantize_model()
        quantized = quantizer.model.model
    _check_quantized(quantized, "the model has no convolutions or matrix products with weights")
    _save(quantized, Path(output), external=external)


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Feeds calibration inputs, a few samples a run."""

    def __init__(self, arrays: Arrays, inputs: list[TensorSpec], outputs: list[TensorSpec]) -> None:
        self._runs: Iterator[Arrays] = divide(inputs, outputs, arrays).runs(
            arrays, max_rows=_CALIBRATION_ROWS
        )

    def get_next(self) -> Arrays | None:
        return next(self._runs, None)


class _OneThread(MinMaxCalibrater):  # type: ignore[misc]  # onnxruntime has no types
    """Measures ranges with one thread, so that sums keep their order."""

    def create_inference_session(self) -> None:
        self.infer_session = onnxruntime.InferenceSession(
            self.augmented_model_path,
            sess_options=session_options(optimize=False),
            providers=["CPUExecutionProvider"],
        )


def _ranges(
    model: Path, folder: Path, operators: list[str], reader: _Reader, *, external: bool
) -> Any:
    calibrater = _OneThread(
        model,
        operators,
        str(folder / "augmented.onnx"),
        use_external_data_format=external,
    )
    calibrater.augment_graph()
    calibrater.create_inference_session()
    calibrater.collect_data(reader)
    measured = calibrater.compute_data()
    return TensorsData(
        CalibrationMethod.MinMax,
        {
            name: tuple(
                round_out(np.asarray(bound), up=up)
                for bound, up in zip(data.range_value, (False, True), strict=True)
            )
            for name, data in measured.items()
        },
    )


def round_out(bound: np.ndarray, *, up: bool) -> np.ndarray:
    """Round to four digits, away from the range's middle."""
    value = float(bound.item())
    if value == 0.0 or not math.isfinite(value):
        return bound
    step = 10.0 ** (math.floor(math.log10(abs(value))) - _RANGE_DIGITS + 1)
    rounded = (math.ceil if up else math.floor)(value / step) * step
    return np.full(bound.shape, rounded, dtype=bound.dtype)


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


def _is_big(model: ModelProto) -> bool:
    return bool(model.ByteSize() > EXTERNAL_ABOVE_BYTES)


def _save(model: ModelProto, output: Path, *, external: bool) -> None:
    """Write the model and load it once, here where a crash is caught."""
    for name in (output.name, DATA_FILE):
        output.with_name(name).unlink(missing_ok=True)
    keep_outside = external or _is_big(model)
    onnx.save_model(
        model,
        output,
        save_as_external_data=keep_outside,
        all_tensors_to_one_file=True,
        location=DATA_FILE if keep_outside else None,
    )
    open_session(output, what="the variant")
