"""Preprocess steps: array to array, pure; and the last fitting of the array to the model."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from edge_components.contract.package import TensorSpec
from edge_components.contract.pipeline import (
    Cast,
    Crop,
    Grayscale,
    Letterbox,
    Normalize,
    PreprocessStep,
    Reshape,
    Resize,
    Scale,
    Transpose,
)
from edge_components.golden import Array
from edge_components.pipeline import images
from edge_components.pipeline.errors import PipelineError
from edge_components.runtime.oip.datatypes import NUMPY_TYPES


def preprocess(array: Array, steps: Iterable[PreprocessStep]) -> Array:
    """Apply the steps in order.

    Raises:
        PipelineError: A step does not fit the array; with the step and the shape.
    """
    for step in steps:
        try:
            array = apply_step(array, step)
        except PipelineError:
            raise
        except (ValueError, TypeError, OverflowError) as exc:
            name = type(step).__name__.lower()
            raise PipelineError(
                f"step '{name}' does not fit an array of shape {list(array.shape)}: {exc}"
            ) from exc
    return array


def apply_step(array: Array, step: PreprocessStep) -> Array:
    """Apply one step; errors are numpy's own."""
    match step:
        case Resize():
            result = images.resize(array, step.size, step.method)
        case Crop():
            result = images.crop(array, step)
        case Letterbox():
            result = images.letterbox(array, step)
        case Grayscale():
            result = images.grayscale(array)
        case Scale():
            factor, offset = np.float32(step.factor), np.float32(step.offset)
            result = array.astype(np.float32) * factor + offset
        case Normalize():
            result = _normalize(array, step)
        case Transpose():
            result = np.transpose(array, step.axes)
        case Reshape():
            result = array.reshape(step.shape)
        case Cast():
            result = _cast(array, step)
        case _:
            raise PipelineError(f"'{type(step).__name__.lower()}' is no step for an array")
    return result


def fit_to_input(value: Array | str, spec: TensorSpec) -> Array:
    """Give an array the model's datatype, and a batch axis where it lacks one.

    Text is an array of one string, for a model that takes strings.

    Raises:
        PipelineError: The array does not have the input's shape.
    """
    if isinstance(value, str) and spec.datatype != "BYTES":
        raise PipelineError(
            f"the reading is a text, the model expects {spec.datatype} {list(spec.shape)} "
            f"for input '{spec.name}'"
        )
    array = np.array([value], dtype=np.object_) if isinstance(value, str) else value
    if array.ndim == len(spec.shape) - 1:
        array = array[np.newaxis]
    fits = array.ndim == len(spec.shape) and all(
        want in {-1, have} for have, want in zip(array.shape, spec.shape, strict=True)
    )
    if not fits:
        raise PipelineError(
            f"the array for input '{spec.name}' has shape {list(array.shape)}, "
            f"the model expects {list(spec.shape)}"
        )
    wanted = NUMPY_TYPES[spec.datatype]
    if array.dtype != wanted:
        if spec.datatype in {"BYTES", "BF16"} or not _may_become(array.dtype, wanted):
            raise PipelineError(
                f"the array for input '{spec.name}' is {array.dtype}, "
                f"the model expects {spec.datatype}; a cast step says how"
            )
        array = array.astype(wanted)
    return np.ascontiguousarray(array)


def _may_become(have: np.dtype[np.generic], wanted: np.dtype[np.generic]) -> bool:
    if have.kind in "iub" and wanted.kind == "f":
        return True
    return np.can_cast(have, wanted, casting="same_kind")


def _normalize(array: Array, step: Normalize) -> Array:
    for values in (step.mean, step.std):
        if len(values) != 1 and (not array.ndim or len(values) != array.shape[-1]):
            raise PipelineError(
                f"normalize has {len(values)} values for a last axis in {list(array.shape)}"
            )
    if any(not math.isfinite(value) or value == 0 for value in step.std):
        raise PipelineError("normalize has a std of 0")
    mean = np.array(step.mean, dtype=np.float32)
    return (array.astype(np.float32) - mean) / np.array(step.std, dtype=np.float32)


def _cast(array: Array, step: Cast) -> Array:
    if step.datatype not in NUMPY_TYPES or step.datatype in {"BYTES", "BF16"}:
        raise PipelineError(f"cast to '{step.datatype[:40]}' is not known")
    with np.errstate(invalid="ignore", over="ignore"):
        return array.astype(NUMPY_TYPES[step.datatype])
