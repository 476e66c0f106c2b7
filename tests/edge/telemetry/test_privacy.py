"""What of a prediction leaves the device."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_components.telemetry.privacy import MAX_CHARACTERS, MAX_ELEMENTS, Policy


@pytest.mark.parametrize(
    ("pattern", "name", "is_hidden"),
    [
        ("class", "class", True),
        ("class", "classes", False),
        ("input.x", "input.x", True),
        ("input.x", "input.x.shape", True),
        ("input.x", "input.x[3].psi", True),
        ("input.x", "input.xy", False),
        ("input.x[3]", "input.x[3].ks", True),
        ("input.x[3]", "input.x[31].ks", False),
        ("input.*", "input.anything", True),
        ("input.*", "output.x", False),
        ("*.confidence", "output.y.confidence.psi", True),
        ("a.c", "abc", False),
    ],
)
def test_a_name_hides_itself_and_what_is_below(pattern: str, name: str, is_hidden: bool) -> None:
    assert Policy(redact=(pattern,)).hides(name) is is_hidden


def test_nothing_is_hidden_without_names() -> None:
    assert not Policy().hides("")
    assert not Policy().hides("class")


def test_a_hidden_column_is_null_in_every_row_and_a_missing_one_harmless() -> None:
    policy = Policy("input+output", ("input.x[1]", "input.x[9]"))
    found = policy.tensor("input.x", np.arange(6).reshape(2, 3))
    assert found["input.x"] == "[[0,null,2],[3,null,5]]"


def test_large_tensors_leave_their_shape_only() -> None:
    policy = Policy("input+output")
    assert policy.tensor("input.x", np.zeros((1, MAX_ELEMENTS + 1))) == {
        "input.x.shape": f"1x{MAX_ELEMENTS + 1}"
    }
    text = np.array(["x" * (MAX_CHARACTERS + 1)], np.object_)
    assert policy.tensor("input.x", text) == {"input.x.shape": "1"}


def test_text_and_bytes_are_written_as_text() -> None:
    array = np.array(["Köln", b"caf\xc3\xa9", b"\xff"], np.object_)
    found = Policy("input+output").tensor("input.t", array)
    assert json.loads(str(found["input.t"])) == ["Köln", "café", "\N{REPLACEMENT CHARACTER}"]


@given(st.text(max_size=30), st.lists(st.text(min_size=1, max_size=10), max_size=4))
def test_a_name_among_the_hidden_is_always_hidden(name: str, others: list[str]) -> None:
    assert Policy(redact=(*others, name or "x")).hides(name or "x")
