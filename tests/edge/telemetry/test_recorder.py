"""The recorder: sampling, caps, records' content and health."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_components.contract.package import TensorSpec
from edge_components.contract.telemetry import BRISK_RECORDS, BRISK_SHARE, Kind
from edge_components.telemetry.privacy import Policy
from edge_components.telemetry.queue import TelemetryQueue
from edge_components.telemetry.recorder import Recorder, Subject

SPECS = (TensorSpec(name="scores", datatype="FP32", shape=(-1, 3)),)
SCORES = [np.array([[0.1, 0.7, 0.2]], dtype=np.float32)]
MODEL = SimpleNamespace(
    identity=SimpleNamespace(
        name="plates", version="1.0.0", release=7, package="sha256:x", precision="int8"
    )
)


@pytest.fixture
def recorder(queue: TelemetryQueue) -> Iterator[Recorder]:
    found = Recorder(queue, Subject(device="lot-7", application="plates"))
    yield found
    found.stop()


def records(queue: TelemetryQueue) -> list[Any]:
    return [item.record for item in queue.peek(max_records=10_000, max_bytes=1 << 30)]


def test_a_prediction_says_model_latency_class_and_score(
    recorder: Recorder, queue: TelemetryQueue
) -> None:
    recorder.prediction(MODEL, 0.0015, SPECS, SCORES, "http")
    recorder.start()
    recorder.stop()
    (found,) = records(queue)
    assert found.kind is Kind.PREDICTION
    assert (found.device, found.release, found.package) == ("lot-7", 7, "sha256:x")
    assert found.attributes["class"] == 1
    assert found.attributes["score"] == pytest.approx(0.7)
    assert found.attributes["latency_ms"] == 1.5
    assert found.attributes["model.precision"] == "int8"
    assert found.attributes["source"] == "http"


def test_ids_are_unique_also_over_restarts(queue: TelemetryQueue) -> None:
    for _ in range(2):
        recorder = Recorder(queue, Subject())
        for _ in range(10):
            recorder.event("x")
        recorder.start()
        recorder.stop()
    assert len({record.id for record in records(queue)}) == 20


def test_sampling_takes_its_share_and_counts_the_rest(
    recorder: Recorder, queue: TelemetryQueue
) -> None:
    recorder.about(Subject(device="d"), 0.25)
    for _ in range(400):
        recorder.prediction(MODEL, 0.001, SPECS, SCORES, "http")
    recorder.start()
    recorder.stop()
    taken = len(records(queue))
    assert 50 < taken < 160
    assert recorder.sampled_out == 400 - taken


def test_a_sample_of_zero_takes_nothing(recorder: Recorder, queue: TelemetryQueue) -> None:
    recorder.about(Subject(device="d"), 0.0)
    recorder.prediction(MODEL, 0.001, SPECS, SCORES, "http")
    recorder.start()
    recorder.stop()
    assert records(queue) == []


def test_a_rush_of_predictions_is_capped_and_counted(queue: TelemetryQueue) -> None:
    recorder = Recorder(queue, Subject(), max_predictions_per_s=100)
    for _ in range(1000):
        recorder.prediction(MODEL, 0.001, SPECS, SCORES, "http")
    recorder.start()
    recorder.stop()
    assert len(records(queue)) == 200
    assert recorder.sampled_out == 800


def test_large_outputs_are_not_kept_alive(recorder: Recorder, queue: TelemetryQueue) -> None:
    recorder.prediction(MODEL, 0.001, SPECS, [np.zeros((1, 100_000), np.float32)], "http")
    recorder.start()
    recorder.stop()
    assert "class" not in records(queue)[0].attributes


def test_nan_scores_do_not_reach_a_record(recorder: Recorder, queue: TelemetryQueue) -> None:
    recorder.prediction(MODEL, 0.001, SPECS, [np.full((1, 3), np.nan, np.float32)], "http")
    recorder.start()
    recorder.stop()
    assert "score" not in records(queue)[0].attributes


def test_a_loss_that_health_told_is_not_told_again_after_a_restart(
    queue: TelemetryQueue, tmp_path: Path, until: Any
) -> None:
    queue.drops["prediction.budget"] = 5
    recorder = Recorder(queue, Subject(), health=dict, health_interval_s=0.05)
    recorder.event("something that is written before")
    recorder.start()
    until(lambda: any(record.kind is Kind.HEALTH for record in records(queue)))
    again = TelemetryQueue(tmp_path / "q.db", max_bytes=1 << 20, ttl_s=3600)
    assert not again.drops
    again.close()
    recorder.stop()


def test_health_reports_the_queue_and_what_was_dropped(queue: TelemetryQueue, until: Any) -> None:
    queue.drops["prediction.budget"] = 5
    recorder = Recorder(
        queue, Subject(device="d"), health=lambda: {"rss_bytes": 1}, health_interval_s=0.05
    )
    recorder.start()
    until(lambda: len(queue) > 0)
    recorder.stop()
    found = records(queue)[0]
    assert found.kind is Kind.HEALTH
    assert found.attributes["rss_bytes"] == 1
    assert found.attributes["telemetry.dropped"] == 5
    assert found.attributes["telemetry.dropped.prediction.budget"] == 5
    assert found.attributes["telemetry.sampled_out"] == 0


def test_a_health_probe_that_fails_does_not_end_the_recorder(
    queue: TelemetryQueue, until: Any
) -> None:
    def broken() -> dict[str, Any]:
        raise OSError("no sensor")

    recorder = Recorder(queue, Subject(), health=broken, health_interval_s=0.05)
    recorder.start()
    until(lambda: not recorder._thread.is_alive() or recorder._next >= 0)
    recorder.event("still here")
    until(lambda: len(queue) == 1)
    recorder.stop()


def taken_with(recorder: Recorder, queue: TelemetryQueue, policy: Policy) -> dict[str, Any]:
    """Record one answer to one question; return the record's attributes."""
    recorder.about(Subject(device="d"), 1.0, policy=policy)
    inputs = {"x": np.array([[1.5, 2.0]], np.float32)}
    recorder.prediction(MODEL, 0.001, SPECS, SCORES, "http", inputs=inputs)
    inputs["x"][:] = 9  # the next request overwrites the buffer
    recorder.start()
    recorder.stop()
    (found,) = records(queue)
    attributes: dict[str, Any] = found.attributes
    return attributes


