"""What one model has done since it was loaded, in the shape of Triton's statistics extension.

Counts are of requests, except ``inference_count``, which counts samples, and ``execution_count``,
which counts runs of the model: requests that ran together are one. Times are
in nanoseconds, ``last_inference`` in milliseconds since the epoch. There is no response cache, so
its two sums stay zero.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

_MAX_BATCH_SIZES = 64
_NONE = {"count": 0, "ns": 0}


class Timing(NamedTuple):
    """How long the parts of one answered request took, in nanoseconds."""

    queue_ns: int
    input_ns: int
    infer_ns: int
    output_ns: int


class Statistics:
    """The sums of one loaded model; only the event loop's thread adds to them."""

    __slots__ = ("_batches", "_failed", "_runs", "_samples", "_success", "_times", "_when_s")

    def __init__(self) -> None:
        self._success = 0
        self._runs = 0
        self._failed = [0, 0]
        self._samples = 0
        self._times = [0, 0, 0, 0]
        self._when_s = 0.0
        self._batches: dict[int, list[int]] = {}

    def succeeded(self, timing: Timing, samples: int, batch: int | None = None) -> None:
        """Add an answered request.

        Args:
            timing: Of this request; the model's time is that of the whole batch.
            samples: How many it had.
            batch: How many the model ran on at once, those of other requests among them; 0 if
                that was counted with another request. None for the request alone.
        """
        self._success += 1
        self._samples += samples
        self._when_s = time.time()
        times = self._times
        queue, given, infer, output = timing
        times[0] += queue
        times[1] += given
        times[2] += infer
        times[3] += output
        size = samples if batch is None else batch
        if size or not samples:
            self._runs += 1
            self._ran(size, given, infer, output)

    def _ran(self, size: int, given: int, infer: int, output: int) -> None:
        sums = self._batches.get(size)
        if sums is None:
            if len(self._batches) >= _MAX_BATCH_SIZES:
                return  # a client that varies its batch without end does not fill the memory
            sums = self._batches[size] = [0, 0, 0, 0]
        sums[0] += 1
        sums[1] += given
        sums[2] += infer
        sums[3] += output

    def failed(self, nanoseconds: int) -> None:
        """Add a request that was not answered with a result."""
        self._failed[0] += 1
        self._failed[1] += nanoseconds

    def document(self, name: str, version: str) -> dict[str, Any]:
        """Return one element of ``model_stats``."""
        count = self._success
        queue, given, infer, output = (_sum(count, ns) for ns in self._times)
        return {
            "name": name,
            "version": version,
            "last_inference": int(self._when_s * 1000),
            "inference_count": self._samples,
            "execution_count": self._runs,
            "inference_stats": {
                "success": _sum(count, sum(self._times)),
                "fail": _sum(*self._failed),
                "queue": queue,
                "compute_input": given,
                "compute_infer": infer,
                "compute_output": output,
                "cache_hit": _NONE,
                "cache_miss": _NONE,
            },
            "batch_stats": [
                {
                    "batch_size": size,
                    "compute_input": _sum(batch[0], batch[1]),
                    "compute_infer": _sum(batch[0], batch[2]),
                    "compute_output": _sum(batch[0], batch[3]),
                }
                for size, batch in sorted(self._batches.items())
            ],
        }


def _sum(count: int, ns: int) -> dict[str, int]:
    return {"count": count, "ns": ns}
