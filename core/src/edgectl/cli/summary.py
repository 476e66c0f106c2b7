"""The picture of what devices told: from their telemetry records to one row a device.

Pure: records in, rows out. Counters come from health records and are read as increases, so that a
restart, which begins at zero again, neither hides nor invents anything. Latencies are those that
devices measured between two health records: the median of the intervals' medians, each with the
weight of its requests, and the worst interval's p99.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from edge_components.contract.telemetry import Kind, TelemetryRecord

COLUMNS = (
    *("target", "device", "release", "answered", "error_rate", "p50_ms", "p99_ms"),
    *("drift", "dropped", "classes", "last_seen"),
)
_SHOWN_CLASSES = 3


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """What one device told in the time looked at.

    Attributes:
        answered: Requests and readings with an answer, or None with less than two health records.
        failed: The same for those without one.
        error_rate: Failed as a share of all, or None where nothing was asked.
        predictions: Prediction records, which sampling may have thinned.
        drift: The newest drift record's numbers by name (``input.x.psi``).
        drifted: Whether that record crossed a threshold.
        dropped: Records that the device says it lost since it started, by ``<kind>.<why>``.
        classes: Prediction records by class.
        last_seen_unix_ns: Of the newest record, by the device's clock.
    """

    device: str
    release: int
    answered: int | None
    failed: int | None
    error_rate: float | None
    p50_ms: float | None
    p99_ms: float | None
    predictions: int
    warnings: int
    drift: dict[str, float]
    drifted: bool
    dropped: dict[str, int]
    classes: dict[str, int]
    last_seen_unix_ns: int


def summarize(records: Iterable[TelemetryRecord]) -> list[Picture]:
    """Return one picture a device, in the order of their names; doubles count once."""
    by_device: dict[str, dict[str, TelemetryRecord]] = defaultdict(dict)
    for record in records:
        by_device[record.device][record.id] = record
    return [
        _picture(device, sorted(found.values(), key=lambda record: record.time_unix_ns))
        for device, found in sorted(by_device.items())
    ]


def increase(values: Sequence[float]) -> float:
    """Return by how much a counter rose over its readings; a fall is a restart from zero."""
    pairs = itertools.pairwise(values)
    return sum(after - before if after >= before else after for before, after in pairs)


def weighted_median(values: Sequence[tuple[float, float]]) -> float | None:
    """Return the median of (value, weight) pairs, or None where all weights are zero."""
    half = sum(weight for _, weight in values) / 2
    passed = 0.0
    for value, weight in sorted(values):
        passed += weight
        if weight > 0 and passed >= half:
            return value
    return None


def row(target: str, picture: Picture, last_seen: str) -> dict[str, Any]:
    """Return a picture as a row of plain numbers, for JSON."""
    plain: dict[str, Any] = msgspec.to_builtins(picture)
    return {"target": target, **plain, "last_seen": last_seen}


def text_row(target: str, picture: Picture, last_seen: str) -> dict[str, Any]:
    """Return a picture as a row of short texts for a terminal."""
    rate = picture.error_rate
    return {
        "target": target,
        "device": picture.device,
        "release": picture.release,
        "answered": picture.answered,
        "error_rate": None if rate is None else f"{rate:.2%}",
        "p50_ms": picture.p50_ms,
        "p99_ms": picture.p99_ms,
        "drift": _drift_text(picture),
        "dropped": sum(picture.dropped.values()),
        "classes": _classes_text(picture.classes),
        "last_seen": last_seen,
    }


def _picture(device: str, records: list[TelemetryRecord]) -> Picture:
    health = [record for record in records if record.kind is Kind.HEALTH]
    drifts = [record for record in records if record.kind is Kind.DRIFT]
    predictions = [record for record in records if record.kind is Kind.PREDICTION]
    answered = failed = rate = None
    if len(health) > 1:
        answered = round(increase([_answered(record) for record in health]))
        failed = round(increase([_number(record, "errors") for record in health]))
        rate = failed / (answered + failed) if answered + failed else None
    drift = drifts[-1] if drifts else None
    p50, p99 = _latencies(health)
    return Picture(
        device=device,
        release=records[-1].release,
        answered=answered,
        failed=failed,
        error_rate=rate,
        p50_ms=p50,
        p99_ms=p99,
        predictions=len(predictions),
        warnings=sum(record.severity >= 13 for record in records),
        drift={} if drift is None else _measures(drift),
        drifted=drift is not None and bool(drift.attributes.get("crossed", False)),
        dropped=_dropped(health[-1]) if health else {},
        classes=_classes(predictions),
        last_seen_unix_ns=records[-1].time_unix_ns,
    )


def _latencies(health: list[TelemetryRecord]) -> tuple[float | None, float | None]:
    medians, worst = [], []
    before = 0.0
    for record in health:
        now = _answered(record)
        answered = now - before if now >= before else now
        before = now
        if answered > 0 and "latency_p50_ms" in record.attributes:
            medians.append((_number(record, "latency_p50_ms"), answered))
            worst.append(_number(record, "latency_p99_ms"))
    return weighted_median(medians), max(worst, default=None)


def _answered(record: TelemetryRecord) -> float:
    return _number(record, "requests") + _number(record, "pipeline.readings")


def _number(record: TelemetryRecord, name: str) -> float:
    value = record.attributes.get(name, 0)
    return 0.0 if isinstance(value, str) else float(value)


def _measures(record: TelemetryRecord) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in sorted(record.attributes.items())
        if name.endswith((".psi", ".ks")) and not isinstance(value, (str, bool))
    }


def _dropped(record: TelemetryRecord) -> dict[str, int]:
    mark = "telemetry.dropped."
    return {
        name.removeprefix(mark): int(_number(record, name))
        for name in sorted(record.attributes)
        if name.startswith(mark)
    }


def _classes(predictions: list[TelemetryRecord]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for record in predictions:
        best = record.attributes.get("class")
        if best is not None:
            found[str(best)] += 1
    return dict(found.most_common())


def _drift_text(picture: Picture) -> str:
    psi = {name: value for name, value in picture.drift.items() if name.endswith(".psi")}
    if not psi:
        return ""
    worst = max(psi, key=lambda name: psi[name])
    mark = " !" if picture.drifted else ""
    return f"{psi[worst]:.3f} {worst.removesuffix('.psi')}{mark}"


def _classes_text(classes: dict[str, int]) -> str:
    total = sum(classes.values())
    shown = [f"{name}:{count / total:.0%}" for name, count in classes.items()][:_SHOWN_CLASSES]
    more = len(classes) - len(shown)
    return " ".join([*shown, f"+{more}"] if more else shown)
