"""Postprocess steps: outputs to answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_components.contract.pipeline import Argmax, Softmax, Threshold, TopK
from edge_components.pipeline.errors import PipelineError
from edge_components.pipeline.postprocess import postprocess, softmax

SCORES = {"label": np.array([2]), "scores": np.array([[0.1, 0.2, 0.7]], np.float32)}
LABELS = {"names.txt": ("a", "b", "c")}


def answer(*steps: Any, outputs: Any = None) -> Any:
    return postprocess(outputs or SCORES, steps, LABELS)


def test_argmax_takes_the_first_float_output_and_names_the_class() -> None:
    found = answer(Argmax(labels="names.txt"))
    assert found == {"label": "c", "index": 2, "score": pytest.approx(0.7)}


def test_without_labels_the_index_is_the_label() -> None:
    assert answer(Argmax())["label"] == "2"


def test_top_k_is_best_first_and_stable() -> None:
    outputs = {"s": np.array([0.3, 0.5, 0.3, 0.5])}
    found = answer(TopK(k=3), outputs=outputs)["classes"]
    assert [item["index"] for item in found] == [1, 3, 0]


def test_softmax_comes_before_argmax() -> None:
    outputs = {"s": np.array([[0.0, np.log(3.0)]])}
    assert answer(Softmax(), Argmax(), outputs=outputs)["score"] == pytest.approx(0.75)


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=20))
def test_softmax_is_a_distribution_whatever_the_size(values: list[float]) -> None:
    found = softmax(np.array([values], np.float32))
    assert np.isfinite(found).all()
    assert found.sum() == pytest.approx(1.0, rel=1e-4)


def test_threshold_drops_what_is_below_and_keeps_what_is_not() -> None:
    assert answer(Argmax(), Threshold(min_score=0.8)) is None
    assert answer(Argmax(), Threshold(min_score=0.5)) is not None
    assert answer(TopK(k=2), Threshold(min_score=0.8)) is None


def test_no_steps_answer_with_the_outputs() -> None:
    found = answer()
    assert found["outputs"]["label"] == [2]


@pytest.mark.parametrize(
    ("steps", "outputs"),
    [
        ([Argmax(output="none")], SCORES),
        ([Argmax()], {"label": np.array([1])}),
        ([Argmax()], {"s": np.zeros((2, 3), np.float32)}),
        ([Softmax(output="label")], SCORES),
        ([Threshold(min_score=0.5)], SCORES),
        ([Argmax()], {"s": np.zeros((0,), np.float32)}),
    ],
)
def test_a_step_that_does_not_fit_is_a_pipeline_error(steps: Any, outputs: Any) -> None:
    with pytest.raises(PipelineError):
        postprocess(outputs, steps, LABELS)
