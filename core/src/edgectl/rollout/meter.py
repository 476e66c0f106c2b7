"""Adding up what devices told, in memory that is constant for each device; pure.

A device's records rise by their sequence, so a record that was read before, by an earlier look or
because deliveries overlap, is known without keeping its id. Health records tell what came since the
one before (OTLP's delta temporality), so what they tell of one release is of that release alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec

from edge_components.contract.histogram import MAX_BOUNDS, Histogram, from_attributes, merge
from edge_components.contract.telemetry import Kind, TelemetryRecord

LATENCY = "latency_s"


class Told(msgspec.Struct, kw_only=True):
    """What one device told of one release.

    Attributes:
        release: Its number.
        health: How many health records it sent; 0 is a device that told nothing.
        answered: Requests and readings with an answer.
        failed: Those without one.
        restarts: How often its runtime began anew with the release.
        drift_rows: Rows of all drift windows.
        drift_sum: Their largest population stability indices, each times its rows.
    """

    release: int = 0
    health: int = 0
    answered: int = 0
    failed: int = 0
    latency: Histogram = Histogram()
    restarts: int = 0
    drift_rows: int = 0
    drift_sum: float = 0.0


class Meter:
    """Adds up records of some devices about one release, or about the newest of several.

    Args:
        devices: Whose records count.
        releases: Which releases count. Where a device told of several, its newest does.

    Attributes:
        told: By device; those that told nothing are missing.
    """

    def __init__(self, devices: Collection[str], releases: range) -> None:
        self.told: dict[str, Told] = {}
        self._devices = frozenset(devices)
        self._releases = releases
        self._known: dict[tuple[str, Kind], tuple[int, int]] = {}

    def take(self, record: TelemetryRecord) -> None:
        """Count a record, if it is one that counts and was not counted before."""
        if record.device not in self._devices or record.release not in self._releases:
            return
        if record.kind not in {Kind.HEALTH, Kind.DRIFT} or not self._is_new(record):
            return
        told = self.told.setdefault(record.device, Told(release=record.release))
        if record.release > told.release:
            told = self.told[record.device] = Told(release=record.release)
        if record.release < told.release:
            return
        if record.kind is Kind.HEALTH:
            _take_health(told, record)
        else:
            _take_drift(told, record)

    def _is_new(self, record: TelemetryRecord) -> bool:
        # Devices with an older queue number nothing: there the time has to do.
        place = record.sequence, record.time_unix_ns
        key = record.device, record.kind
        if place <= self._known.get(key, (-1, -1)):
            return False
        self._known[key] = place
        return True


def all_latencies(told: Iterable[Told]) -> Histogram:
    """Return the latencies of several devices together."""
    return merge(one.latency for one in told)


def _take_health(told: Told, record: TelemetryRecord) -> None:
    found = from_attributes(LATENCY, record.attributes)
    told.health += 1
    told.answered += _count(record, "interval.answered")
    told.failed += _count(record, "interval.failed")
    told.restarts = max(told.restarts, _count(record, "restarts"))
    if found is not None:
        both = merge((told.latency, found))
        # Devices share one grid of bounds. One that sends others for ever gets no more memory.
        if len(both.bounds) <= MAX_BOUNDS:
            told.latency = both


def _take_drift(told: Told, record: TelemetryRecord) -> None:
    rows, worst = _count(record, "rows"), record.attributes.get("worst_psi")
    if rows and isinstance(worst, (int, float)) and 0 <= worst < float("inf"):
        told.drift_rows += rows
        told.drift_sum += rows * float(worst)


def _count(record: TelemetryRecord, name: str) -> int:
    """Return a count among a record's attributes, 0 where there is none."""
    value = record.attributes.get(name, 0)
    return value if isinstance(value, int) and 0 < value < 1 << 62 else 0
