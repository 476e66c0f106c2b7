"""The picture of what devices told: from their telemetry records to one row a device and target.

Pure: records in, pictures out. Counters come from health records and are read as increases, so
that a restart, which begins at zero again, neither hides nor invents anything. Latencies are
percentiles of the devices' histograms, added up. Records of devices that send none yet give the
median of the intervals' medians, each with the weight of its requests, and the worst interval's
p99. A device's records stand in the order of their sequence, whatever its clock says.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import msgspec

from edge_components.contract.histogram import Histogram, from_attributes, merge
from edge_components.contract.telemetry import Kind, TelemetryRecord, Value

LATENCY = "latency_s"
CONFIDENCE = "confidence"
HOST = (
    *("cpu_share", "rss_bytes", "system.cpu_share", "load_1m", "memory_total_bytes"),
    *("memory_available_bytes", "disk_total_bytes", "disk_free_bytes", "temperature_c"),
    *("power_w", "battery_level", "mains_online", "throttled", "throttled.why"),
)


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """What one device, or all of a target, told in the time looked at.

    Attributes:
        device: Its name; "" for all of the target.
        devices: How many devices it is of.
        answered: Requests and readings with an answer, or None with less than two health records.
        failed: The same for those without one.
        invalid: Those of the failed that were refused for what was in them.
        error_rate: Failed as a share of all, or None where nothing was asked.
        latency: What the devices' histograms add up to, in seconds.
        confidence: The same for the confidence of answers.
        predictions: Prediction records, which sampling may have thinned.
        drift: The newest drift record's numbers by name (``input.x.psi``); the worst of a target.
        drifted: How many devices' newest drift record crossed a threshold.
        dropped: Records that the device says it lost since it started, by ``<kind>.<why>``.
        classes: Prediction records by class.
        host: What the newest health record says of the machine.
        misdated: Records whose time is not to be trusted.
        last_seen_unix_ns: Of the newest record, by the device's clock.
    """

    device: str
    devices: int = 1
    release: int | None
    answered: int | None
    failed: int | None
    invalid: int | None
    error_rate: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    latency: Histogram
    confidence: Histogram
    predictions: int
    warnings: int
    drift: dict[str, float]
    drifted: int
    dropped: dict[str, int]
    classes: dict[str, int]
    host: dict[str, Value] = {}
    misdated: int = 0
    last_seen_unix_ns: int


def by_device(records: Iterable[TelemetryRecord]) -> dict[str, list[TelemetryRecord]]:
    """Return each device's records in the order in which it made them; doubles count once."""
    found: dict[str, dict[str, TelemetryRecord]] = defaultdict(dict)
    for record in records:
        found[record.device][record.id] = record
    return {
        device: sorted(mine.values(), key=lambda record: (record.sequence, record.time_unix_ns))
        for device, mine in sorted(found.items())
    }


def summarize(records: Iterable[TelemetryRecord]) -> list[Picture]:
    """Return one picture a device, in the order of their names."""
    return [_picture(device, found) for device, found in by_device(records).items()]


def whole(pictures: Sequence[Picture]) -> Picture:
    """Return the picture of a target from those of its devices, of which there is at least one."""
    latency = merge(picture.latency for picture in pictures)
    answered = _sum(picture.answered for picture in pictures)
    failed = _sum(picture.failed for picture in pictures)
    p50, p95, p99 = _percentiles(latency)
    if p50 is None:
        known = [(p.p50_ms, float(p.answered or 0)) for p in pictures if p.p50_ms is not None]
        p50 = weighted_median(known)
        p99 = max((p.p99_ms for p in pictures if p.p99_ms is not None), default=None)
    releases = {picture.release for picture in pictures}
    return Picture(
        device="",
        devices=len(pictures),
        release=releases.pop() if len(releases) == 1 else None,
        answered=answered,
        failed=failed,
        invalid=_sum(picture.invalid for picture in pictures),
        error_rate=_share(failed, answered),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        latency=latency,
        confidence=merge(picture.confidence for picture in pictures),
        predictions=sum(picture.predictions for picture in pictures),
        warnings=sum(picture.warnings for picture in pictures),
        drift=_worst_drift(pictures),
        drifted=sum(picture.drifted for picture in pictures),
        dropped=_added(picture.dropped for picture in pictures),
        classes=_added(picture.classes for picture in pictures),
        misdated=sum(picture.misdated for picture in pictures),
        last_seen_unix_ns=max(picture.last_seen_unix_ns for picture in pictures),
    )


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


