"""Whether a model may run the requests of several clients at once, and whether that pays.

A batch axis in the signature is a hint and no proof: a model may mix its samples, and then the
answer to one client would depend on another's data. So a model is asked when it is loaded: samples
that it runs alone and together have to give the same answers, and sooner. Convolutions on a CPU
gain nothing, small dense layers and GPUs do. TensorRT would build an engine for each new size, so
only the CPU's and CUDA's providers are asked.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from edge_components.contract.package import TensorSpec
from edge_components.runtime.oip.datatypes import NUMPY_TYPES, Array

_PROVIDERS = frozenset({"CPUExecutionProvider", "CUDAExecutionProvider"})
_NUMBERS = frozenset({"FP32", "FP64", "FP16"})
_INTEGERS = frozenset(
    {"INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "BOOL"}
)
_SAMPLES = 4
_MAX_LATENCY_S = 0.05
_GAIN = 1.3
_RTOL, _ATOL = 1e-3, 1e-5
_Feeds = Mapping[str, Array]


class Candidate(Protocol):
    """What is asked of a loaded model."""

    provider: str
    latency_s: float
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def run(self, feeds: _Feeds) -> list[Array]:
        """Run it."""

    def runs_inline(self, elements: int) -> bool:
        """Whether it is so quick that nothing waits for it."""


def worthwhile_batch(
    model: Candidate, limit: int, clock: Callable[[], float] = time.perf_counter
) -> int:
    """Return how many requests of this model to run together: ``limit``, or 1.

    Args:
        model: Loaded and warm.
        limit: The most that is wanted.
        clock: Seconds.
    """
    if limit < 2 or not _may_ask(model):
        return 1
    try:
        alone = [{spec.name: _sample(spec, i) for spec in model.inputs} for i in range(_SAMPLES)]
        together = {name: np.concatenate([feeds[name] for feeds in alone]) for name in alone[0]}
        return (
            limit if _same(model, alone, together) and _pays(model, alone, together, clock) else 1
        )
    except Exception:  # noqa: BLE001  # a model that refuses samples together runs them alone
        return 1


def _may_ask(model: Candidate) -> bool:
    specs = (*model.inputs, *model.outputs)
    return (
        model.provider in _PROVIDERS
        and not model.runs_inline(1)
        and model.latency_s <= _MAX_LATENCY_S
        and all(spec.shape and spec.shape[0] == -1 for spec in specs)
        and all(spec.datatype in _NUMBERS | _INTEGERS for spec in specs)
    )


def _sample(spec: TensorSpec, index: int) -> Array:
    # No random numbers: importing numpy's costs 6 MB of the device's memory.
    shape = [1 if dim < 0 else dim for dim in spec.shape]
    steps = np.arange(math.prod(shape)).reshape(shape)
    kind = NUMPY_TYPES[spec.datatype]
    values = np.sin(steps * (index + 1.5) + index)
    array: Array = (values if spec.datatype in _NUMBERS else values > 0).astype(kind)
    return array


def _same(model: Candidate, alone: list[dict[str, Array]], together: _Feeds) -> bool:
    singles = [model.run(feeds) for feeds in alone]
    for whole, *parts in zip(model.run(together), *singles, strict=True):
        if any(part.ndim == 0 or part.shape[0] != 1 for part in parts):
            return False
        expected = np.concatenate(parts)
        if whole.shape != expected.shape:
            return False
        if not np.allclose(whole, expected, rtol=_RTOL, atol=_ATOL, equal_nan=True):
            return False
    return True


def _pays(
    model: Candidate, alone: list[dict[str, Array]], together: _Feeds, clock: Callable[[], float]
) -> bool:
    def each() -> None:
        for feeds in alone:
            model.run(feeds)

    return _best(each, clock) >= _GAIN * _best(lambda: model.run(together), clock)


def _best(run: Callable[[], object], clock: Callable[[], float]) -> float:
    times = []
    for _ in range(2):
        start = clock()
        run()
        times.append(clock() - start)
    return min(times)
