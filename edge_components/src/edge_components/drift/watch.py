"""Drift beside a server: takes a few requests a second, and reads the golden set when it has time.

``take`` is called for every answer and looks at a counter; some times a second it keeps a few
hundred numbers. All else happens in ``collect``, which telemetry's thread calls. A package without
a golden set, or with one that is too large to compare with, gives no drift, but its confidence.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from edge_components.contract.device import DriftSection
from edge_components.contract.histogram import counted, to_attributes
from edge_components.contract.package import TensorSpec
from edge_components.contract.telemetry import Value
from edge_components.drift.features import Array, Feature, features
from edge_components.drift.monitor import DriftMonitor, DriftReport
from edge_components.golden import GoldenError, read_golden

log = logging.getLogger(__name__)

MAX_GOLDEN_BYTES = 64 << 20
_RING = 256
_CONFIDENCES = 2048
CONFIDENCE_BOUNDS = tuple(step / 20 for step in range(21))


class _Identity(Protocol):
    @property
    def package(self) -> str: ...


class DriftWatch:
    """Samples requests of the active package and compares windows of them with its golden set.

    Attributes:
        trouble: Why there is no comparison, or "".
    """

    def __init__(self, settings: DriftSection | None = None) -> None:
        self.trouble = ""
        self._settings = settings or DriftSection()
        self._rate = self._settings.rate_per_s
        self._tokens = self._rate
        self._refilled: float | None = None
        self._ring: deque[tuple[_Identity, list[Feature]]] = deque(maxlen=_RING)
        self._confidences: deque[float] = deque(maxlen=_CONFIDENCES)
        self._package = ""
        self._wanted: tuple[str, Path | None] | None = None
        self._monitor: DriftMonitor | None = None

    def follow(self, package: str, golden: Path | None) -> None:
        """Watch another package from now on; its golden set is read later."""
        self._wanted = (package, golden)

    def take(
        self,
        identity: _Identity,
        inputs: Mapping[str, Array],
        specs: Sequence[TensorSpec],
        arrays: Sequence[Array],
    ) -> None:
        """Sample an answer; most calls only look whether it is time."""
        if self._tokens < 1.0:
            return
        self._tokens -= 1.0
        outputs = {spec.name: array for spec, array in zip(specs, arrays, strict=True)}
        self._ring.append((identity, features(inputs, outputs)))

    def collect(self, now: float) -> DriftReport | None:
        """Count what was sampled; return a report when a window is over."""
        if self._refilled is not None:
            # At least one, or a rate below one a second would never sample anything.
            most = max(1.0, self._rate)
            self._tokens = min(most, self._tokens + (now - self._refilled) * self._rate)
        self._refilled = now
        wanted, self._wanted = self._wanted, None
        if wanted is not None:
            self._package, golden = wanted
            self._monitor = self._begin(golden, now)
        for _ in range(len(self._ring)):
            identity, taken = self._ring.popleft()
            if identity.package == self._package:
                self._count(taken)
        return None if self._monitor is None else self._monitor.report(now)

    def health(self) -> dict[str, Value]:
        """Return the confidences since the last call: three quantiles and a histogram."""
        taken = [self._confidences.popleft() for _ in range(len(self._confidences))]
        known = sorted(value for value in taken if math.isfinite(value))
        if not known:
            return {}
        low, middle, high = (round(_quantile(known, share), 6) for share in (0.1, 0.5, 0.9))
        return {
            "confidence.samples": len(known),
            "confidence.p10": low,
            "confidence.p50": middle,
            "confidence.p90": high,
            **to_attributes("confidence", counted(known, CONFIDENCE_BOUNDS)),
        }

    def _count(self, taken: list[Feature]) -> None:
        if self._monitor is not None:
            self._monitor.add(taken)
        for feature in taken:
            if feature.name.endswith(".confidence"):
                self._confidences.extend(feature.values.tolist())
                break

    def _begin(self, golden: Path | None, now: float) -> DriftMonitor | None:
        self.trouble = ""
        if golden is None:
            self.trouble = "the package has no golden set"
            return None
        try:
            return DriftMonitor(
                read_golden(golden, max_bytes=MAX_GOLDEN_BYTES), self._settings, now=now
            )
        except (GoldenError, OSError) as exc:
            self.trouble = str(exc)
            log.warning("no drift is measured: %s", exc)
            return None


def _quantile(known: Sequence[float], share: float) -> float:
    """Return a quantile of sorted values; numpy's would be the same and costs 5 MB at its first."""
    at = share * (len(known) - 1)
    low = int(at)
    high = min(low + 1, len(known) - 1)
    return known[low] + (known[high] - known[low]) * (at - low)
