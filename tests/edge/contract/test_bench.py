"""A bench report: what follows from it, and how it travels."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_components.contract.bench import (
    ATTRIBUTE,
    MARGIN,
    BenchReport,
    BenchRow,
    fastest_first,
    from_attributes,
    parse_bench,
    speeds,
)
from edge_components.contract.errors import ContractError
from edge_components.contract.telemetry import Kind, TelemetryRecord, from_otlp, to_otlp

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


def measured(precision: str, provider: str, ms: float, **more: Any) -> BenchRow:
    return BenchRow(
        **{
            "precision": precision,
            "provider": provider,
            "used": provider,
            "ok": True,
            "median_ms": ms,
            **more,
        }
    )


def report(*rows: BenchRow, hardware: str = "jetson-orin") -> BenchReport:
    return BenchReport(
        model="plates", hardware=hardware, engine="onnxruntime 1", at_unix_s=1.5, rows=rows
    )


def test_the_best_is_the_fastest_that_is_good_and_ran_where_it_was_asked_to() -> None:
    found = report(
        measured("fp32", CPU, 5.0),
        measured("fp32", CUDA, 1.0, used=CPU),
        measured("int8", CPU, 2.0, ok=False),
        measured("fp16", CUDA, 3.0),
        BenchRow(precision="fp16", provider=CPU, detail="crashed"),
    )
    assert found.best == found.rows[3]
    assert speeds(found, "jetson-orin") == {"fp32": 5.0, "fp16": 3.0}
    assert speeds(found, "raspberry-pi-4") == {}
    assert report(BenchRow(precision="fp16", provider=CPU)).best is None


def test_a_report_travels_as_an_event() -> None:
    sent = report(measured("fp16", CUDA, 3.0, nodes={CUDA: 9, CPU: 1}))
    record = TelemetryRecord(
        id="1", kind=Kind.EVENT, time_unix_ns=1, device="d", attributes=sent.to_attributes()
    )
    (received,) = from_otlp(to_otlp([record]))
    assert from_attributes(received.attributes) == sent
    assert received.attributes["bench.median_ms"] == 3.0


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"model": 3}', "x" * 100_000])
def test_what_is_no_report_is_none_and_an_error_where_one_is_needed(text: str) -> None:
    assert from_attributes({ATTRIBUTE: text}) is None
    assert from_attributes({ATTRIBUTE: 3}) is None
    assert from_attributes({}) is None
    with pytest.raises(ContractError):
        parse_bench(text.encode())


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ({}, ("int8", "fp16", "fp32")),
        ({"fp32": 1.0}, ("int8", "fp16", "fp32")),  # nothing to compare it with
        ({"int8": 5.0, "fp32": 1.0}, ("fp32", "fp16", "int8")),
        ({"int8": 1.1, "fp32": 1.0}, ("int8", "fp16", "fp32")),  # no more than chance
        ({"int8": 9.0, "fp16": 3.0, "fp32": 1.0}, ("fp32", "fp16", "int8")),
        ({"bf16": 0.1, "int8": 9.0}, ("int8", "fp16", "fp32")),
    ],
)
def test_measured_precisions_change_places_among_themselves(
    times: dict[str, float], expected: tuple[str, ...]
) -> None:
    assert fastest_first(("int8", "fp16", "fp32"), times) == expected


@given(
    st.permutations(["int8", "fp16", "fp32", "bf16"]),
    st.dictionaries(st.sampled_from(["int8", "fp16", "fp32"]), st.floats(0.001, 1000)),
)
def test_the_order_is_of_the_same_names_and_no_neighbour_is_much_faster(
    preferred: list[str], times: dict[str, float]
) -> None:
    found = fastest_first(preferred, times)
    assert sorted(found) == sorted(preferred)
    for index, name in enumerate(preferred):
        if name not in times:
            assert found[index] == name
    known = [times[name] for name in found if name in times]
    for before, after in itertools.pairwise(known):
        assert after * MARGIN >= before * 0.999999
