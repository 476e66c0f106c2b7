"""Watches a window of requests against the golden set, in memory that does not grow.

A window ends after so many sampled rows, or after a time if there are enough of them; then it is
compared and forgotten. Pure but for the clock that the caller passes in.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np

from edge_components.contract.device import DriftSection
from edge_components.contract.telemetry import Value
from edge_components.drift.features import Feature, features
from edge_components.drift.measure import (
    Counts,
    Values,
    count,
    edges_for,
    ks,
    ks_by_chance,
    psi,
    psi_by_chance,
)
from edge_components.golden import Golden

_MAX_CATEGORIES = 20
_MAX_BINS = 10
_ROWS_A_BIN = 5
_GOLDEN_ELEMENTS = 1 << 16


class DriftReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a window showed.

    Attributes:
        crossed: What is beyond its threshold, the furthest first.
        attributes: ``<name>.psi`` and, where order means something, ``<name>.ks``; ``rows`` and
            ``seconds`` of the window, and the thresholds.
        beyond_chance: The ``psi`` of each name that is above what chance alone reaches.
    """

    crossed: tuple[str, ...]
    attributes: dict[str, Value]
    beyond_chance: dict[str, float] = {}


class _Watch:
    """One feature: its bins, what the golden set has in them, and what the window has."""

    def __init__(self, reference: Feature) -> None:
        self.name = reference.name
        self.is_category = reference.is_category
        self.expected_rows = reference.rows
        self._edges = _edges(reference)
        self.expected = self._count(reference.values)
        self.clear()

    def clear(self) -> None:
        self.observed: Counts = np.zeros_like(self.expected)
        self.rows = 0

    def add(self, feature: Feature) -> None:
        self.observed += self._count(feature.values)
        self.rows += feature.rows

    def _count(self, values: Values) -> Counts:
        if not self.is_category:
            return count(values, self._edges)
        known = np.searchsorted(self._edges, values)
        known[known == self._edges.size] = 0
        known[self._edges[known] != values] = self._edges.size  # the last bin: all others
        return np.bincount(known, minlength=self._edges.size + 1).astype(np.int64)


class DriftMonitor:
    """Compares windows with a golden set."""

    def __init__(self, golden: Golden, settings: DriftSection, *, now: float) -> None:
        self._settings = settings
        reference = features(
            golden.inputs,
            golden.outputs,
            max_rows=golden.samples,
            max_elements=_GOLDEN_ELEMENTS,
        )
        self._watches = {feature.name: _Watch(feature) for feature in reference}
        self._rows = 0
        self._began = now

    def add(self, taken: Iterable[Feature]) -> None:
        """Count one request."""
        rows = 0
        for feature in taken:
            watch = self._watches.get(feature.name)
            if watch is not None:
                watch.add(feature)
                rows = max(rows, feature.rows)
        self._rows += rows

    def report(self, now: float) -> DriftReport | None:
        """Return what the window showed and begin the next, or None while it is not over."""
        settings = self._settings
        is_late = now - self._began >= settings.window_s and self._rows >= settings.min_rows
        if self._rows < settings.window_rows and not is_late:
            return None
        found: dict[str, Value] = {}
        beyond: dict[str, float] = {}
        sure: dict[str, float] = {}
        for watch in self._watches.values():
            if watch.rows >= settings.min_rows:
                beyond[watch.name] = _judge(watch, settings, found)
                sure |= _beyond_chance(watch)
            watch.clear()
        crossed = sorted((name for name in beyond if beyond[name] > 1), key=lambda n: -beyond[n])
        found["threshold.psi"], found["threshold.ks"] = settings.psi, settings.ks
        found["rows"] = self._rows
        found["seconds"] = round(now - self._began, 3)
        self._rows, self._began = 0, now
        return DriftReport(crossed=tuple(crossed), attributes=found, beyond_chance=sure)


def _judge(watch: _Watch, settings: DriftSection, found: dict[str, Value]) -> float:
    """Add the measures of one feature; return its worst share of a threshold."""
    have, seen = watch.expected_rows, watch.rows
    value = psi(watch.expected, watch.observed)
    found[f"{watch.name}.psi"] = round(value, 4)
    share = value / max(settings.psi, psi_by_chance(watch.expected.size, have, seen))
    if watch.is_category:
        return share
    distance = ks(watch.expected, watch.observed)
    found[f"{watch.name}.ks"] = round(distance, 4)
    return max(share, distance / max(settings.ks, ks_by_chance(have, seen)))


def _beyond_chance(watch: _Watch) -> dict[str, float]:
    value = psi(watch.expected, watch.observed)
    chance = psi_by_chance(watch.expected.size, watch.expected_rows, watch.rows)
    return {watch.name: round(value, 4)} if value > chance else {}


def _edges(reference: Feature) -> Values:
    if not reference.is_category:
        bins = min(_MAX_BINS, max(2, reference.rows // _ROWS_A_BIN))
        return edges_for(reference.values, bins)
    names, counts = np.unique(reference.values, return_counts=True)
    most = np.sort(np.argsort(-counts, kind="stable")[:_MAX_CATEGORIES])
    return names[most]
