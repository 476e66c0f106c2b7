"""Run a model over many samples and put the answers together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgectl.errors import ModelError
from edgectl.model.batching import divide
from edgectl.model.runtime import RUNTIME_ERRORS, Arrays, open_session, short_reason
from edgectl.model.signature import ModelSignature


def run_model(path: Path, signature: ModelSignature, inputs: Arrays) -> Arrays:
    """Run a model, or a variant of it, on all samples; outputs in the signature's order.

    Args:
        path: The ONNX file to run.
        signature: The original's signature.
        inputs: One array for each input.

    Raises:
        ModelError: The runtime cannot load or run it.
    """
    session = open_session(path, what=f"'{path.name}'")
    names = [spec.name for spec in signature.outputs]
    units = divide(signature.inputs, signature.outputs, inputs)
    parts: list[list[Any]] = []
    for feed in units.runs(inputs):
        try:
            parts.append(session.run(names, {name: _feed(a) for name, a in feed.items()}))
        except RUNTIME_ERRORS as exc:
            raise ModelError(
                f"the model does not run on the given inputs: {short_reason(exc)}",
                hint="give inputs as the model expects them, with model.golden",
            ) from exc
    return {name: _join(name, [part[i] for part in parts]) for i, name in enumerate(names)}


def _feed(array: np.ndarray[Any, np.dtype[Any]]) -> np.ndarray[Any, np.dtype[Any]]:
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "replace")
    return array.astype(object) if array.dtype.kind == "U" else array


def _join(name: str, parts: list[Any]) -> np.ndarray[Any, np.dtype[Any]]:
    arrays = [np.asarray(part) for part in parts]
    if any(array.dtype.kind == "O" for array in arrays):
        arrays = [array.astype(str) for array in arrays]
    if len(arrays) == 1:
        return arrays[0]
    try:
        return np.concatenate(arrays, axis=0)
    except ValueError as exc:
        raise ModelError(
            f"the output '{name}' does not have the same shape for all samples",
            hint="give one sample, or samples of one size",
        ) from exc
