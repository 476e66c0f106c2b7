"""A model that was quick over zeros and is slow over other data leaves the event loop."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from hypothesis import given
from hypothesis import strategies as st
from rt_process import vector

from edge_components.contract.hardware import PROFILES
from edge_components.contract.telemetry import Kind, from_otlp
from edge_components.runtime.holdup import FRESH_NS, SLOW_NS, HoldUp
from edge_components.runtime.load import load_file
from edge_components.runtime.model import Model

MS = 1_000_000
SOME, ENDLESS = 400_000.0, 1e12  # trips of the model's loop
INFER = "/v2/models/model/infer"
LEFT = "edge_left_event_loop_total"


@pytest.fixture
def counting(build: Any, tmp_path: Path) -> Path:
    found: Path = build.counting(tmp_path / "counting.onnx")
    return found


def rest(served: Any, most: float) -> None:
    assert served.infer([most, 0, 0, 0], "model") == [most, 0, 0, 0]


def grpc(served: Any, most: float) -> None:
    with triton.InferenceServerClient(f"127.0.0.1:{served.grpc_port}") as client:
        tensor = triton.InferInput("x", [1, 4], "FP32")
        tensor.set_data_from_numpy(np.array([[most, 0, 0, 0]], np.float32))
        assert client.infer("model", [tensor]).as_numpy("y").tolist() == [[most, 0, 0, 0]]


@contextmanager
def asked(served: Any, most: float) -> Iterator[socket.socket]:
    """A connection that had a quick answer and waits for another, with a head of the same bytes."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as waiting:
        waiting.sendall(request(0.0))
        assert waiting.recv(1 << 16).endswith(b'"data":[0.0,0.0,0.0,0.0]}]}')
        waiting.sendall(request(most))
        yield waiting


def request(most: float) -> bytes:
    body = json.dumps(vector([most, 0, 0, 0])).encode().ljust(200)
    return f"POST {INFER} HTTP/1.1\r\nHost: a\r\nContent-Length: 200\r\n\r\n".encode() + body


# -- a real runtime


@pytest.mark.parametrize("ask", [rest, grpc])
@pytest.mark.parametrize("quick_ones", [0, 5], ids=["careful", "express"])
def test_after_slow_answers_health_is_answered_while_the_model_runs(
    start: Any, build: Any, counting: Path, ask: Any, quick_ones: int
) -> None:
    served = start("--model", counting, "--grpc-port", "0", "--parallel", "1")
    for _ in range(quick_ones):  # from the third on there is an express lane
        ask(served, 0.0)
    assert served.metrics(LEFT) == []

    def left() -> bool:
        ask(served, SOME)
        return served.metrics(LEFT) == [1.0]

    build.until(left)
    with asked(served, ENDLESS) as waiting:
        build.until(lambda: served.metric("edge_in_flight") == 1)
        assert served.json("GET", "/v2/health/live") == (200, {"live": True})
        waiting.setblocking(False)
        with pytest.raises(BlockingIOError):  # it has no answer yet
            waiting.recv(1)


def test_a_model_that_leaves_the_loop_is_a_warning_event_with_its_name(
    start: Any, build: Any, counting: Path, tmp_path: Path
) -> None:
    out = tmp_path / "t.jsonl"
    served = start(
        *("--model", counting, "--telemetry-url", f"file://{out}"),
        *("--telemetry-interval-s", "0.1"),
    )

    def left() -> bool:
        rest(served, SOME)
        return served.metrics(LEFT) == [1.0]

    def events() -> list[Any]:
        lines = out.read_bytes().splitlines() if out.exists() else []
        records = [record for line in lines for record in from_otlp(line)]
        return [record for record in records if record.kind is Kind.EVENT]

    build.until(left)
    (event,) = build.until(events)
    assert event.severity == 13
    assert event.body.startswith("model 'model' held up all requests for ")
    assert event.body.endswith(" ms; from now on it runs on threads")
    assert event.attributes["model.name"] == "model"
    assert event.attributes["seconds"] * 1e9 > SLOW_NS


def test_a_model_that_is_loaded_again_is_quick_until_it_is_slow_again(
    start: Any, build: Any, tmp_path: Path
) -> None:
    build.counting(tmp_path / "models" / "model.onnx")
    served = start("--models", tmp_path / "models", "--load", "model", "--parallel", "1")

    def left(times: float) -> bool:
        rest(served, SOME)
        return served.metrics(LEFT) == [times]

    build.until(lambda: left(1.0))
    assert served.request("POST", "/v2/repository/models/model/load", {})[0] == 200
    build.until(lambda: left(2.0))


def test_a_model_that_has_left_opens_no_lane_and_runs_inline_no_more(
    build: Any, tmp_path: Path
) -> None:
    path = build.scaling(tmp_path / "m.onnx", 2.0)
    model: Model = load_file(path, "m", PROFILES["x86-64-cpu"])
    ones = {"x": np.ones((1, 4), np.float32)}
    assert model.runs_inline(4)
    model.open_lane(ones, model.run(ones))
    body = json.dumps(vector([1, 2, 3, 4])).encode()
    assert model.express.answer(body, None) is not None
    model.leave_loop()
    assert not model.runs_inline(4)
    assert model.express.answer(body, None) is None
    assert not any(model.express.wants(ones) for _ in range(10))


# -- what proves that a model holds up the loop


def watch(*, on_cpu: bool = True) -> HoldUp:
    watched = HoldUp(on_cpu=on_cpu)
    watched.note(0, 0)
    return watched


def test_one_run_of_a_fifth_of_a_second_is_proof() -> None:
    assert watch().is_proven(300 * MS, 301 * MS, 300 * MS)


def test_a_shorter_run_is_proof_when_it_is_not_the_only_one_of_a_minute() -> None:
    watched = watch()
    assert not watched.is_proven(30 * MS, 30 * MS, 30 * MS)
    watched.note(90_000 * MS, 40 * MS)
    assert not watched.is_proven(30 * MS, 90_030 * MS, 70 * MS)
    watched.note(100_000 * MS, 80 * MS)
    assert watched.is_proven(30 * MS, 100_030 * MS, 110 * MS)


def test_work_on_another_processor_counts_by_its_length() -> None:
    assert watch(on_cpu=False).is_proven(300 * MS, 300 * MS, 0)


@given(
    st.lists(
        st.tuples(
            st.integers(0, FRESH_NS),  # from the note to the run
            st.integers(SLOW_NS, 10**11),  # the run
            st.integers(0, 4 * MS),  # what the thread worked of it
            st.integers(0, 10**9),  # from the run to the question
        ),
        max_size=20,
    )
)
def test_a_run_that_waited_for_its_turn_proves_nothing_however_busy_the_thread_is(
    runs: list[tuple[int, int, int, int]],
) -> None:
    watched, now, cpu = watch(), 0, 0
    for before, ran, worked, after in runs:
        watched.note(now, cpu)
        now += before + ran + after
        cpu += before + worked + after
        assert not watched.is_proven(ran, now, cpu)
