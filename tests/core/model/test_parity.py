"""Comparing answers: numbers, classes, and what is not a number."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgectl.errors import ModelError
from edgectl.model.parity import classes, compare

FLOATS = hnp.arrays(np.float32, (3, 4), elements=st.floats(width=32))


def test_errors_are_measured_per_output_and_the_worst_is_named() -> None:
    a = {"p": np.array([1.0, 2.0]), "q": np.array([10.0, 100.0])}
    b = {"p": np.array([1.0, 2.5]), "q": np.array([10.0, 101.0])}
    parity = compare(a, b)
    assert (parity.max_abs_error, parity.output, parity.scale) == (1.0, "q", 100.0)
    assert parity.max_rel_error == 0.25


def test_relative_error_does_not_hang_on_values_near_zero() -> None:
    parity = compare({"p": np.array([1.0, 1e-12])}, {"p": np.array([1.0, 1e-6])})
    assert parity.max_rel_error < 0.01


@given(FLOATS)
def test_equal_answers_have_no_error_whatever_they_are(values: np.ndarray) -> None:
    parity = compare({"p": values}, {"p": values.copy()})
    assert (parity.max_abs_error, parity.max_rel_error) == (0.0, 0.0)


@given(FLOATS, FLOATS)
def test_no_answers_give_a_nan(a: np.ndarray, b: np.ndarray) -> None:
    parity = compare({"p": a}, {"p": b}, np.zeros(3, np.int64))
    assert not math.isnan(parity.max_abs_error)
    assert not math.isnan(parity.max_rel_error)
    assert parity.label_agreement is not None
    assert 0.0 <= parity.label_agreement <= 1.0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nan_or_infinity_on_one_side_is_an_infinite_error(bad: float) -> None:
    good = np.array([1.0, 2.0])
    for pair in ((good, np.array([1.0, bad])), (np.array([1.0, bad]), good)):
        assert compare({"p": pair[0]}, {"p": pair[1]}).max_abs_error == math.inf


def test_accuracy_and_agreement_are_shares_of_samples() -> None:
    a = {"p": np.eye(4, 3)}
    b = {"p": np.array([[0.9, 0, 0], [0, 0.9, 0], [0.9, 0, 0.1], [1, 0, 0]])}
    parity = compare(a, b, np.array([0, 1, 2, 1]))
    assert parity.label_agreement == 0.75
    assert parity.accuracy == 0.5


def test_integer_output_is_the_class_where_there_is_one() -> None:
    outputs = {"p": np.eye(3), "label": np.array([[7], [8], [9]])}
    found = classes(outputs)
    assert found is not None
    assert found.tolist() == [7, 8, 9]


@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 3, 3)])
def test_a_model_that_is_no_classifier_has_no_classes(shape: tuple[int, ...]) -> None:
    array = np.ones(shape)
    parity = compare({"p": array}, {"p": array}, np.ones(5))
    assert (parity.label_agreement, parity.accuracy) == (None, None)


def test_whole_numbers_count_in_agreement_and_not_as_an_error() -> None:
    a = {"n": np.array([1, 2, 3, 4]), "p": np.eye(4)}
    b = {"n": np.array([1, 2, 3, 9]), "p": np.eye(4)}
    parity = compare(a, b)
    assert (parity.max_abs_error, parity.agreement) == (0.0, 0.75)


@pytest.mark.parametrize("found", [{}, {"p": np.ones(3)}, {"p": np.ones((2, 1))}])
def test_a_missing_output_or_another_shape_is_refused(found: dict[str, np.ndarray]) -> None:
    with pytest.raises(ModelError, match="the output 'p' has the shape"):
        compare({"p": np.ones(2)}, found)
