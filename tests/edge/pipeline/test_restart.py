"""What stateful steps remember: over a real kill, and over a change of model."""

from __future__ import annotations

import json
from typing import Any

import pytest

WINDOW = {"op": "window", "size": 3}
# Three readings of four numbers as one row; the model scales it.
STEPS = [WINDOW, {"op": "reshape", "shape": [12]}]


@pytest.fixture
def pipeline(parts: Any) -> Any:
    return {
        "source": parts.inbox,
        "preprocess": STEPS,
        "postprocess": [{"op": "value", "index": 11}],
        "sink": [parts.answers, {"kind": "alarm", "name": "hot", "when": "value >= 2"}],
    }


def drop(state: Any, name: str, values: Any) -> None:
    inbox = state / "inbox"
    inbox.mkdir(parents=True, exist_ok=True)
    part = inbox / f".{name}"
    part.write_text(json.dumps(values))
    part.rename(inbox / name)


def test_a_window_and_an_alarm_survive_sigkill(
    serve: Any, make_model: Any, pipeline: Any, until: Any
) -> None:
    model = make_model(1.0, shape=("n", 12))
    first = serve("--model", model, pipeline=pipeline)
    inbox = first.state / "inbox"
    for number in range(4):
        drop(first.state, f"{number}.json", [number] * 4)
        until(lambda number=number: not (inbox / f"{number}.json").exists())
    until((first.state / "answers/3.json.json").exists)
    until(lambda: first.counter("alarms_raised") == 1)
    first.kill()
    second = serve("--model", model, pipeline=pipeline, state=first.state)
    drop(second.state, "4.json", [4] * 4)
    # One reading completes the window of three, and the alarm that stands is not raised again.
    until((second.state / "answers/4.json.json").exists)
    found = json.loads((second.state / "answers/4.json.json").read_text())
    assert found["answer"] == {"value": 4.0}
    assert second.counter("alarms_raised") == 0


def test_a_window_survives_a_change_of_model_if_it_means_the_same(
    bench: Any, pipeline: Any, make_model: Any, until: Any
) -> None:
    bench.use(pipeline, make_model(1.0, shape=("n", 12)))
    for number in (0, 1):
        bench.drop(f"{number}.json", [number] * 4)
        until(lambda number=number: bench.metrics.pipeline_readings == number + 1)
    bench.use(pipeline, make_model(10.0, shape=("n", 12)))
    bench.drop("2.json", [2] * 4)
    assert bench.answer("2.json")["answer"] == {"value": 20.0}
    changed = {**pipeline, "preprocess": [{"op": "scale", "factor": 2}, *STEPS]}
    bench.use(changed, make_model(10.0, shape=("n", 12)))
    for number in (3, 4, 5):
        bench.drop(f"{number}.json", [number] * 4)
        until(lambda number=number: bench.metrics.pipeline_readings == number + 1)
    assert bench.answer("5.json")["answer"] == {"value": 100.0}
    assert not (bench.folder / "answers/3.json.json").exists()


def test_a_damaged_state_is_told_and_begun_anew(
    bench: Any, pipeline: Any, make_model: Any, until: Any
) -> None:
    model = make_model(1.0, shape=("n", 12))
    bench.use(pipeline, model)
    bench.drop("0.json", [0] * 4)
    states = bench.folder / "pipeline-state"
    until(lambda: states.exists() and list(states.glob("window-*.state")))
    bench.close()
    (state,) = states.glob("window-*.state")
    state.write_bytes(state.read_bytes()[:-1] + b"?")
    bench._runner = None
    bench.use(pipeline, model)
    until(lambda: "begun anew" in bench.told.text())
    for number in (1, 2, 3):
        bench.drop(f"{number}.json", [number] * 4)
    assert bench.answer("3.json")["answer"] == {"value": 3.0}


def test_a_stateless_pipeline_keeps_nothing(bench: Any, parts: Any, make_model: Any) -> None:
    bench.use({"source": parts.inbox, "sink": parts.answers}, make_model())
    bench.drop("a.json", [1, 2, 3, 4])
    bench.answer("a.json")
    assert not (bench.folder / "pipeline-state").exists()
