"""Judging the gates of a wave by what its devices told; pure.

What devices told of the release is added up over the wave: counters by adding, latencies by adding
histograms, so that a percentile is that of all answers and never a mean of percentiles. Restarts
are counted per device of the wave, and drift is the mean over rows, so that one limit fits waves of
every size. While the wave soaks a gate is missed only where chance cannot be the reason for what
was seen; when the soak is over, the measured value decides. Too little decides nothing, and is
said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from edge_components.contract.histogram import Histogram
from edgectl.records import Record
from edgectl.rollout.gates import QUANTILES, Finding, Gate, GatePolicy, Judged, show
from edgectl.rollout.meter import Told, all_latencies

MOST_NAMED = 5
SURE = 3.0
"""Standard deviations beyond which a share is no chance: less than one look in seven hundred."""


class WaveTold(Record, frozen=True, kw_only=True):
    """What is known of a wave.

    Attributes:
        wave: Its number, from 1.
        size: How many of its devices are healthy with the release.
        told: What they told of it, by device.
        before: The latencies that they told of the release before.
        over: Whether the soak is over.
    """

    wave: int
    size: int
    told: Mapping[str, Told]
    before: Histogram = Histogram()
    over: bool = False


class _Measured(msgspec.Struct, kw_only=True):
    """A measure of a wave.

    Attributes:
        unit: What ``samples`` counts.
        enough: Whether they are enough to judge by.
        is_sure: Whether more of them would hardly bring the value below the limit.
        weights: How much each device adds to what is beyond the limit.
    """

    value: float
    samples: int
    unit: str
    enough: bool
    is_sure: bool
    weights: dict[str, float]


def judge(policy: GatePolicy, wave: WaveTold, at: float) -> Judged:
    """Judge a wave's gates.

    Args:
        policy: The gates.
        wave: What is known of the wave.
        at: Now, seconds since 1970 UTC.
    """
    findings = tuple(_find(gate, policy, wave) for gate in policy.gates)
    wrong = {"missed", "missing"} if policy.on_missing == "fail" else {"missed"}
    missed = "; ".join(finding.why for finding in findings if finding.result in wrong)
    return Judged(at=at, findings=findings, missed=missed)


def above(histogram: Histogram, limit: float) -> float:
    """Return how many values are above a limit, interpolated within its bucket as quantiles are."""
    found = 0.0
    for index, count in enumerate(histogram.counts):
        low = histogram.bounds[index - 1] if index else min((0.0, *histogram.bounds[:1]))
        high = histogram.bounds[index] if index < len(histogram.bounds) else low
        if limit <= low and (high > low or limit < low):
            found += count
        elif limit < high:
            found += count * (high - limit) / (high - low)
    return found


def at_least(found: float, of: int) -> float:
    """Return below which share chance cannot have it that ``found`` were seen (Wilson, 1927)."""
    share, square = found / of, SURE * SURE
    spread = SURE * math.sqrt(share * (1 - share) / of + square / (4 * of * of))
    return max(0.0, (share + square / (2 * of) - spread) / (1 + square / of))


def _find(gate: Gate, policy: GatePolicy, wave: WaveTold) -> Finding:
    unknown = Finding(
        wave=wave.wave,
        measure=gate.measure,
        limit=gate.written,
        result="missing" if wave.over else "open",
    )
    allowed = _allowed(gate, policy, wave)
    if allowed is None:
        why = f"not enough data of the release before to judge {gate.measure}"
        return msgspec.structs.replace(unknown, why=why)
    measured = _measure(gate, allowed, policy, wave)
    if not measured.enough:
        why = f"not enough data to judge {gate.measure} ({measured.samples} {measured.unit})"
        return msgspec.structs.replace(unknown, samples=measured.samples, allowed=allowed, why=why)
    known = msgspec.structs.replace(
        unknown, value=measured.value, allowed=allowed, samples=measured.samples
    )
    return _compared(known, gate, measured, wave)


def _compared(known: Finding, gate: Gate, measured: _Measured, wave: WaveTold) -> Finding:
    allowed = known.allowed or 0.0
    shown, limit = show(gate.measure, measured.value), show(gate.measure, allowed)
    limit += f" ({gate.limit:g}x of before)" if gate.relative else ""
    is_beyond = measured.value > allowed * (1 + 1e-9) + 1e-12
    if is_beyond and (wave.over or measured.is_sure):
        weights = measured.weights
        heaviest = sorted((d for d in weights if weights[d] > 0), key=lambda d: (-weights[d], d))
        most = f", most by {', '.join(heaviest[:2])}" if heaviest and wave.size > 1 else ""
        return msgspec.structs.replace(
            known,
            result="missed",
            devices=tuple(heaviest[:MOST_NAMED]),
            why=f"{gate.measure} is {shown}, at most {limit} is allowed{most}",
        )
    result = "met" if wave.over else "open"
    return msgspec.structs.replace(
        known, result=result, why=f"{gate.measure} is {shown} of at most {limit}"
    )


def _allowed(gate: Gate, policy: GatePolicy, wave: WaveTold) -> float | None:
    """Return the limit as a number; None where it hangs on what is not known."""
    if not gate.relative:
        return gate.limit
    enough = wave.before.count >= policy.min_samples
    value = wave.before.quantile(QUANTILES[gate.measure]) if enough else None
    return None if value is None else gate.limit * value


def _measure(gate: Gate, allowed: float, policy: GatePolicy, wave: WaveTold) -> _Measured:
    if gate.measure in QUANTILES:
        return _latency(QUANTILES[gate.measure], allowed, policy, wave)
    if gate.measure == "error_rate":
        return _error_rate(allowed, policy, wave)
    return _restarts(allowed, wave) if gate.measure == "restarts" else _drift(wave)


def _error_rate(allowed: float, policy: GatePolicy, wave: WaveTold) -> _Measured:
    failed = sum(one.failed for one in wave.told.values())
    asked = failed + sum(one.answered for one in wave.told.values())
    return _Measured(
        value=failed / asked if asked else 0.0,
        samples=asked,
        unit="answers",
        enough=asked >= policy.min_samples,
        is_sure=asked > 0 and at_least(failed, asked) > allowed,
        weights={device: float(one.failed) for device, one in wave.told.items()},
    )


def _latency(share: float, allowed: float, policy: GatePolicy, wave: WaveTold) -> _Measured:
    latency = all_latencies(wave.told.values())
    slow = {device: above(one.latency, allowed) for device, one in wave.told.items()}
    count = latency.count
    return _Measured(
        value=latency.quantile(share) or 0.0,
        samples=count,
        unit="answers",
        enough=count >= policy.min_samples,
        is_sure=count > 0 and at_least(above(latency, allowed), count) > 1 - share,
        weights=slow,
    )


def _restarts(allowed: float, wave: WaveTold) -> _Measured:
    value = sum(one.restarts for one in wave.told.values()) / max(wave.size, 1)
    told = sum(1 for one in wave.told.values() if one.health)
    # Silent devices cannot take back what others told.
    return _Measured(
        value=value,
        samples=told,
        unit=f"of {wave.size} devices",
        enough=_is_half(told, wave.size) or value > allowed,
        is_sure=True,
        weights={device: float(one.restarts) for device, one in wave.told.items()},
    )


def _drift(wave: WaveTold) -> _Measured:
    told = {device: one for device, one in wave.told.items() if one.drift_rows}
    rows = sum(one.drift_rows for one in told.values())
    return _Measured(
        value=sum(one.drift_sum for one in told.values()) / rows if rows else 0.0,
        samples=len(told),
        unit=f"of {wave.size} devices",
        enough=_is_half(len(told), wave.size),
        is_sure=len(told) == wave.size,
        weights={device: one.drift_sum for device, one in told.items()},
    )


def _is_half(told: int, size: int) -> bool:
    return told > 0 and 2 * told >= size
