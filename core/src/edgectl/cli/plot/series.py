"""What a picture shows: telemetry records to panels of curves and bands. Pure.

Time is cut into bins, and a device has one value in each. A handful of devices get a curve each;
of more there is the median device, the one at 95 %, and the worst, so that hundreds stay legible.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from edge_components.contract.histogram import Histogram, from_attributes, merge
from edge_components.contract.telemetry import Kind, TelemetryRecord
from edgectl.cli.summary import LATENCY, by_device, is_misdated, measures, number

Measure = Literal["psi", "ks"]
Point = tuple[float, float]
_Devices = Mapping[str, list[TelemetryRecord]]

MAX_CURVES = 6
_BINS = 120
_WIDTHS_S = (*(10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400),)
_THRESHOLDS: dict[Measure, float] = {"psi": 0.25, "ks": 0.2}
_SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_GAP = 5


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """A line with a name; where a device was silent, it is broken into pieces."""

    name: str
    pieces: tuple[tuple[Point, ...], ...]


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """One diagram.

    Attributes:
        unit: What the y axis counts.
        band: Names of the two curves between which the space is filled, or None.
        limits: Horizontal lines: name and value.
        start_s: Where the x axis begins, seconds since 1970 UTC.
    """

    title: str
    unit: str
    curves: tuple[Curve, ...]
    band: tuple[str, str] | None = None
    limits: tuple[tuple[str, float], ...] = ()
    start_s: float = 0.0
    end_s: float = 0.0

    @property
    def points(self) -> list[Point]:
        """All points of all curves."""
        return [point for curve in self.curves for piece in curve.pieces for point in piece]


def panels(
    target: str,
    records: Iterable[TelemetryRecord],
    *,
    measure: Measure = "psi",
    limit_ms: float | None = None,
) -> list[Panel]:
    """Return a target's panels: all its answers, its devices' latency, its devices' drift.

    Args:
        target: Its name, for the titles.
        records: In any order; doubles count once, and those without a known time are left out.
        measure: Which of drift's measures.
        limit_ms: A latency to draw a line at.
    """
    devices = {
        device: [record for record in found if not is_misdated(record)]
        for device, found in by_device(records).items()
    }
    shown = [
        record.time_unix_ns / 1e9
        for found in devices.values()
        for record in found
        if record.kind in {Kind.HEALTH, Kind.DRIFT}
    ]
    start, end = min(shown, default=0.0), max(shown, default=0.0)
    empty = Panel(title=target, unit="", curves=(), start_s=start, end_s=end)
    width = bin_width_s(end - start)
    limits = () if limit_ms is None else (("limit", limit_ms),)
    latency = msgspec.structs.replace(empty, unit="ms", limits=limits)
    threshold = (("threshold", _threshold(devices, measure)),)
    drift = msgspec.structs.replace(empty, unit=measure.upper(), limits=threshold)
    return [*_latency_panels(latency, devices, width), _drift_panel(drift, devices, width, measure)]


def bin_width_s(span_s: float) -> float:
    """Return a round width that cuts a time into at most 120 bins."""
    for width in _WIDTHS_S:
        if span_s <= width * _BINS:
            return float(width)
    days = -(-span_s // (86_400 * _BINS))
    return days * 86_400.0


def at_share(values: Sequence[float], share: float) -> float:
    """Return the value that so great a share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share - 1e-9) - 1)]


def _latency_panels(panel: Panel, devices: _Devices, width: float) -> list[Panel]:
    told = {name: _read_latencies(mine, width) for name, mine in devices.items()}
    everything = list(itertools.chain.from_iterable(told.values()))
    shares = {name: _by_bin(everything, share) for name, share in _SHARES.items()}
    curves = tuple(_curve(name, values) for name, values in shares.items() if values)
    whole = _titled(panel, "latency of all answers", curves)
    if len(devices) < 2:
        return [whole]
    each = {name: _by_bin(mine, 0.95) for name, mine in told.items()}
    return [whole, _grouped(_titled(panel, "p95 latency by device"), each)]


def _drift_panel(panel: Panel, devices: _Devices, width: float, measure: Measure) -> Panel:
    if len(devices) > 1:
        worst = {name: _drift(mine, width, measure) for name, mine in devices.items()}
        return _grouped(_titled(panel, "drift by device, the furthest value of each"), worst)
    mine = next(iter(devices.values()), [])
    features = _features(mine, width, measure)
    return _worst_curves(_titled(panel, "drift by input and output"), features)


def _titled(panel: Panel, what: str, curves: tuple[Curve, ...] = ()) -> Panel:
    return msgspec.structs.replace(panel, title=f"{panel.title}: {what}", curves=curves)


