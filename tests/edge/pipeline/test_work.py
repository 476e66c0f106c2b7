"""The pipeline at work: readings through the queue and the steps to several sinks."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from edge_components.pipeline.errors import PipelineError
from edge_components.runtime.page import Counts


def test_one_reading_goes_to_every_sink(
    bench: Any, parts: Any, make_model: Any, receiver: Any, until: Any
) -> None:
    sinks = [parts.answers, {"kind": "http", "url": receiver.url}, {**parts.answers, "path": "b"}]
    bench.use({"source": parts.inbox, "sink": sinks}, make_model(2.0))
    bench.drop("a.json", [1, 2, 3, 4])
    found = bench.answer("a.json")
    assert found["answer"]["outputs"]["y"] == [[2, 4, 6, 8]]
    until(lambda: receiver.taken)
    assert receiver.taken == [found]
    until(lambda: bench.metrics.pipeline_readings == 1)
    assert json.loads((bench.folder / "b/a.json.json").read_text()) == found
    assert not list((bench.folder / "inbox").iterdir())


def test_a_reading_that_fails_is_counted_told_and_set_aside(
    bench: Any, parts: Any, make_model: Any, until: Any
) -> None:
    bench.use({"source": parts.inbox, "sink": parts.answers}, make_model())
    bench.drop("a.json", b"[1, 2")
    bench.drop("b.json", [1, 2, 3, 4])
    bench.answer("b.json")
    until((bench.folder / "inbox/failed/a.json").exists)
    assert bench.metrics.errors["pipeline_reading"] == 1
    assert "a.json" in bench.told.text()


def test_a_threshold_ends_a_reading_without_an_answer(
    bench: Any, parts: Any, make_model: Any, until: Any
) -> None:
    steps = [{"op": "argmax"}, {"op": "threshold", "min_score": 5}]
    source = {**parts.inbox, "after": "move"}
    bench.use({"source": source, "postprocess": steps, "sink": parts.answers}, make_model())
    bench.drop("low.json", [1, 2, 3, 4])
    until((bench.folder / "inbox/done/low.json").exists)
    assert not (bench.folder / "answers").exists()


def test_a_sink_in_trouble_is_tried_again_and_the_answers_stay_in_order(
    bench: Any, parts: Any, make_model: Any, until: Any
) -> None:
    blocked = bench.folder / "answers"
    blocked.write_text("a file where the folder should be")
    alarm = {"kind": "alarm", "name": "any", "when": "index >= 0"}
    bench.use(
        {
            "source": parts.inbox,
            "postprocess": [{"op": "argmax"}],
            "sink": [parts.answers, alarm],
        },
        make_model(),
    )
    bench.drop("a.json", [1, 2, 3, 4])
    until(lambda: bench.counted("delivery_failed") >= 1)
    bench.drop("b.json", [1, 2, 3, 4])
    until(lambda: bench.counted("alarms_raised") == 1)
    assert (bench.folder / "inbox/a.json").exists()
    blocked.unlink()
    assert bench.answer("b.json")["reading"] == "b.json"
    assert bench.answer("a.json")["reading"] == "a.json"
    until(lambda: bench.metrics.pipeline_readings == 2)
    assert bench.told.text().count("directory sink cannot be used") == 1


def test_readings_wait_for_a_disk_that_refuses_only_up_to_the_queues_length(
    bench: Any, parts: Any, make_model: Any, until: Any
) -> None:
    (bench.folder / "answers").write_text("a file where the folder should be")
    pipeline = {
        "source": parts.inbox,
        "queue": {"policy": "block", "length": 2},
        "sink": parts.answers,
    }
    bench.use(pipeline, make_model())
    for number in range(8):
        bench.drop(f"{number}.json", [1, 2, 3, 4])
    until(lambda: len(bench.told.sources) == 2)
    (bench.folder / "answers").unlink()
    for number in range(8):
        bench.answer(f"{number}.json")


def test_a_change_of_model_keeps_source_queue_and_sinks(
    bench: Any, parts: Any, make_model: Any, receiver: Any, until: Any
) -> None:
    pipeline = {"source": parts.inbox, "sink": [{"kind": "http", "url": receiver.url}]}
    runner = bench.use(pipeline, make_model(1.0))
    lane = until(lambda: runner._lane)
    bench.drop("a.json", [1, 1, 1, 1])
    until(lambda: len(receiver.taken) == 1)
    bench.use(pipeline, make_model(3.0))
    bench.drop("b.json", [1, 1, 1, 1])
    until(lambda: len(receiver.taken) == 2)
    assert runner._lane is lane
    assert [found["answer"]["outputs"]["y"] for found in receiver.taken] == [[[1] * 4], [[3] * 4]]


def test_another_source_takes_the_place_of_the_first(
    bench: Any, parts: Any, make_model: Any, until: Any
) -> None:
    bench.use({"source": parts.inbox, "sink": parts.answers}, make_model(1.0))
    bench.drop("a.json", [1, 1, 1, 1])
    bench.answer("a.json")
    other = {**parts.inbox, "path": "inbox2"}
    bench.use({"source": other, "sink": parts.answers}, make_model(1.0))
    until((bench.folder / "inbox2").exists)
    left = bench.drop("left.json", [1, 1, 1, 1])
    (bench.folder / "inbox2/b.json").write_text("[2, 2, 2, 2]")
    os.utime(bench.folder / "inbox2/b.json", (1, 1))
    bench.answer("b.json")
    assert left.exists()


def test_text_goes_through_a_vocabulary_that_travels_in_the_package(
    bench: Any, parts: Any, make_model: Any
) -> None:
    (bench.folder / "edgectl/assets").mkdir(parents=True)
    (bench.folder / "edgectl/assets/words.txt").write_text("pump\nhot\n")
    steps = [
        {"op": "text", "length": 4, "method": "vocabulary", "vocabulary": "words.txt"},
        {"op": "cast", "datatype": "FP32"},
    ]
    bench.use({"source": parts.inbox, "preprocess": steps, "sink": parts.answers}, make_model())
    bench.drop("a.txt", b"Pump very hot")
    assert bench.answer("a.txt")["answer"]["outputs"]["y"] == [[2, 1, 3, 0]]


@pytest.mark.parametrize(
    ("pipeline", "why"),
    [
        ({"postprocess": [{"op": "argmax", "labels": "no.txt"}]}, "'no.txt' is not in the package"),
        ({"postprocess": [{"op": "argmax", "labels": "../x"}]}, "not a path inside a package"),
        ({"sink": {"kind": "http", "endpoint": "site"}}, "no endpoint 'site'"),
        ({"sink": {"kind": "http", "url": "ftp://x"}}, "begins with none of"),
        (
            {"sink": {"kind": "alarm", "name": "a", "when": "score > 1", "command": "stop"}},
            "no command 'stop'",
        ),
        ({"preprocess": [{"op": "user", "name": "nobody"}]}, "no user step 'nobody'"),
    ],
)
def test_what_cannot_work_here_is_refused_when_it_is_built(
    bench: Any, make_model: Any, pipeline: Any, why: str
) -> None:
    with pytest.raises(PipelineError, match=why):
        bench.use(pipeline, make_model())


def test_a_release_may_be_kept_from_naming_addresses(bench: Any, make_model: Any) -> None:
    with pytest.raises(PipelineError, match="takes no address from a release"):
        bench.use(
            {"sink": {"kind": "http", "url": "http://127.0.0.1:1/"}},
            make_model(),
            release_urls=False,
        )


def test_a_pipeline_without_a_model_and_without_a_remote_is_refused(bench: Any, parts: Any) -> None:
    with pytest.raises(PipelineError, match="there is no model"):
        bench.use({"source": parts.inbox}, None)


def test_relative_folders_are_below_the_state_folder(
    bench: Any, parts: Any, make_model: Any, until: Any
) -> None:
    bench.use({"source": parts.inbox, "sink": parts.answers}, make_model())
    assert until(Path(bench.folder / "inbox").is_dir)


def test_what_was_left_out_is_in_the_health_record(bench: Any) -> None:
    bench.metrics.pipeline["dropped_oldest"] += 3
    bench.metrics.pipeline_waiting = 2
    health = Counts(bench.metrics)()
    assert (health["pipeline.dropped_oldest"], health["pipeline.waiting"]) == (3, 2)


def test_a_reading_s_answer_and_latency_are_in_the_next_health_record(
    bench: Any, parts: Any, make_model: Any, until: Any
) -> None:
    counts = Counts(bench.metrics)
    bench.use({"source": parts.inbox, "sink": parts.answers}, make_model(2.0))
    bench.drop("a.json", [1, 2, 3, 4])
    until(lambda: bench.metrics.pipeline_readings == 1)
    told = counts()
    assert (told["interval.answered"], told["interval.failed"]) == (1, 0)
    assert told["latency_s.count"] == 1
    assert counts()["interval.answered"] == 0
