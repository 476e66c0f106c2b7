"""Histograms that can be added up: OTLP's explicit bounds and counts, in flat attributes.

A device sends what it counted since its last health record (OTLP's delta temporality), so a
receiver adds up devices and times, drops doubles by the record's id, and needs no record before
the first. Bounds without counts are left out; those of one grid still fit together exactly.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from edge_components.contract.telemetry import Value

MAX_BOUNDS = 256


class Histogram(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of values between bounds.

    Attributes:
        bounds: Ascending; a bucket holds what is above one bound and not above the next.
        counts: One more than bounds: up to the first, between each two, above the last.
        total: The sum of all values.
    """

    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = (0,)
    total: float = 0.0

    @property
    def count(self) -> int:
        """How many values there are."""
        return sum(self.counts)

    @property
    def mean(self) -> float | None:
        """Their mean, or None without any."""
        return self.total / self.count if self.count else None

    def quantile(self, share: float) -> float | None:
        """Return a quantile, interpolated within its bucket; None without values.

        What lies above the last bound counts as that bound: nothing is made up beyond it.
        """
        wanted = share * self.count
        passed = 0
        for index, count in enumerate(self.counts):
            if count and passed + count >= wanted:
                low = self.bounds[index - 1] if index else min((0.0, *self.bounds[:1]))
                high = self.bounds[index] if index < len(self.bounds) else low
                return low + (high - low) * max(0.0, (wanted - passed) / count)
            passed += count
        return None


def merge(histograms: Iterable[Histogram]) -> Histogram:
    """Add histograms up; those of other bounds keep their buckets' upper ends."""
    listed = [histogram for histogram in histograms if histogram.count]
    bounds = tuple(sorted({bound for histogram in listed for bound in histogram.bounds}))
    places = {bound: index for index, bound in enumerate(bounds)}
    counts = [0] * (len(bounds) + 1)
    for histogram in listed:
        for bound, count in zip(histogram.bounds, histogram.counts, strict=False):
            counts[places[bound]] += count
        counts[-1] += histogram.counts[-1]
    total = sum(histogram.total for histogram in listed)
    return Histogram(bounds=bounds, counts=tuple(counts), total=total)


def counted(values: Iterable[float], bounds: Sequence[float]) -> Histogram:
    """Count values; what is not a number is left out."""
    counts = [0] * (len(bounds) + 1)
    total = 0.0
    for value in values:
        if value == value:  # noqa: PLR0124  # false for NaN only
            counts[bisect.bisect_left(bounds, value)] += 1
            total += value
    return Histogram(bounds=tuple(bounds), counts=tuple(counts), total=total)


def to_attributes(name: str, histogram: Histogram) -> dict[str, Value]:
    """Return ``<name>.count``, ``.sum``, ``.bounds`` and ``.counts``; nothing without values."""
    if not histogram.count:
        return {}
    filled = [index for index, count in enumerate(histogram.counts) if count]
    first, last = max(0, filled[0] - 1), min(len(histogram.bounds), filled[-1] + 1)
    bounds = histogram.bounds[first:last]
    counts = histogram.counts[first + 1 : last]
    below = sum(histogram.counts[: first + 1])
    above = sum(histogram.counts[last:]) if bounds else 0
    return {
        f"{name}.count": histogram.count,
        f"{name}.sum": round(histogram.total, 9),
        f"{name}.bounds": ",".join(f"{bound:.12g}" for bound in bounds),
        f"{name}.counts": ",".join(map(str, (below, *counts, above) if bounds else (below,))),
    }


def from_attributes(name: str, attributes: Mapping[str, Value]) -> Histogram | None:
    """Read a histogram back; None where there is none, or where it is not one."""
    bounds, counts = attributes.get(f"{name}.bounds"), attributes.get(f"{name}.counts")
    total = attributes.get(f"{name}.sum", 0.0)
    if not isinstance(bounds, str) or not isinstance(counts, str) or isinstance(total, str):
        return None
    try:
        found = Histogram(
            bounds=tuple(float(part) for part in bounds.split(",") if part),
            counts=tuple(int(part) for part in counts.split(",")),
            total=float(total),
        )
    except ValueError:
        return None
    ascends = all(low < high for low, high in itertools.pairwise(found.bounds))
    finite = all(map(math.isfinite, (*found.bounds, found.total)))
    fits = len(found.counts) == len(found.bounds) + 1 and len(found.bounds) <= MAX_BOUNDS
    is_sound = ascends and finite and fits and all(0 <= count < 1 << 62 for count in found.counts)
    return found if is_sound else None
