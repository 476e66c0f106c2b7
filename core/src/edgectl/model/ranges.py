"""The least and the largest value of each tensor inside a model, measured on samples.

One thread, so that sums keep their order. Calibrated ranges are rounded outwards to four digits,
so that another processor's last bit does not change a quantised file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader
from onnxruntime.quantization.calibrate import CalibrationMethod, MinMaxCalibrater, TensorsData

from edge_components.contract.package import TensorSpec
from edgectl.model.batching import divide
from edgectl.model.npz import read_npz
from edgectl.model.runtime import Arrays, session_options
from edgectl.records import Record

_ROWS_PER_RUN = 32
_DIGITS = 4


class Samples(Record, frozen=True, kw_only=True):
    """What to run a model on.

    Attributes:
        archive: Arrays ``input.<tensor>``, one for each input.
    """

    archive: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def runs(self) -> Iterator[Arrays]:
        """Yield inputs for one run after the other."""
        arrays = {k.removeprefix("input."): a for k, a in read_npz(Path(self.archive)).items()}
        return divide(self.inputs, self.outputs, arrays).runs(arrays, max_rows=_ROWS_PER_RUN)


def read_samples(plain: dict[str, Any]) -> Samples:
    """Return the samples that another process wrote as plain data."""
    return msgspec.convert(plain, Samples)


def measure_ranges(
    model: Path,
    folder: Path,
    samples: Samples,
    *,
    external: bool,
    operators: list[str] | None = None,
) -> TensorsData:
    """Measure the float tensors of a model.

    Args:
        model: The model; files are written beside it.
        folder: Where the model with its tensors laid open goes.
        samples: What to run it on.
        external: Keep weights in a data file.
        operators: Only tensors of these operators; None for all.
    """
    calibrater = _OneThread(
        model, operators, str(folder / "augmented.onnx"), use_external_data_format=external
    )
    calibrater.augment_graph()
    calibrater.create_inference_session()
    calibrater.collect_data(_Reader(samples))
    return calibrater.compute_data()


def round_ranges(measured: TensorsData) -> TensorsData:
    """Round every range outwards."""
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


def round_out(bound: np.ndarray[Any, Any], *, up: bool) -> np.ndarray[Any, Any]:
    """Round one bound to four digits, away from the range's middle."""
    value = float(bound.item())
    if value == 0.0 or not math.isfinite(value):
        return bound
    step = 10.0 ** (math.floor(math.log10(abs(value))) - _DIGITS + 1)
    rounded = (math.ceil if up else math.floor)(value / step) * step
    return np.full(bound.shape, rounded, dtype=bound.dtype)


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Feeds samples to the calibrater, a few a run."""

    def __init__(self, samples: Samples) -> None:
        self._runs = samples.runs()

    def get_next(self) -> Arrays | None:
        return next(self._runs, None)


class _OneThread(MinMaxCalibrater):  # type: ignore[misc]  # onnxruntime has no types
    def create_inference_session(self) -> None:
        self.infer_session = onnxruntime.InferenceSession(
            self.augmented_model_path,
            sess_options=session_options(optimize=False),
            providers=["CPUExecutionProvider"],
        )
