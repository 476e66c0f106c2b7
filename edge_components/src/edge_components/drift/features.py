"""What of a request is watched: a few plain numbers from each input and output.

An input tensor gives its elements, and each of its columns where it is a short row of features; a
row of scores gives its class and its confidence; any other output gives its elements. Sampling is
by stride, so that a picture costs no more than a short row.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np
import numpy.typing as npt

from edge_components.drift.measure import Values

Array = npt.NDArray[np.generic]

MAX_ROWS = 16
MAX_ELEMENTS = 256
MAX_COLUMNS = 16
MAX_TENSORS = 16


class Feature(msgspec.Struct, frozen=True):
    """Values of one thing that is watched.

    Attributes:
        name: For example ``input.x``, ``input.x[2]``, ``output.scores.class``.
        values: One dimension, float64.
        rows: How many samples of the model they come from.
        is_category: Whether values are names rather than sizes.
    """

    name: str
    values: Values
    rows: int
    is_category: bool = False


def features(
    inputs: Mapping[str, Array],
    outputs: Mapping[str, Array],
    *,
    max_rows: int = MAX_ROWS,
    max_elements: int = MAX_ELEMENTS,
) -> list[Feature]:
    """Return what is watched of one request, in arrays of its own.

    Text is left out, and so are 16-bit words, which may hold bfloat16.
    """
    found: list[Feature] = []
    for name, array in list(inputs.items())[:MAX_TENSORS]:
        if _is_watched(array):
            found += _of_input(f"input.{name}", array[:max_rows], max_elements)
    for name, array in list(outputs.items())[:MAX_TENSORS]:
        if _is_watched(array):
            found += _of_output(f"output.{name}", array[:max_rows], max_elements)
    return found


def _is_watched(array: Array) -> bool:
    return (
        array.dtype.kind in "biuf"
        and array.dtype != np.uint16
        and array.ndim > 0
        and array.size > 0
    )


def _of_input(name: str, array: Array, max_elements: int) -> list[Feature]:
    rows = array.shape[0]
    found = [Feature(name, _sampled(array, max_elements), rows)]
    width = array.size // rows
    if 1 < width <= MAX_COLUMNS:
        table = array.reshape(rows, width).astype(np.float64)
        found += [Feature(f"{name}[{i}]", table[:, i].copy(), rows) for i in range(width)]
    return found


def _of_output(name: str, array: Array, max_elements: int) -> list[Feature]:
    rows = array.shape[0]
    if array.dtype.kind != "f":
        return [Feature(name, _sampled(array, max_elements), rows, is_category=True)]
    if array.ndim == 2 and array.shape[1] > 1:
        scores = array.astype(np.float64)
        best = scores.argmax(axis=1)
        confidence = scores[np.arange(rows), best]
        return [
            Feature(f"{name}.class", best.astype(np.float64), rows, is_category=True),
            Feature(f"{name}.confidence", confidence, rows),
        ]
    return [Feature(name, _sampled(array, max_elements), rows)]


def _sampled(array: Array, max_elements: int) -> Values:
    flat = array.reshape(-1)
    return flat[:: -(-flat.size // max_elements)].astype(np.float64)