def test_by_default_the_question_stays_on_the_device(
    recorder: Recorder, queue: TelemetryQueue
) -> None:
    found = taken_with(recorder, queue, Policy())
    assert found["class"] == 1
    assert not [name for name in found if name.startswith(("input.", "output."))]


def test_question_and_answer_are_recorded_where_the_release_says_so(
    recorder: Recorder, queue: TelemetryQueue
) -> None:
    found = taken_with(recorder, queue, Policy("input+output"))
    assert found["input.x"] == "[[1.5,2.0]]"
    assert found["input.x.shape"] == "1x2"
    assert json.loads(found["output.scores"])[0][1] == pytest.approx(0.7)


def test_redacted_fields_do_not_reach_a_record(recorder: Recorder, queue: TelemetryQueue) -> None:
    policy = Policy("input+output", ("input.x[0]", "output.*", "score"))
    found = taken_with(recorder, queue, policy)
    assert found["input.x"] == "[[null,2.0]]"
    assert "score" not in found
    assert found["class"] == 1
    assert not [name for name in found if name.startswith("output.")]


def test_a_policy_of_none_records_no_prediction_but_events(
    recorder: Recorder, queue: TelemetryQueue
) -> None:
    recorder.about(Subject(device="d"), 1.0, policy=Policy("none"))
    recorder.prediction(MODEL, 0.001, SPECS, SCORES, "http")
    recorder.event("x")
    recorder.start()
    recorder.stop()
    assert [record.kind for record in records(queue)] == [Kind.EVENT]


def test_what_was_lost_since_the_last_health_record_is_told_at_the_end(
    queue: TelemetryQueue,
) -> None:
    recorder = Recorder(queue, Subject(), health=dict, health_interval_s=3600)
    recorder.overflowed[Kind.EVENT] = 3
    recorder.start()
    recorder.stop()
    (found,) = records(queue)
    assert found.attributes["telemetry.dropped.event.ring"] == 3


def test_what_was_counted_before_a_switch_is_told_of_the_release_before(
    queue: TelemetryQueue, until: Any
) -> None:
    failed = 3

    def counts() -> dict[str, Any]:
        nonlocal failed
        told, failed = failed, 0
        return {"interval.failed": told}

    recorder = Recorder(queue, Subject(), counts=counts, health=dict, health_interval_s=0.05)
    recorder.about(Subject(device="d", release=6), 1.0)
    recorder.about(Subject(device="d", release=7), 1.0)
    failed = 2
    recorder.start()
    until(lambda: len(queue) > 2)
    recorder.stop()
    told = [(r.release, r.attributes["interval.failed"]) for r in records(queue)]
    assert told[:3] == [(6, 3), (7, 2), (7, 0)]


def test_health_tells_how_often_a_process_began_anew_with_the_release(
    queue: TelemetryQueue, until: Any
) -> None:
    for restarts in range(2):
        recorder = Recorder(queue, Subject(), health=dict, health_interval_s=0.05)
        recorder.about(Subject(device="d", release=7), 1.0)
        recorder.start()
        until(lambda: len(queue) > 0)
        recorder.stop()
        assert {record.attributes["restarts"] for record in records(queue)} == {restarts}
        queue.ack([item.seq for item in queue.peek(max_records=1000, max_bytes=1 << 30)])


def test_health_comes_more_often_after_a_switch(queue: TelemetryQueue, until: Any) -> None:
    recorder = Recorder(queue, Subject(), health=dict, health_interval_s=600)
    recorder.start()
    until(lambda: len(queue) == 1)
    left = recorder._next_health
    recorder.about(Subject(device="d", release=7), 1.0)
    assert left - recorder._next_health > 450
    shares = [recorder._health_share() for _ in range(BRISK_RECORDS + 1)]
    assert shares == [BRISK_SHARE] * BRISK_RECORDS + [1.0]
    recorder.stop()
