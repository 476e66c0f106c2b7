"""What the pipeline tells about itself: counters, and events that cannot become a flood."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from edge_components.contract.package import TensorSpec
from edge_components.contract.telemetry import Value
from edge_components.golden import Array
from edge_components.runtime.metrics import Metrics

log = logging.getLogger(__name__)

WARNING = 13
_BURST = 20.0
_PER_S = 1.0


class Records(Protocol):
    """Who keeps what is told: telemetry's recorder, or nobody."""

    def prediction(
        self,
        model: Any,
        seconds: float,
        specs: Sequence[TensorSpec],
        arrays: Sequence[Array],
        source: str,
        *,
        inputs: Mapping[str, Array] = ...,
    ) -> None:
        """Record an answer."""

    def event(
        self, body: str, *, severity: int = 9, attributes: dict[str, Value] | None = None
    ) -> None:
        """Record that something happened."""


class Silence:
    """Keeps nothing."""

    def prediction(self, *_: Any, **__: Any) -> None:
        """Forget an answer."""

    def event(self, *_: Any, **__: Any) -> None:
        """Forget that something happened."""


class Reports:
    """Counts and tells; may be called from any thread.

    A hundred readings a second that fail are counted one by one, and told of once a second.
    """

    def __init__(self, recorder: Records, metrics: Metrics) -> None:
        self.recorder = recorder
        self._metrics = metrics
        self._lock = threading.Lock()
        self._tokens = _BURST
        self._refilled = time.monotonic()
        self._troubles: dict[str, str] = {}

    def count(self, what: str, amount: int = 1) -> None:
        """Count something that the pipeline did."""
        with self._lock:
            self._metrics.pipeline[what] += amount

    def error(self, kind: str) -> None:
        """Count a reading without an answer, or trouble of the pipeline itself."""
        with self._lock:
            self._metrics.errors[kind] += 1

    def inferred(self, seconds: float) -> None:
        """Count how long a model took for a reading."""
        with self._lock:
            self._metrics.pipeline_latency.observe(seconds)

    def answered(self) -> None:
        """Count a reading that was answered."""
        with self._lock:
            self._metrics.pipeline_readings += 1

    def waiting(self, length: int) -> None:
        """Say how many readings wait."""
        self._metrics.pipeline_waiting = length

    def event(
        self, text: str, attributes: dict[str, Value] | None = None, *, severity: int = WARNING
    ) -> None:
        """Tell that something happened, if not too much did."""
        with self._lock:
            now = time.monotonic()
            self._tokens = min(_BURST, self._tokens + (now - self._refilled) * _PER_S)
            self._refilled = now
            if self._tokens < 1.0:
                self._metrics.pipeline["events_left_out"] += 1
                return
            self._tokens -= 1.0
        if severity >= WARNING:
            log.warning(text)
        self.recorder.event(text, severity=severity, attributes=attributes)

    def trouble(self, topic: str, text: str) -> None:
        """Tell of a trouble that lasts, once until it changes or ends."""
        with self._lock:
            if self._troubles.get(topic) == text:
                return
            self._troubles[topic] = text
            self._metrics.errors["pipeline"] += 1
        self.event(text)

    def fine(self, topic: str) -> None:
        """Say that a trouble has ended."""
        if topic in self._troubles:
            with self._lock:
                self._troubles.pop(topic, None)
