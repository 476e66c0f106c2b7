"""Counters, gauges and one latency histogram, written in Prometheus' text format.

The hot path adds to plain numbers; everything else is done when somebody asks. Format:
Prometheus text exposition 0.0.4.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterable, Mapping

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
# Six a decade from 10 microseconds to a minute, so that a quantile is wrong by a fifth at most.
BUCKETS_S = tuple(
    bound
    for exponent in range(-5, 2)
    for step in ("1", "1.5", "2", "3", "5", "7")
    if (bound := float(f"{step}e{exponent}")) <= 60
)


class Histogram:
    """Latencies in fixed buckets."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.total_s = 0.0

    def observe(self, seconds: float) -> None:
        """Add one latency."""
        self.counts[bisect.bisect_left(BUCKETS_S, seconds)] += 1
        self.total_s += seconds

    @property
    def count(self) -> int:
        """How many latencies there are."""
        return sum(self.counts)


class Metrics:
    """What the runtime counts."""

    def __init__(self) -> None:
        self.latency = Histogram()
        self.pipeline_latency = Histogram()
        self.requests = 0
        self.pipeline_readings = 0
        self.pipeline_waiting = 0
        self.pipeline: Counter[str] = Counter()
        self.in_flight = 0
        self.errors: Counter[str] = Counter()
        self.activations: Counter[str] = Counter()
        self.left_loop: Counter[str] = Counter()

    @property
    def model_faults(self) -> int:
        """Requests that the model itself failed on; a client's bad request is none."""
        return self.errors["model_failed"]

    @property
    def failures(self) -> int:
        """Inference requests that were not answered with a result."""
        return sum(self.errors.values())


class Exposition:
    """Collects metric families and writes them as text."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def family(
        self,
        name: str,
        kind: str,
        help_text: str,
        samples: Iterable[tuple[Mapping[str, str], float]],
    ) -> None:
        """Add a counter or a gauge with its samples."""
        self._lines += [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"]
        self._lines += [f"{name}{_labels(labels)} {_number(value)}" for labels, value in samples]

    def histogram(self, name: str, help_text: str, histogram: Histogram) -> None:
        """Add a histogram."""
        self._lines += [f"# HELP {name} {help_text}", f"# TYPE {name} histogram"]
        passed = 0
        for bound, count in zip((*BUCKETS_S, float("inf")), histogram.counts, strict=True):
            passed += count
            label = "+Inf" if bound == float("inf") else repr(bound)
            self._lines.append(f'{name}_bucket{{le="{label}"}} {passed}')
        self._lines += [f"{name}_sum {histogram.total_s!r}", f"{name}_count {passed}"]

    def text(self) -> bytes:
        """Return the whole page."""
        return ("\n".join(self._lines) + "\n").encode()


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{key}="{_escape(value)}"' for key, value in labels.items()) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return repr(int(value)) if float(value).is_integer() else repr(float(value))
