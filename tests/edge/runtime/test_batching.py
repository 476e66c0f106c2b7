"""What requests that run together may do to each other: nothing, and which models gain by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_components.contract.hardware import PROFILES
from edge_components.contract.package import TensorSpec
from edge_components.runtime.batching import worthwhile_batch
from edge_components.runtime.http import HttpError
from edge_components.runtime.load import load_file
from edge_components.runtime.model import Model, ModelError
from edge_components.runtime.oip.messages import (
    DecodeLimits,
    InferRequest,
    ProtocolError,
    RequestedOutput,
)
from edge_components.runtime.statistics import Statistics
from edge_components.runtime.trial import Trial
from edge_components.runtime.work import Codec, Done, Task, work_together


def dense_model(path: Path, *, mixes: bool = False) -> Path:
    """``y = relu(x W)``, or, where it mixes its samples, less their mean."""
    weight = np.random.default_rng(2).standard_normal((4, 3)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"])]
    if mixes:
        nodes += [
            helper.make_node("ReduceMean", ["a", "axes"], ["m"]),
            helper.make_node("Sub", ["a", "m"], ["y"]),
        ]
    else:
        nodes += [helper.make_node("Relu", ["a"], ["y"])]
    graph = helper.make_graph(
        nodes,
        "dense",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.array([0]), "axes")],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path


def task(x: Any, outputs: list[RequestedOutput] | None = None) -> Task[Any, Any]:
    def decode(*_: Any) -> InferRequest:
        if isinstance(x, str):
            raise ProtocolError(x)
        return InferRequest(inputs={"x": np.array(x, dtype=np.float32)}, outputs=outputs)

    return Task(None, Codec("test", decode, lambda result: result.arrays), 0)


def load(path: Path) -> Model:
    return load_file(path, "m", PROFILES["x86-64-cpu"])


def test_requests_that_run_together_get_what_they_get_alone(tmp_path: Path) -> None:
    model = load(dense_model(tmp_path / "m.onnx"))
    rows = [[[1, 2, 3, 4]], [[5, 6, 7, 8], [-1, 0, 1, 0]], [[0, 0, 0, 1]]]
    together: list[Any] = work_together(model, [task(x) for x in rows], DecodeLimits())
    for x, done in zip(rows, together, strict=True):
        alone = model.run({"x": np.array(x, dtype=np.float32)})
        np.testing.assert_allclose(done.answer[0], alone[0], rtol=1e-6)
    assert [done.batch for done in together] == [4, 0, 0]


def test_a_request_that_does_not_fit_spoils_nothing_for_the_others(tmp_path: Path) -> None:
    model = load(dense_model(tmp_path / "m.onnx"))
    tasks = [task([[1, 2, 3, 4]]), task("wrong"), task([[1, 2]]), task([[5, 6, 7, 8]])]
    first, refused, misshapen, last = work_together(model, tasks, DecodeLimits())
    assert isinstance(first, Done)
    assert isinstance(last, Done)
    assert isinstance(refused, HttpError)
    assert (refused.status, refused.message) == (400, "wrong")
    assert isinstance(misshapen, HttpError)


def test_requests_for_other_outputs_do_not_run_together(tmp_path: Path) -> None:
    model = load(dense_model(tmp_path / "m.onnx"))
    tasks = [task([[1, 2, 3, 4]]), task([[1, 2, 3, 4]], [RequestedOutput("y")])]
    found: list[Any] = work_together(model, tasks, DecodeLimits())
    assert [done.batch for done in found] == [None, None]


def test_a_model_that_refuses_a_batch_runs_each_request_alone(build: Any, tmp_path: Path) -> None:
    model = load(build.reshaping(tmp_path / "r.onnx"))  # takes two rows and no more
    tasks = [task([[1] * 4, [2] * 4]), task([[3] * 4, [4] * 4])]
    found: list[Any] = work_together(model, tasks, DecodeLimits())
    assert [done.answer[0].shape for done in found] == [(8,), (8,)]
    assert found[1].answer[0][0] == 3


def test_a_model_that_makes_one_answer_of_a_batch_runs_each_request_alone(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("ReduceSum", ["x", "axes"], ["y"])],
        "sum",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["m", 4])],
        [numpy_helper.from_array(np.array([0]), "axes")],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), tmp_path / "s.onnx")
    model = load(tmp_path / "s.onnx")
    tasks = [task([[1, 2, 3, 4]]), task([[5, 6, 7, 8]])]
    found: list[Any] = work_together(model, tasks, DecodeLimits())
    assert [done.answer[0].tolist() for done in found] == [[[1, 2, 3, 4]], [[5, 6, 7, 8]]]


def test_a_batch_counts_as_one_run_of_the_model(tmp_path: Path) -> None:
    model = load(dense_model(tmp_path / "m.onnx"))
    statistics = Statistics()
    found: list[Any] = work_together(model, [task([[1, 2, 3, 4]])] * 3, DecodeLimits())
    for done in found:
        statistics.succeeded(done.timing, 1, done.batch)
    document = statistics.document("m", "1")
    assert document["inference_stats"]["success"]["count"] == 3
    assert document["inference_count"] == 3
    assert document["execution_count"] == 1
    assert [line["batch_size"] for line in document["batch_stats"]] == [3]


# -- whether a model is worth it


class Timed:
    """A loaded model that takes as long as it is told to, on a clock of its own."""

    latency_s = 0.01
    provider = "CPUExecutionProvider"

    def __init__(self, model: Model, *, per_run_s: float, per_sample_s: float) -> None:
        self.inputs: tuple[TensorSpec, ...] = model.inputs
        self.outputs: tuple[TensorSpec, ...] = model.outputs
        self.now = 0.0
        self._model = model
        self._times = per_run_s, per_sample_s

    def run(self, feeds: Any) -> Any:
        self.now += self._times[0] + self._times[1] * feeds["x"].shape[0]
        return self._model.run(feeds)

    def runs_inline(self, _: int) -> bool:
        return self.latency_s <= 0.001


def asked(model: Model, *, per_run_s: float = 0.01, per_sample_s: float = 0.0) -> int:
    timed = Timed(model, per_run_s=per_run_s, per_sample_s=per_sample_s)
    return worthwhile_batch(timed, 8, clock=lambda: timed.now)


def test_a_model_that_is_quicker_with_more_samples_is_batched(tmp_path: Path) -> None:
    assert asked(load(dense_model(tmp_path / "m.onnx"))) == 8


def test_a_model_that_gains_nothing_is_not_batched(tmp_path: Path) -> None:
    model = load(dense_model(tmp_path / "m.onnx"))
    assert asked(model, per_run_s=0.0, per_sample_s=0.01) == 1


def test_a_model_that_mixes_its_samples_is_never_batched(tmp_path: Path) -> None:
    assert asked(load(dense_model(tmp_path / "m.onnx", mixes=True))) == 1


@pytest.mark.parametrize("name", ["pair", "reshaping"])
def test_a_model_without_a_batch_axis_on_both_sides_is_not_batched(
    build: Any, tmp_path: Path, name: str
) -> None:
    assert asked(load(getattr(build, name)(tmp_path / "m.onnx"))) == 1


def test_a_model_that_loops_as_long_as_its_input_says_is_given_up(tmp_path: Path) -> None:
    """It is quick on zeros, and would never end on what it is tried with."""
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
            helper.make_node("Mul", ["most", "many"], ["trips_f"]),
            helper.make_node("Cast", ["trips_f"], ["trips"], to=TensorProto.INT64),
            helper.make_node("Loop", ["trips", "", "x"], ["y"], body=_identity_body()),
        ],
        "hanging",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(np.array(1e12, dtype=np.float32), "many")],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), tmp_path / "h.onnx")
    model = load(tmp_path / "h.onnx")
    model.latency_s = 0.01
    with Trial(model, 0.2) as trial:
        assert worthwhile_batch(trial, 8) == 1
    with pytest.raises(ModelError):
        trial.run({"x": np.zeros((1, 4), dtype=np.float32)})


def _identity_body() -> onnx.GraphProto:
    return helper.make_graph(
        [
            helper.make_node("Identity", ["cond_in"], ["cond_out"]),
            helper.make_node("Identity", ["v_in"], ["v_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("cond_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_in", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("cond_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_out", TensorProto.FLOAT, None),
        ],
    )


def test_no_batch_is_asked_for_where_the_setting_says_one(tmp_path: Path) -> None:
    model = load(dense_model(tmp_path / "m.onnx"))
    timed = Timed(model, per_run_s=0.01, per_sample_s=0.0)
    assert worthwhile_batch(timed, 1, clock=lambda: timed.now) == 1


@pytest.mark.parametrize(("latency_s", "provider"), [(0.0005, None), (1.0, None), (0.01, "Other")])
def test_quick_slow_and_foreign_models_are_not_asked(
    tmp_path: Path, latency_s: float, provider: str | None
) -> None:
    model = load(dense_model(tmp_path / "m.onnx"))
    timed = Timed(model, per_run_s=0.01, per_sample_s=0.0)
    timed.latency_s = latency_s
    timed.provider = provider or timed.provider
    assert worthwhile_batch(timed, 8, clock=lambda: timed.now) == 1
    assert timed.now == 0.0
