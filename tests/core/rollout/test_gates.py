"""Gates as people write them, what devices tell added up, and the judge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_components.contract.histogram import MAX_BOUNDS, Histogram, counted, to_attributes
from edge_components.contract.telemetry import Kind, TelemetryRecord
from edgectl.rollout.gates import Gate, GatePolicy, Judged, Measure, read_gate
from edgectl.rollout.judge import WaveTold, above, at_least, judge
from edgectl.rollout.meter import Meter, Told

GRID = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
DEVICES = ("a", "b", "c")


def record(device: str, number: int, release: int = 7, **attributes: Any) -> TelemetryRecord:
    kind = Kind.DRIFT if "worst_psi" in attributes else Kind.HEALTH
    return TelemetryRecord(
        id=f"{device}-{number}",
        kind=kind,
        time_unix_ns=number * 10**9,
        device=device,
        release=release,
        sequence=number,
        attributes=attributes,
    )


def health(
    device: str, number: int, release: int = 7, *, seconds: Sequence[float] = (), failed: int = 0
) -> TelemetryRecord:
    counts: dict[str, Any] = to_attributes("latency_s", counted(seconds, GRID))
    told = {"interval.answered": len(seconds), "interval.failed": failed}
    return record(device, number, release, **counts, **told)


def added(records: Sequence[TelemetryRecord], release: int = 7) -> dict[str, Told]:
    meter = Meter(DEVICES, range(release, release + 1))
    for one in records:
        meter.take(one)
    return meter.told


def judged(
    told: dict[str, Told],
    *gates: Gate,
    over: bool = True,
    before: Histogram | None = None,
    size: int = 3,
    **policy: Any,
) -> Judged:
    wave = WaveTold(wave=2, size=size, told=told, before=before or Histogram(), over=over)
    return judge(GatePolicy(gates=gates, **policy), wave, 50.0)


def result(told: dict[str, Told], *gates: Gate, **more: Any) -> str:
    (finding,) = judged(told, *gates, **more).findings
    return finding.result


# -- as people write them


@pytest.mark.parametrize(
    ("measure", "text", "limit", "relative"),
    [
        ("error_rate", "<= 1%", 0.01, False),
        ("error_rate", " <=0.5 % ", 0.005, False),
        ("error_rate", "<= 0.02", 0.02, False),
        ("latency_p99", "<= 50ms", 0.05, False),
        ("latency_p50", "<= 1.5s", 1.5, False),
        ("latency_p95", "<= 1.5x", 1.5, True),
        ("restarts", "<= 0", 0.0, False),
        ("drift", "<= 0.25", 0.25, False),
    ],
)
def test_a_gate_is_read(measure: Measure, text: str, limit: float, relative: bool) -> None:
    gate = read_gate(measure, text)
    assert (gate.limit, gate.relative) == (pytest.approx(limit), relative)
    assert read_gate(measure, gate.written) == gate


@pytest.mark.parametrize(
    ("measure", "text"),
    [
        *[("error_rate", text) for text in ("1%", "< 1%", ">= 1%", "<= 200%", "<= 2x", "<= x")],
        *[("latency_p99", text) for text in ("<= 50", "<= 0ms", "<= 0x", "<= 1e9x", "<= fast")],
        *[("restarts", text) for text in ("<= -1", "<= 1%", "<=", "== 0")],
        ("drift", "<= 1.2x"),
    ],
)
def test_what_is_no_gate_is_refused_with_an_example(measure: Measure, text: str) -> None:
    with pytest.raises(ValueError, match="allowed: '<="):
        read_gate(measure, text)


def test_a_policy_without_a_gate_or_with_one_twice_is_refused() -> None:
    gate = read_gate("restarts", "<= 0")
    with pytest.raises(ValueError, match="there is no gate"):
        GatePolicy(gates=())
    with pytest.raises(ValueError, match="two gates"):
        GatePolicy(gates=(gate, gate))
    with pytest.raises(ValueError, match="min_samples"):
        GatePolicy(gates=(gate,), min_samples=0)


# -- added up

latencies = st.lists(st.sampled_from([*GRID, 0.003, 0.07, 0.4, 3.0]), max_size=40)
reports = st.lists(
    st.tuples(st.sampled_from(DEVICES), latencies, st.integers(0, 5)), min_size=1, max_size=20
)


def as_records(told: list[tuple[str, list[float], int]]) -> list[TelemetryRecord]:
    return [
        health(device, number, seconds=seconds, failed=failed)
        for number, (device, seconds, failed) in enumerate(told, start=1)
    ]


@given(reports, st.randoms(use_true_random=False))
def test_what_was_read_before_and_in_which_pages_changes_nothing(
    told: list[tuple[str, list[float], int]], chance: Any
) -> None:
    records = as_records(told)
    # Looks overlap: each reads on from somewhere in what was read already.
    looks, end = [], 0
    while end < len(records):
        begin, end = chance.randint(0, end), chance.randint(end + 1, len(records))
        looks += records[begin:end]
    assert added(looks) == added(records)


@given(reports)
def test_a_percentile_of_a_wave_is_that_of_all_its_answers(
    told: list[tuple[str, list[float], int]],
) -> None:
    everything = counted([s for _, seconds, _ in told for s in seconds], GRID)
    gate = Gate(measure="latency_p99", limit=0.05)
    (finding,) = judged(added(as_records(told)), gate, min_samples=1).findings
    wanted = everything.quantile(0.99)
    if wanted is None:
        assert (finding.result, finding.value) == ("missing", None)
    else:
        assert finding.value == pytest.approx(wanted)
        assert (finding.result == "missed") == (wanted > 0.05 * (1 + 1e-9))


@given(latencies, st.sampled_from([*GRID, 0.004, 0.3]), st.sampled_from([0.5, 0.95, 0.99]))
def test_the_share_above_a_limit_and_the_percentile_say_the_same(
    seconds: list[float], limit: float, share: float
) -> None:
    histogram = counted([s for s in seconds if s <= 1.0], GRID)
    value = histogram.quantile(share)
    if value is not None and abs(value - limit) > 1e-9:
        slow = above(histogram, limit) / histogram.count
        assert (value > limit) == (slow > 1 - share + 1e-12)


def test_a_device_that_sends_other_bounds_each_time_gets_no_more_memory() -> None:
    records = []
    for number in range(1, 20):
        grid = [number + step / 1000 for step in range(200)]
        attributes = to_attributes("latency_s", counted(grid, grid))
        records.append(record("a", number, **{"interval.answered": 200, **attributes}))
    told = added(records)["a"]
    assert 0 < len(told.latency.bounds) <= MAX_BOUNDS
    assert told.answered == 19 * 200


def test_other_devices_and_other_releases_do_not_count() -> None:
    records = [
        health("a", 1, 6, seconds=[0.5], failed=9),
        health("a", 2, seconds=[0.5]),
        health("stranger", 3, seconds=[0.5]),
        health("a", 4, 8, seconds=[0.5]),
    ]
    told = added(records)
    assert set(told) == {"a"}
    assert (told["a"].answered, told["a"].failed) == (1, 0)


def test_of_several_releases_before_a_device_s_newest_counts() -> None:
    meter = Meter(DEVICES, range(1, 7))
    old, new = health("a", 1, 5, seconds=[0.5] * 3), health("a", 2, 6, seconds=[0.1])
    late = msgspec.structs.replace(old, sequence=3)
    for one in (old, new, late):
        meter.take(one)
    assert (meter.told["a"].release, meter.told["a"].answered) == (6, 1)


@pytest.mark.parametrize("value", ["many", -3, 1.5, 1 << 63, math.nan])
def test_what_is_no_count_is_none(value: Any) -> None:
    odd = {"interval.answered": value, "interval.failed": value, "restarts": value}
    told = added([record("a", 1, **odd)])["a"]
    assert (told.answered, told.failed, told.restarts, told.health) == (0, 0, 0, 1)


# -- the judge

told_of_device = st.builds(
    Told,
    health=st.integers(0, 3),
    answered=st.integers(0, 3000),
    failed=st.integers(0, 300),
    latency=latencies.map(lambda seconds: counted(seconds * 20, GRID)),
    restarts=st.integers(0, 3),
    drift_rows=st.sampled_from([0, 0, 30, 1000]),
    drift_sum=st.floats(0, 500),
)
waves_told = st.dictionaries(st.sampled_from(DEVICES), told_of_device)
gates = st.builds(
    Gate,
    measure=st.sampled_from(["error_rate", "latency_p50", "latency_p99", "restarts", "drift"]),
    limit=st.sampled_from([0.0, 0.01, 0.05, 0.3, 1.0]),
)


@given(waves_told, gates)
def test_what_is_missed_before_the_end_would_be_missed_at_the_end(
    told: dict[str, Told], gate: Gate
) -> None:
    early, late = result(told, gate, over=False), result(told, gate)
    assert early in {"open", "missed"}
    assert late in {"met", "missed", "missing"}
    assert late == "missed" or early == "open"


@given(waves_told, gates)
def test_a_gate_is_missed_where_the_value_is_above_the_limit_and_enough_was_told(
    told: dict[str, Told], gate: Gate
) -> None:
    (finding,) = judged(told, gate).findings
    assert (finding.result == "missing") == (finding.value is None)
    if finding.value is not None:
        assert (finding.result == "missed") == (finding.value > gate.limit * (1 + 1e-9) + 1e-12)
    assert bool(finding.devices) <= (finding.result == "missed")


@given(waves_told, gates)
def test_too_little_fails_a_wave_only_where_the_policy_says_so(
    told: dict[str, Told], gate: Gate
) -> None:
    lenient, strict = judged(told, gate), judged(told, gate, on_missing="fail")
    assert bool(lenient.missed) == (lenient.findings[0].result == "missed")
    assert bool(strict.missed) == (strict.findings[0].result != "met")


@given(st.integers(1, 100_000), st.floats(0, 1))
def test_what_was_seen_is_never_surely_less_than_chance_allows(of: int, share: float) -> None:
    found = round(share * of)
    assert 0 <= at_least(found, of) <= found / of + 1e-12


def test_a_few_early_failures_are_no_proof_and_many_are() -> None:
    gate = read_gate("error_rate", "<= 1%")
    few, many = Told(answered=98, failed=2), Told(answered=80, failed=20)
    assert result({"a": few}, gate, over=False) == "open"
    assert result({"a": few}, gate) == "missed"
    assert result({"a": many}, gate, over=False) == "missed"


def test_a_limit_relative_to_before_is_of_the_same_percentile() -> None:
    gate = read_gate("latency_p99", "<= 1.5x")
    before = counted([0.01] * 1000, GRID)
    slow = {"a": Told(latency=counted([0.05] * 1000, GRID))}
    same = {"a": Told(latency=counted([0.01] * 1000, GRID))}
    assert result(slow, gate, before=before) == "missed"
    assert result(same, gate, before=before) == "met"
    assert result(slow, gate) == "missing"
    (finding,) = judged(slow, gate, before=before).findings
    assert finding.allowed == pytest.approx(1.5 * (before.quantile(0.99) or 0))
    assert "1.5x of before" in finding.why


def test_the_sentence_names_measure_value_limit_and_the_devices_that_weigh_most() -> None:
    told = {
        "a": Told(latency=counted([0.005] * 900, GRID)),
        "b": Told(latency=counted([0.2] * 90, GRID)),
        "c": Told(latency=counted([0.2] * 10, GRID)),
    }
    found = judged(told, read_gate("latency_p99", "<= 50ms"))
    assert found.missed == "latency_p99 is 190ms, at most 50ms is allowed, most by b, c"
    assert found.findings[0].devices == ("b", "c")


def test_restarts_are_counted_per_device_of_the_wave() -> None:
    told = {"a": Told(health=1, restarts=1), "b": Told(health=1), "c": Told(health=1)}
    assert result(told, read_gate("restarts", "<= 0.4")) == "met"
    assert result(told, read_gate("restarts", "<= 0.3")) == "missed"
    assert result(told, read_gate("restarts", "<= 0"), over=False) == "missed"
    alone = {"a": Told(health=1)}
    assert result(alone, read_gate("restarts", "<= 0")) == "missing"
    assert result({"a": Told(health=1, restarts=9)}, read_gate("restarts", "<= 0")) == "missed"


def test_drift_is_the_mean_over_rows_of_the_windows() -> None:
    records = [
        record("a", 1, worst_psi=0.4, rows=100),
        record("b", 2, worst_psi=0.0, rows=300),
        record("a", 3, worst_psi=math.nan, rows=1000),
    ]
    told = added(records)
    gate = read_gate("drift", "<= 0.05")
    (finding,) = judged(told, gate).findings
    assert (finding.result, finding.value) == ("missed", pytest.approx(0.1))
    assert finding.devices == ("a",)
    assert result(told, gate, over=False) == "open"  # one device has not told a window yet
    assert result(told, gate, over=False, size=2) == "missed"
