"""What one model has done since it was loaded, in the shape of Triton's statistics extension.

Counts are of requests, except ``inference_count``, which counts samples, and ``execution_count``,
which counts runs of the model: requests that ran together are one. Times are
in nanoseconds, ``last_inference`` in milliseconds since the epoch. There is no response cache, so
its two sums stay zero.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

_MAX_BATCH_SIZES = 64
_WITH_ANOTHER = -1
_NONE = {"count": 0, "ns": 0}


class Timing(msgspec.Struct, gc=False):
    """How long the parts of one answered request took, in nanoseconds."""

    queue_ns: int
    input_ns: int
    infer_ns: int
    output_ns: int


class Statistics:
    """The sums of one loaded model; only the event loop's thread adds to them."""

    __slots__ = ("_batches", "_failed", "_others", "_queue_ns", "_samples", "_success", "_when_s")

    def __init__(self) -> None:
        self._success = 0
        self._failed = [0, 0]
        self._samples = 0
        self._queue_ns = 0
        self._when_s = 0.0
        # By size of the batch: count, and nanoseconds of input, inference and output.
        self._batches: dict[int, list[int]] = {}
        # The same of what has no batch of its own: its size is one too many, or it ran in the
        # batch of another request. The last number counts the former.
        self._others = [0, 0, 0, 0, 0]

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
        self._queue_ns += timing.queue_ns
        size = samples if batch is None else batch or _WITH_ANOTHER
        sums = self._batches.get(size)
        if sums is None:
            sums = self._sums(size)
        sums[0] += 1
        sums[1] += timing.input_ns
        sums[2] += timing.infer_ns
        sums[3] += timing.output_ns

    def _sums(self, size: int) -> list[int]:
        if size == _WITH_ANOTHER:
            return self._others
        if len(self._batches) >= _MAX_BATCH_SIZES:
            # A client that varies its batch without end does not fill the memory.
            self._others[4] += 1
            return self._others
        return self._batches.setdefault(size, [0, 0, 0, 0])

    def failed(self, nanoseconds: int) -> None:
        """Add a request that was not answered with a result."""
        self._failed[0] += 1
        self._failed[1] += nanoseconds

    def document(self, name: str, version: str) -> dict[str, Any]:
        """Return one element of ``model_stats``."""
        count = self._success
        found = [*self._batches.values(), self._others]
        times = [self._queue_ns, *(sum(sums[part] for sums in found) for part in (1, 2, 3))]
        queue, given, infer, output = (_sum(count, ns) for ns in times)
        runs = sum(sums[0] for sums in self._batches.values()) + self._others[4]
        return {
            "name": name,
            "version": version,
            "last_inference": int(self._when_s * 1000),
            "inference_count": self._samples,
            "execution_count": runs,
            "inference_stats": {
                "success": _sum(count, sum(times)),
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
