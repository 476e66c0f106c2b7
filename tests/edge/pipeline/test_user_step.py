"""User steps in real child processes: what they may do, and what they cannot break."""

from __future__ import annotations

import os
import signal
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from edge_components.contract.pipeline import User
from edge_components.pipeline.errors import PipelineError
from edge_components.pipeline.postprocess import Work
from edge_components.pipeline.reading import Item
from edge_components.pipeline.user import UserStage

SOURCE = textwrap.dedent("""
    import os, sys, time

    def double(array, context):
        print("a step may print")
        return array * context.options.get("by", 2)

    def shout(text, context):
        return text.upper()

    def judge(answer, context):
        return {**answer, "sum": float(context.outputs["y"].sum()), "by": context.name}

    def drop(value, context):
        return None

    def count(array, context):
        context.state["seen"] = context.state.get("seen", 0) + 1
        return array + context.state["seen"]

    count.stateful = True

    def fail(array, context):
        raise RuntimeError("on purpose")

    def hang(array, context):
        while array[0] > 0:
            pass
        return array

    def die(array, context):
        os._exit(3)

    def odd(array, context):
        return {"x": object()}

    not_a_function = 3
""")


@pytest.fixture
def stage(steps_module: Any) -> Any:
    module = steps_module(SOURCE)
    made: list[UserStage] = []

    def make(function: str, timeout_s: float = 20.0, **options: Any) -> UserStage:
        step = User(name="mine", timeout_s=timeout_s, options=options)
        found = UserStage(step, "key", {"mine": f"{module}:{function}"})
        made.append(found)
        return found

    yield make
    for one in made:
        one.close(0)


def call(stage: UserStage, value: Any) -> Any:
    return [item.value for item in stage(Item(value, name="r1"))]


def test_a_step_changes_arrays_and_texts_by_its_options(stage: Any) -> None:
    (found,) = call(stage("double", by=3), np.arange(4, dtype=np.float32).reshape(2, 2))
    assert found.tolist() == [[0, 3], [6, 9]]
    assert call(stage("shout"), "pump") == ["PUMP"]
    assert call(stage("drop"), "pump") == []


def test_a_step_after_inference_sees_the_outputs_and_replaces_the_answer(stage: Any) -> None:
    work = Work({"y": np.array([1.0, 2.0], np.float32)})
    work.answer = {"label": "a"}
    stage("judge").answer(work, Item("", name="r1"))
    assert work.answer == {"label": "a", "sum": 3.0, "by": "r1"}
    stage("drop").answer(work, Item(""))
    assert work.dropped


def test_an_error_of_the_step_is_one_failed_reading(stage: Any) -> None:
    step = stage("fail")
    for _ in range(5):
        with pytest.raises(PipelineError, match="RuntimeError: on purpose"):
            call(step, np.zeros(1))


@pytest.mark.parametrize("function", ["hang", "die"])
def test_a_step_that_hangs_or_dies_is_replaced_for_the_next_reading(
    stage: Any, function: str
) -> None:
    step = stage(function, timeout_s=0.3)
    child = step._child._process.pid
    with pytest.raises(PipelineError, match=r"was killed|ended its process"):
        call(step, np.ones(1))
    assert not psutil.pid_exists(child)
    if function == "hang":
        step._step = User(name="mine", timeout_s=20)
        assert len(call(step, np.zeros(1))) == 1


def test_a_step_that_breaks_each_time_rests(stage: Any) -> None:
    step = stage("die")
    for _ in range(3):
        with pytest.raises(PipelineError, match="ended its process"):
            call(step, np.ones(1))
    with pytest.raises(PipelineError, match="rests"):
        call(step, np.ones(1))


def test_a_result_that_cannot_be_sent_is_an_error(stage: Any) -> None:
    with pytest.raises(PipelineError, match="cannot be sent"):
        call(stage("odd"), np.ones(1))


def test_the_state_survives_the_child_and_a_restart(stage: Any) -> None:
    first = stage("count")
    assert call(first, np.zeros(1))[0].tolist() == [1]
    os.kill(first._child._process.pid, signal.SIGKILL)
    with pytest.raises(PipelineError):
        call(first, np.zeros(1))
    assert call(first, np.zeros(1))[0].tolist() == [2]
    assert first.dirty
    second = stage("count")
    second.restore(first.dump())
    assert call(second, np.zeros(1))[0].tolist() == [3]
    assert second.state_key == "key"
    assert not stage("double").state_key


@pytest.mark.parametrize(
    ("function", "why"),
    [("missing", "AttributeError"), ("not_a_function", "cannot be called")],
)
def test_a_step_that_does_not_start_is_refused_when_it_is_built(
    stage: Any, function: str, why: str
) -> None:
    with pytest.raises(PipelineError, match=why):
        stage(function)


def test_a_release_can_name_only_what_is_installed(steps_module: Any) -> None:
    module = steps_module(SOURCE)
    for name in ("os:system", f"{module}:double", "double"):
        with pytest.raises(PipelineError, match="no user step"):
            UserStage(User(name=name), "key", {})


def test_an_installed_entry_point_is_found_by_its_name(
    steps_module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = steps_module(SOURCE)
    info = tmp_path / "site" / "acme_steps-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-steps\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        f"[edge_components.steps]\nacme.double = {module}:double\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    step = UserStage(User(name="acme.double", timeout_s=20), "key", {})
    assert call(step, np.ones(2))[0].tolist() == [2, 2]
    step.close(0)


def test_a_broken_step_is_told_and_never_stops_the_pipeline(
    bench: Any, parts: Any, make_model: Any, steps_module: Any, until: Any
) -> None:
    module = steps_module(SOURCE)
    steps = [{"op": "user", "name": "hang", "timeout_s": 0.3}]
    bench.use(
        {"source": parts.inbox, "preprocess": steps, "sink": parts.answers},
        make_model(),
        steps={"hang": f"{module}:hang"},
    )
    bench.drop("a.json", [1, 2, 3, 4])
    until((bench.folder / "inbox/failed/a.json").exists)
    assert "user step 'hang' took longer than 0.3 s and was killed" in bench.told.text()
    steps[0]["timeout_s"] = 20
    bench.use({"source": parts.inbox, "preprocess": steps, "sink": parts.answers}, make_model())
    bench.drop("b.json", [0, 2, 3, 4])
    bench.answer("b.json")