def _grouped(panel: Panel, devices: Mapping[str, Mapping[float, float]]) -> Panel:
    """Fill a panel with a curve a device, or with the median, p95 and worst device."""
    known = {name: values for name, values in devices.items() if values}
    if len(known) <= MAX_CURVES:
        return _worst_curves(panel, known)
    bins: dict[float, list[float]] = defaultdict(list)
    for values in known.values():
        for when, value in values.items():
            bins[when].append(value)
    worst = max(known, key=lambda name: max(known[name].values()))
    shares: dict[str, Callable[[list[float]], float]] = {
        "median device": statistics.median,
        "95 % of devices below": lambda values: at_share(values, 0.95),
        f"worst device (peak: {worst})": max,
    }
    curves = [
        _curve(name, {when: of(values) for when, values in bins.items()})
        for name, of in shares.items()
    ]
    return msgspec.structs.replace(
        panel,
        title=f"{panel.title} ({len(known)} devices)",
        curves=tuple(curves),
        band=(curves[0].name, curves[1].name),
    )


def _worst_curves(panel: Panel, named: Mapping[str, Mapping[float, float]]) -> Panel:
    known = {name: values for name, values in named.items() if values}
    highest = sorted(known, key=lambda name: (-max(known[name].values()), name))[:MAX_CURVES]
    curves = tuple(_curve(name, known[name]) for name in sorted(highest))
    more = len(known) - len(curves)
    title = f"{panel.title} (the worst {MAX_CURVES} of {len(known)})" if more else panel.title
    return msgspec.structs.replace(panel, title=title, curves=curves)


def _curve(name: str, values: Mapping[float, float]) -> Curve:
    points = sorted(values.items())
    steps = [after[0] - before[0] for before, after in itertools.pairwise(points)]
    widest = _GAP * statistics.median(steps) if steps else 0.0
    pieces: list[list[Point]] = []
    for point in points:
        if not pieces or point[0] - pieces[-1][-1][0] > widest:
            pieces.append([])
        pieces[-1].append(point)
    return Curve(name=name, pieces=tuple(map(tuple, pieces)))


def _bin(record: TelemetryRecord, width: float) -> float:
    seconds = record.time_unix_ns / 1e9
    return (seconds // width + 0.5) * width


class _Latency(msgspec.Struct, frozen=True):
    """What one health record says of latency: a histogram, or an older one's percentiles."""

    when: float
    histogram: Histogram
    p50_ms: float
    p99_ms: float


def _read_latencies(records: list[TelemetryRecord], width: float) -> list[_Latency]:
    return [
        _Latency(
            _bin(record, width),
            from_attributes(LATENCY, record.attributes) or Histogram(),
            number(record, "latency_p50_ms"),
            number(record, "latency_p99_ms"),
        )
        for record in records
        if record.kind is Kind.HEALTH
    ]


def _by_bin(told: Iterable[_Latency], share: float) -> dict[float, float]:
    """Return a percentile in milliseconds by bin, of histograms where a bin has any."""
    histograms: dict[float, list[Histogram]] = defaultdict(list)
    reported: dict[float, float] = {}
    for one in told:
        value = one.p50_ms if share == 0.5 else one.p99_ms
        if one.histogram.count:
            histograms[one.when].append(one.histogram)
        elif value > 0:
            reported[one.when] = max(value, reported.get(one.when, value))
    for when, parts in histograms.items():
        seconds = merge(parts).quantile(share)
        if seconds is not None:
            reported[when] = seconds * 1000
    return reported


def _features(
    records: list[TelemetryRecord], width: float, measure: Measure
) -> dict[str, dict[float, float]]:
    found: dict[str, dict[float, float]] = defaultdict(dict)
    ending = f".{measure}"
    for record in records:
        if record.kind is Kind.DRIFT:
            when = _bin(record, width)
            for name, value in measures(record).items():
                if name.endswith(ending):
                    values = found[name.removesuffix(ending)]
                    values[when] = max(value, values.get(when, value))
    return found


def _drift(records: list[TelemetryRecord], width: float, measure: Measure) -> dict[float, float]:
    worst: dict[float, float] = {}
    for values in _features(records, width, measure).values():
        for when, value in values.items():
            worst[when] = max(value, worst.get(when, value))
    return worst


def _threshold(devices: _Devices, measure: Measure) -> float:
    told = (
        record.attributes.get(f"threshold.{measure}")
        for found in devices.values()
        for record in found
        if record.kind is Kind.DRIFT
    )
    values = [float(value) for value in told if isinstance(value, (int, float))]
    return max(values, default=_THRESHOLDS[measure])
