"""How long one run of a loaded model takes, on a sample of its golden set or on zeros."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge_components.golden import GoldenError, read_golden
from edge_components.runtime.model import Model, ModelError
from edge_components.runtime.oip.datatypes import NUMPY_TYPES, Array

_WARM_SHARE = 0.1
_MIN_RUNS = 3
_SHORT_S = 0.25
_MAX_RUNS = 1_000_000


def sample_of(model: Model, golden: Path | None) -> dict[str, Array]:
    """Return one input for the model: the golden set's first sample, or zeros.

    A batch axis that may vary is 1 long; any other size that may vary is the golden set's, else 1.
    """
    found: dict[str, Array] = {}
    if golden is not None:
        try:
            inputs = read_golden(golden).inputs
        except (GoldenError, OSError):
            inputs = {}
        for spec in model.inputs:
            array = inputs.get(spec.name)
            wanted = NUMPY_TYPES[spec.datatype]
            if array is None or array.dtype != wanted or array.ndim != len(spec.shape):
                continue
            count = spec.shape[0] if spec.shape and spec.shape[0] > 0 else 1
            found[spec.name] = array[:count] if spec.shape else array
    return found if len(found) == len(model.inputs) else zeros_for(model)


def zeros_for(model: Model) -> dict[str, Array]:
    """Return zeros (or empty texts) of the model's input shapes, varying sizes as 1."""
    found: dict[str, Array] = {}
    for spec in model.inputs:
        shape = tuple(1 if dim < 0 else dim for dim in spec.shape)
        if spec.datatype == "BYTES":
            found[spec.name] = np.full(shape, "", dtype=np.object_)
        else:
            found[spec.name] = np.zeros(shape, dtype=NUMPY_TYPES[spec.datatype])
    return found


def time_runs(model: Model, feeds: dict[str, Array], seconds: float) -> list[float]:
    """Run the model for so long, after a warm-up of a tenth of it; return each run's seconds.

    Raises:
        ModelError: The model fails on the input.
    """
    _until(model, feeds, seconds * _WARM_SHARE)
    return _until(model, feeds, seconds)


def median_s(model: Model, golden: Path | None) -> float:
    """Return the median of a quarter of a second of runs, infinity where the model fails."""
    try:
        return quantile(time_runs(model, sample_of(model, golden), _SHORT_S), 0.5)
    except ModelError:
        return math.inf


def quantile(times: Sequence[float], share: float) -> float:
    """Return the value that so great a share of the times does not exceed."""
    return sorted(times)[max(0, math.ceil(len(times) * share) - 1)]


def _until(model: Model, feeds: dict[str, Array], seconds: float) -> list[float]:
    clock = time.perf_counter
    times: list[float] = []
    before = clock()
    end = before + seconds
    while len(times) < _MIN_RUNS or (before < end and len(times) < _MAX_RUNS):
        model.run(feeds)
        now = clock()
        times.append(now - before)
        before = now
    return times
