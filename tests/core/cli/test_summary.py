"""The picture of what devices told."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_components.contract.telemetry import Kind, TelemetryRecord
from edgectl.cli.summary import increase, summarize, text_row, weighted_median

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
    assert len(text) == 3
    rows = json.loads(site.run("telemetry", "--summary", "-o", "json").stdout)
    assert [row["target"] for row in rows] == ["all", "all"]
    assert all(row["release"] == 1 and row["last_seen"].endswith("Z") for row in rows)


def test_a_summary_that_is_cut_short_says_so(site: Any) -> None:
    site.build(memory="{devices: 2}")
    site.run("deploy")
    done = site.run("telemetry", "--summary", "--limit", "1")
    assert "only the oldest 1" in done.stderr
