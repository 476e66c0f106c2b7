"""Gates: expressions, comparison, and what the message says."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl.errors import GateError
from edgectl.model.gates import check_gates, parse_gate

NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32)


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        (">= 0.95", 0.95, True),
        (">=0.95", 0.9499, False),
        ("> 1", 1.0, False),
        ("<= 12", 12.0, True),
        ("< 12", 12.0, False),
        ("== 3", 3.0, True),
        (" >=  -1e-3 ", 0.0, True),
        ("< .5", 0.4, True),
    ],
)
def test_gate_compares_with_its_number(text: str, value: float, holds: bool) -> None:
    assert parse_gate(text).holds(value) is holds


@pytest.mark.parametrize(
    "text",
    ["", "0.95", ">= 95%", "<= 12ms", "=> 1", ">= ", "!= 1", ">= nan", ">= 1e999", ">= 1 2", "≥ 1"],
)
def test_text_that_is_no_gate_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"for example '>= 0\.95'"):
        parse_gate(text)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("text", [">= 0", "<= 0", "> 0", "< 0"])
def test_a_metric_that_is_not_finite_passes_no_gate(text: str, value: float) -> None:
    assert not parse_gate(text).holds(value)


def test_missed_gate_names_metric_measured_number_and_limit() -> None:
    with pytest.raises(GateError, match=r"'accuracy' is 0\.941, the gate is '>= 0\.95'"):
        check_gates({"accuracy": ">= 0.95"}, {"accuracy": 0.941})


def test_unknown_metric_lists_the_known() -> None:
    with pytest.raises(GateError, match=r"'f1' was not measured.*: accuracy, latency"):
        check_gates({"f1": ">= 0.5"}, {"latency": 1.0, "accuracy": 1.0})


def test_all_missed_gates_are_in_one_message() -> None:
    with pytest.raises(GateError, match=r"'a' is 1.*'b' is 2"):
        check_gates({"a": "> 1", "b": "< 2", "c": "== 3"}, {"a": 1.0, "b": 2.0, "c": 3.0})


def test_gates_that_hold_say_nothing() -> None:
    check_gates({"a": ">= 1", "b": "<= 2"}, {"a": 1.0, "b": 2.0, "other": 9.0})


@given(st.sampled_from([">=", "<=", ">", "<", "=="]), NUMBERS, NUMBERS)
def test_any_printed_number_is_read_back(sign: str, limit: float, value: float) -> None:
    gate = parse_gate(f"{sign} {limit!r}")
    assert gate.limit == limit
    assert gate.holds(value) is bool(eval(f"value {sign} limit"))  # the language decides


@given(st.text(max_size=20))
def test_any_text_is_a_gate_or_a_value_error(text: str) -> None:
    try:
        gate = parse_gate(text)
    except ValueError:
        return
    assert math.isfinite(gate.limit)
