"""How far a model's answers lie from the original's.

Errors are those of float outputs; whole numbers, flags and text agree or do not. NaN counts as an
infinite error unless both have it. The relative error is taken against the
original's value, and against a thousandth of the output's largest value where that is more:
else a probability of 1e-12 would decide.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgectl.errors import ModelError
from edgectl.model.runtime import Arrays
from edgectl.records import Record

_FLOOR = 1e-3


class Parity(Record, frozen=True, kw_only=True):
    """What was measured.

    Attributes:
        label_agreement: Share of samples whose class is the same; None where there are none.
        agreement: What a device's golden check will find: the least over all outputs of the
            share of equal arg-maxes over the last axis (floats) or equal elements (others); None
            where no output has either.
        accuracy: Share of the candidate's right answers; None without labels.
        output: The output with the largest absolute error.
        scale: The largest absolute value of the original's float outputs.
    """

    max_abs_error: float
    max_rel_error: float
    label_agreement: float | None = None
    agreement: float | None = None
    accuracy: float | None = None
    output: str = ""
    scale: float = 0.0


def compare(
    reference: Arrays,
    candidate: Arrays,
    labels: np.ndarray[Any, np.dtype[Any]] | None = None,
) -> Parity:
    """Compare outputs by name; ``reference`` gives the order of outputs.

    Raises:
        ModelError: An output is missing or has another shape.
    """
    worst, absolute, relative, scale = "", -1.0, 0.0, 0.0
    agreements: list[float | None] = []
    for name, expected in reference.items():
        found = candidate.get(name)
        if found is None or found.shape != expected.shape:
            shape = "none" if found is None else str(list(found.shape))
            raise ModelError(
                f"the output '{name}' has the shape {shape}, expected {list(expected.shape)}"
            )
        agreements.append(_output_agreement(expected, found))
        if expected.dtype.kind != "f":
            continue
        error, ratio, largest = _errors(expected, found)
        relative, scale = max(relative, ratio), max(scale, largest)
        if error > absolute:
            worst, absolute = name, error
    return Parity(
        max_abs_error=max(absolute, 0.0),
        max_rel_error=relative,
        label_agreement=_agreement(classes(reference), classes(candidate)),
        agreement=min((share for share in agreements if share is not None), default=None),
        accuracy=accuracy(candidate, labels),
        output=worst,
        scale=scale,
    )


def classes(outputs: Arrays) -> np.ndarray[Any, np.dtype[Any]] | None:
    """Return the class of each sample, or None where the model is no classifier.

    An integer output of one number a sample is the class; else it is the arg-max of the first
    float output, if that has one row of two or more scores for each sample.
    """
    for array in outputs.values():
        if array.dtype.kind in "iu" and (array.ndim == 1 or array.shape[1:] == (1,)):
            return array.reshape(-1)
    for array in outputs.values():
        if array.dtype.kind == "f":
            if array.ndim != 2 or array.shape[1] < 2:
                return None
            return np.asarray(np.argmax(np.nan_to_num(array, nan=-np.inf), axis=1))
    return None


def accuracy(outputs: Arrays, labels: np.ndarray[Any, np.dtype[Any]] | None) -> float | None:
    """Return the share of right classes, or None without labels or classes."""
    return None if labels is None else _agreement(labels.reshape(-1), classes(outputs))


def _agreement(
    expected: np.ndarray[Any, np.dtype[Any]] | None,
    found: np.ndarray[Any, np.dtype[Any]] | None,
) -> float | None:
    if expected is None or found is None or expected.shape != found.shape or not expected.size:
        return None
    return float(np.mean(expected == found))


def _output_agreement(
    expected: np.ndarray[Any, np.dtype[Any]], found: np.ndarray[Any, np.dtype[Any]]
) -> float | None:
    if expected.dtype.kind != "f":
        return _agreement(expected, found)
    if expected.ndim < 2 or expected.shape[-1] < 2:
        return None
    a, b = (np.argmax(np.nan_to_num(array), axis=-1) for array in (expected, found))
    same = (a == b) & ~np.isnan(found).any(axis=-1)
    return float(np.mean(same)) if same.size else None


def _errors(
    expected: np.ndarray[Any, np.dtype[Any]], found: np.ndarray[Any, np.dtype[Any]]
) -> tuple[float, float, float]:
    """Return the largest absolute and relative error, and the largest expected value."""
    if not expected.size:
        return 0.0, 0.0, 0.0
    a, b = expected.astype(np.float64), found.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.where(same, 0.0, np.abs(a - b))
    difference = np.where(np.isnan(difference), np.inf, difference)
    finite = np.abs(a[np.isfinite(a)])
    largest = float(finite.max()) if finite.size else 0.0
    floor = np.maximum(np.where(np.isfinite(a), np.abs(a), 0.0), _FLOOR * largest)
    with np.errstate(divide="ignore", over="ignore"):
        ratio = np.divide(
            difference, floor, out=np.where(same, 0.0, np.inf), where=(floor > 0) & ~same
        )
    return float(difference.max()), float(ratio.max()), largest
