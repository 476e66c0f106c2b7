"""The picture of what devices told."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from edge_components.contract.histogram import counted, to_attributes
from edge_components.contract.telemetry import Kind, TelemetryRecord
from edgectl.cli.summary import increase, summarize, weighted_median, whole
from edgectl.cli.summary_rows import row, text_row

numbers = itertools.count()


def record(kind: Kind, time: int, device: str = "lot-7", **more: Any) -> TelemetryRecord:
    return TelemetryRecord(
        **{"id": f"r{next(numbers)}", "kind": kind, "time_unix_ns": time, "device": device, **more}
    )


def health(time: int, requests: int, errors: int = 0, **attributes: Any) -> TelemetryRecord:
    return record(
        Kind.HEALTH, time, attributes={"requests": requests, "errors": errors, **attributes}
    )


def test_answers_and_error_rate_are_increases_between_health_records() -> None:
    (found,) = summarize([health(1, 100, 5), health(2, 150, 5), health(3, 190, 15)])
    assert (found.answered, found.failed) == (90, 10)
    assert found.error_rate == pytest.approx(0.1)


def test_a_restart_that_begins_to_count_at_zero_does_not_hide_requests() -> None:
    (found,) = summarize([health(1, 100), health(2, 130), health(3, 20)])
    assert found.answered == 50


def test_one_health_record_tells_no_increase() -> None:
    (found,) = summarize([health(1, 100, 5)])
    assert (found.answered, found.error_rate) == (None, None)


def test_latency_is_the_weighted_median_and_the_worst_p99() -> None:
    records = [
        health(1, 10, latency_p50_ms=9.0, latency_p99_ms=50.0),
        health(2, 110, latency_p50_ms=1.0, latency_p99_ms=3.0),
        health(3, 110, latency_p50_ms=0.0, latency_p99_ms=0.0),
    ]
    (found,) = summarize(records)
    assert (found.p50_ms, found.p99_ms) == (1.0, 50.0)


BOUNDS = tuple(step / 1000 for step in range(1, 101))


def timed(time: int, requests: int, seconds: list[float], **more: Any) -> TelemetryRecord:
    """A health record with a histogram, and numbers that an older reader would take."""
    histogram = to_attributes("latency_s", counted(seconds, BOUNDS))
    return health(time, requests, latency_p50_ms=77.0, latency_p99_ms=77.0, **histogram, **more)


def test_percentiles_are_those_of_all_answers_together() -> None:
    slow = [0.0905] * 10
    fast = [0.0005] * 90
    records = [timed(1, 10, slow), timed(2, 100, fast)]
    (found,) = summarize(records)
    assert (found.p50_ms, found.p99_ms) == pytest.approx((0.556, 90.9), rel=0.01)
    assert found.p95_ms == pytest.approx(90.5, rel=0.01)


def test_a_target_adds_up_its_devices() -> None:
    records = [
        *[replace(timed(t, t * 99, [0.0005] * 99), device="a") for t in (1, 2)],
        *[replace(timed(t, t, [0.0905]), device="b") for t in (1, 2)],
        record(Kind.DRIFT, 3, "b", attributes={"input.x.psi": 0.4, "crossed": True}),
        record(Kind.PREDICTION, 3, "a", attributes={"class": 3}),
    ]
    total = whole(summarize(records))
    assert (total.device, total.devices, total.answered) == ("", 2, 100)
    assert total.p50_ms == pytest.approx(0.505, rel=0.01)
    assert total.p95_ms == pytest.approx(0.96, rel=0.01)  # the slow one is one in a hundred
    assert (total.drift, total.drifted, total.classes) == ({"input.x.psi": 0.4}, 1, {"3": 1})
    assert text_row("t", total, "")["device"] == "all 2"


def test_a_target_of_devices_without_histograms_still_has_latencies() -> None:
    records = [
        replace(health(t, t * n, latency_p50_ms=ms, latency_p99_ms=ms * 2), device=name)
        for t in (1, 2)
        for name, n, ms in (("a", 1, 8.0), ("b", 10, 2.0))
    ]
    total = whole(summarize(records))
    assert (total.p50_ms, total.p95_ms, total.p99_ms) == (2.0, None, 16.0)


def test_the_order_is_that_of_the_sequence_where_the_clock_jumped() -> None:
    before = replace(health(900, 100), sequence=1)
    after = replace(health(5, 130), sequence=2)
    (found,) = summarize([after, before])
    assert (found.answered, found.last_seen_unix_ns) == (30, 5)


def test_invalid_requests_and_confidence_are_told() -> None:
    sure = to_attributes("confidence", counted([0.91, 0.92, 0.97], (0.5, 0.9, 0.95, 1.0)))
    records = [
        health(1, 1, 0, **{"errors.invalid_request": 0}),
        health(2, 9, 3, **{"errors.invalid_request": 2}, **sure),
    ]
    (found,) = summarize(records)
    assert (found.failed, found.invalid) == (3, 2)
    plain = row("t", found, "")
    assert plain["confidence"]["samples"] == 3
    assert 0.9 < plain["confidence"]["p50"] <= 0.95
    assert json.dumps(plain)


def test_what_the_machine_suffers_from_is_said() -> None:
    host = {
        "throttled": True,
        "throttled.why": "undervoltage",
        "temperature_c": 91.5,
        "memory_total_bytes": 1000,
        "memory_available_bytes": 500,
        "disk_total_bytes": 1000,
        "disk_free_bytes": 20,
    }
    suspect = record(Kind.EVENT, 3, attributes={"clock.suspect": True})
    (found,) = summarize([health(1, 1), health(2, 1, **host), suspect])
    assert text_row("t", found, "")["trouble"] == (
        "throttled (undervoltage), 91.5 °C, disk 98% full, clock"
    )


def test_the_newest_drift_record_counts_and_says_whether_it_crossed() -> None:
    older = record(Kind.DRIFT, 1, attributes={"input.x.psi": 0.5, "crossed": True})
    newer = record(
        Kind.DRIFT,
        2,
        attributes={"input.x.psi": 0.01, "output.y.psi": 0.3, "samples": 500, "crossed": False},
    )
    (found,) = summarize([newer, older])
    assert found.drift == {"input.x.psi": 0.01, "output.y.psi": 0.3}
    assert not found.drifted
    assert text_row("t", found, "")["drift"] == "0.300 output.y"


def test_drops_are_those_of_the_last_health_record() -> None:
    drops = {"telemetry.dropped": 7, "telemetry.dropped.prediction.budget": 7}
    (found,) = summarize([health(1, 0), health(2, 0, **drops)])
    assert found.dropped == {"prediction.budget": 7}


def test_classes_are_counted_most_frequent_first_and_doubles_once() -> None:
    one = record(Kind.PREDICTION, 1, attributes={"class": 3})
    others = [record(Kind.PREDICTION, 2, attributes={"class": 1}) for _ in range(2)]
    (found,) = summarize([one, one, *others])
    assert list(found.classes.items()) == [("1", 2), ("3", 1)]
    assert found.predictions == 3


def test_each_device_has_a_picture_of_its_own_release_and_last_sign() -> None:
    records = [
        record(Kind.EVENT, 5, "b", release=2),
        record(Kind.EVENT, 9, "b", release=3, severity=13),
        record(Kind.EVENT, 7, "a", release=1),
    ]
    a, b = summarize(records)
    assert (a.device, a.release, a.last_seen_unix_ns, a.warnings) == ("a", 1, 7, 0)
    assert (b.device, b.release, b.last_seen_unix_ns, b.warnings) == ("b", 3, 9, 1)


@given(st.lists(st.integers(0, 1000)), st.integers(1, 500))
def test_a_restart_adds_exactly_what_came_after_it(steps: list[int], after: int) -> None:
    before = list(itertools.accumulate(steps, initial=after + 1))
    assert increase([*before, after]) == sum(steps) + after


def test_weighted_median_leaves_out_what_has_no_weight() -> None:
    assert weighted_median([(5.0, 0.0)]) is None
    assert weighted_median([(5.0, 0.0), (1.0, 1.0), (2.0, 3.0)]) == 2.0


def test_the_command_prints_a_row_a_device_as_text_and_as_json(site: Any) -> None:
    site.build(memory="{devices: 2}")
    site.run("deploy")
    text = site.run("telemetry", "--summary").stdout.splitlines()
    assert text[0].split()[:4] == ["TARGET", "DEVICE", "RELEASE", "ANSWERED"]
    assert len(text) == 4
    assert text[1].split()[:4] == ["all", "all", "2", "1"]
    rows = json.loads(site.run("telemetry", "--summary", "-o", "json").stdout)
    assert [found["target"] for found in rows] == ["all"] * 3
    assert [found["devices"] for found in rows] == [2, 1, 1]
    assert all(found["release"] == 1 and found["last_seen"].endswith("Z") for found in rows)


def test_a_summary_that_is_cut_short_says_so(site: Any) -> None:
    site.build(memory="{devices: 2}")
    site.run("deploy")
    done = site.run("telemetry", "--summary", "--limit", "1")
    assert "only the oldest 1" in done.stderr