def number(record: TelemetryRecord, name: str) -> float:
    """Return a number among a record's attributes, 0 where there is none."""
    value = record.attributes.get(name, 0)
    return 0.0 if isinstance(value, str) else float(value)


def measures(record: TelemetryRecord) -> dict[str, float]:
    """Return a drift record's measures by name."""
    return {
        name: float(value)
        for name, value in sorted(record.attributes.items())
        if name.endswith((".psi", ".ks"))
        and not name.startswith("threshold.")
        and not isinstance(value, (str, bool))
    }


def is_misdated(record: TelemetryRecord) -> bool:
    """Whether the device says that it did not know the time."""
    return record.attributes.get("clock.suspect") is True


def _picture(device: str, records: list[TelemetryRecord]) -> Picture:
    health = [record for record in records if record.kind is Kind.HEALTH]
    drifts = [record for record in records if record.kind is Kind.DRIFT]
    predictions = [record for record in records if record.kind is Kind.PREDICTION]
    answered = _increase(health, "requests", "pipeline.readings")
    failed = _increase(health, "errors")
    drift = drifts[-1] if drifts else None
    latency = _merged(health, LATENCY)
    p50, p95, p99 = _percentiles(latency)
    if p50 is None:
        p50, p99 = _reported(health)
    return Picture(
        device=device,
        release=records[-1].release,
        answered=answered,
        failed=failed,
        invalid=_increase(health, "errors.invalid_request"),
        error_rate=_share(failed, answered),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        latency=latency,
        confidence=_merged(health, CONFIDENCE),
        predictions=len(predictions),
        warnings=sum(record.severity >= 13 for record in records),
        drift={} if drift is None else measures(drift),
        drifted=int(drift is not None and drift.attributes.get("crossed") is True),
        dropped=_dropped(health[-1]) if health else {},
        classes=_classes(predictions),
        host=_host(health[-1]) if health else {},
        misdated=sum(map(is_misdated, records)),
        last_seen_unix_ns=records[-1].time_unix_ns,
    )


def _merged(health: list[TelemetryRecord], name: str) -> Histogram:
    found = (from_attributes(name, record.attributes) for record in health)
    return merge(histogram for histogram in found if histogram is not None)


def _percentiles(latency: Histogram) -> tuple[float | None, float | None, float | None]:
    p50, p95, p99 = (latency.quantile(share) for share in (0.5, 0.95, 0.99))
    return _ms(p50), _ms(p95), _ms(p99)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else float(f"{seconds * 1000:.4g}")


def _reported(health: list[TelemetryRecord]) -> tuple[float | None, float | None]:
    """Return the median and the worst p99 of what records without a histogram report."""
    medians, worst = [], []
    before = 0.0
    for record in health:
        now = number(record, "requests") + number(record, "pipeline.readings")
        answered = now - before if now >= before else now
        before = now
        if answered > 0 and "latency_p50_ms" in record.attributes:
            medians.append((number(record, "latency_p50_ms"), answered))
            worst.append(number(record, "latency_p99_ms"))
    return weighted_median(medians), max(worst, default=None)


def _increase(health: list[TelemetryRecord], *names: str) -> int | None:
    if len(health) < 2:
        return None
    return round(increase([sum(number(record, name) for name in names) for record in health]))


def _share(failed: int | None, answered: int | None) -> float | None:
    if failed is None or answered is None or not answered + failed:
        return None
    return failed / (answered + failed)


def _dropped(record: TelemetryRecord) -> dict[str, int]:
    mark = "telemetry.dropped."
    return {
        name.removeprefix(mark): int(number(record, name))
        for name in sorted(record.attributes)
        if name.startswith(mark)
    }


def _host(record: TelemetryRecord) -> dict[str, Value]:
    return {name: record.attributes[name] for name in HOST if name in record.attributes}


def _classes(predictions: list[TelemetryRecord]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for record in predictions:
        best = record.attributes.get("class")
        if best is not None:
            found[str(best)] += 1
    return dict(found.most_common())


def _worst_drift(pictures: Sequence[Picture]) -> dict[str, float]:
    worst: dict[str, float] = {}
    for picture in pictures:
        for name, value in picture.drift.items():
            worst[name] = max(value, worst.get(name, value))
    return dict(sorted(worst.items()))


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _added(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for one in counts:
        found.update(one)
    return dict(found.most_common())
