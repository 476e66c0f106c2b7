"""The wide lane: requests with raw tensors that run on a thread, or on the loop of one core."""

from __future__ import annotations

import http.client
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from rt_models import save

from edge_components.contract.hardware import PROFILES
from edge_components.runtime.http import HttpError, Response
from edge_components.runtime.load import load_file
from edge_components.runtime.model import InputRejected, Model, ModelError
from edge_components.runtime.oip.decode import decode_request
from edge_components.runtime.oip.encode import encode_response
from edge_components.runtime.oip.messages import DecodeLimits
from edge_components.runtime.work import Ride, infer, ride

WIDTH = 20_000  # 80 KB: too large for the express lane, and for one write
LIMITS = DecodeLimits()


def document(*, width: int = 4, rows: int = 1, **changes: Any) -> dict[str, Any]:
    tensor = {
        "name": "x",
        "shape": [rows, width],
        "datatype": "FP32",
        "parameters": {"binary_data_size": 4 * rows * width},
    }
    raw = {"parameters": {"binary_data_output": True}} if changes.pop("raw", True) else {}
    top = {name: changes.pop(name) for name in ("id", "outputs") if name in changes}
    return {**top, "inputs": [{**tensor, **changes}], **raw}


def body_of(text: dict[str, Any], values: np.ndarray[Any, Any]) -> tuple[bytes, int]:
    head = json.dumps(text).encode()
    return head + values.astype(np.float32).tobytes(), len(head)


def careful(model: Model, body: bytes, at: int) -> tuple[bytes, int | None]:
    parts, length = encode_response(infer(model, decode_request(body, at, model.signature, LIMITS)))
    return b"".join(parts), length


def loaded(path: Path) -> Model:
    return load_file(path, "m", PROFILES["x86-64-cpu"])


def opened(model: Model, body: bytes, at: int) -> Model:
    """Give a model a lane for requests like this one."""
    request = decode_request(body, at, model.signature, LIMITS)
    model.open_wide_lane(request.inputs, infer(model, request).arrays)
    return model


def ridden(model: Model, body: bytes | memoryview, at: int) -> Response:
    found = model.wide.find(body, at)
    assert found is not None
    task = Ride(found.lane, found.lane.inputs(body, at), found.encode, 0, 0)
    return ride(model, task).answer


@pytest.fixture
def scaling(build: Any, tmp_path: Path) -> Model:
    return opened(loaded(build.scaling(tmp_path / "m.onnx", 3.0)), *body_of(document(), np.ones(4)))


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("request_id", [None, "", "1", 'ü"\\' * 60])
def test_the_answer_is_that_of_the_careful_way(
    scaling: Model, raw: bool, request_id: str | None
) -> None:
    more = {} if request_id is None else {"id": request_id}
    for seed in range(3):  # the second time its JSON is known
        values = np.random.default_rng(seed).random(4)
        body, at = body_of(document(raw=raw, **more), values)
        answer = ridden(scaling, body, at)
        expected, length = careful(scaling, body, at)
        assert b"".join(answer.body) == expected
        line = b"Inference-Header-Content-Length: %d\r\n" % length if length else b""
        assert answer.headers == line
        assert answer.content_type == (b"application/octet-stream" if raw else b"application/json")


def test_tensors_that_do_not_lie_on_a_boundary_are_read_all_the_same(scaling: Model) -> None:
    body, at = body_of(document(), np.array([1, 2, 3, 4]))
    for shift in range(4):
        moved = memoryview(b"-" * shift + body)[shift:]
        assert b"".join(ridden(scaling, moved, at).body) == careful(scaling, body, at)[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "y"},
        {"datatype": "FP64"},
        {"shape": [1, 5]},
        {"shape": [2, 2]},
        {"parameters": {"binary_data_size": 15}},
        {"parameters": {"binary_data_size": True}},
        {"parameters": {"binary_data_size": 16, "shared_memory_region": "r"}},
        {"parameters": {}},
        {"parameters": None, "data": [1.0, 2.0, 3.0, 4.0]},
        {"data": [1.0, 2.0, 3.0, 4.0]},
        {"outputs": [{"name": "y"}]},
        {"id": "x" * 257},
        {"id": 7},
    ],
    ids=str,
)
def test_what_is_not_as_before_is_left_to_the_careful_way(
    scaling: Model, changes: dict[str, Any]
) -> None:
    for _ in range(2):
        assert scaling.wide.find(*body_of(document(**changes), np.ones(4))) is None


def test_a_body_of_another_size_is_left_to_the_careful_way(scaling: Model) -> None:
    body, at = body_of(document(), np.ones(4))
    assert scaling.wide.find(body, at) is not None
    assert scaling.wide.find(body[:-1], at) is None
    assert scaling.wide.find(body + b"\0", at) is None
    assert scaling.wide.find(body, at - 1) is None
    assert scaling.wide.find(body, len(body) + 1) is None


def test_json_that_is_padded_without_measure_is_not_kept(scaling: Model) -> None:
    body, at = body_of(document(), np.ones(4))
    assert scaling.wide.find(b" " * 4000 + body, at + 4000) is None
    assert scaling.wide.find(b" " * 3000 + body, at + 3000) is not None


def test_outputs_whose_shape_depends_on_the_values_are_written_as_they_are(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("NonZero", ["x"], ["y"])],
        "places",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, [2, "n"])],
    )
    model = loaded(save(graph, tmp_path / "m.onnx"))
    opened(model, *body_of(document(), np.ones(4)))
    for raw in (True, False):
        for values in ([1, 1, 1, 1], [0, 1, 0, 0], [1, 0, 1, 1], [0, 0, 0, 0]):
            body, at = body_of(document(raw=raw), np.array(values))
            assert b"".join(ridden(model, body, at).body) == careful(model, body, at)[0]


@pytest.mark.parametrize(("error", "status"), [(InputRejected, 400), (ModelError, 500)])
def test_what_the_model_says_is_said_to_the_client(
    scaling: Model, monkeypatch: pytest.MonkeyPatch, error: type[Exception], status: int
) -> None:
    def fail(_: Any) -> None:
        raise error("does not fit")

    monkeypatch.setattr(scaling, "run", fail)
    with pytest.raises(HttpError, match="does not fit") as caught:
        ridden(scaling, *body_of(document(), np.ones(4)))
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("latency_s", "rows", "max_batch", "is_brief"),
    [(0.008, 1, 1, True), (0.011, 1, 1, False), (0.008, 2, 1, False), (0.008, 1, 4, False)],
)
def test_brief_is_what_a_request_takes_and_not_what_the_model_takes(
    scaling: Model, latency_s: float, rows: int, max_batch: int, is_brief: bool
) -> None:
    scaling.latency_s, scaling.max_batch = latency_s, max_batch
    assert scaling.is_brief(4 * rows) is is_brief
    scaling.leave_loop()
    assert not scaling.is_brief(4)


# -- a real runtime, on all cores and on one


@contextmanager
def on_cores(one: bool) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)} if one else before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@pytest.fixture(params=[False, True], ids=["all cores", "one core"])
def serve(request: Any, start: Any) -> Callable[..., Any]:
    def begin(*arguments: str | Path) -> Any:
        with on_cores(request.param):
            return start(*arguments)

    return begin


@contextmanager
def connected(served: Any) -> Iterator[http.client.HTTPConnection]:
    with closing(http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)) as found:
        yield found


def asked(
    connection: http.client.HTTPConnection, values: np.ndarray[Any, Any], model: str, **more: Any
) -> tuple[int, bytes, dict[str, str]]:
    rows, width = values.shape
    body, at = body_of(document(rows=rows, width=width, **more), values)
    headers = {"Inference-Header-Content-Length": str(at)}
    connection.request("POST", f"/v2/models/{model}/infer", body, headers)
    answer = connection.getresponse()
    return answer.status, answer.read(), dict(answer.getheaders())


def numbers(answer: tuple[int, bytes, dict[str, str]]) -> np.ndarray[Any, Any]:
    status, body, headers = answer
    assert status == 200, body[:300]
    return np.frombuffer(body[int(headers["Inference-Header-Content-Length"]) :], np.float32)


def test_each_of_many_clients_gets_its_own_numbers(serve: Any, build: Any, tmp_path: Path) -> None:
    served = serve("--model", build.scaling(tmp_path / "m.onnx", 2.0, width=WIDTH), "--name", "m")
    wrong: list[str] = []

    def client(seed: int) -> None:
        rng = np.random.default_rng(seed)
        with connected(served) as connection:
            for number in range(25):
                values = rng.random((1, WIDTH), dtype=np.float32)
                more = {"id": f"{seed}-{number}"} if number % 3 == 0 else {}
                found = asked(connection, values, "m", **more)
                if not np.array_equal(numbers(found), 2 * values[0]):
                    wrong.append(f"{seed}: {number}")
                if more and more["id"].encode() not in found[1][:300]:
                    wrong.append(f"{seed}: the id of {number}")

    clients = [threading.Thread(target=client, args=(seed,)) for seed in range(6)]
    for thread in clients:
        thread.start()
    while any(thread.is_alive() for thread in clients):
        assert served.json("GET", "/v2/health/ready")[0] == 200
    assert wrong == []
    (stats,) = served.json("GET", "/v2/models/m/stats")[1]["model_stats"]
    assert stats["inference_stats"]["success"]["count"] == 6 * 25
    assert stats["inference_count"] == stats["execution_count"] == 6 * 25


def test_another_form_and_a_broken_request_are_answered_in_between(
    serve: Any, build: Any, tmp_path: Path
) -> None:
    served = serve("--model", build.scaling(tmp_path / "m.onnx", 2.0, width=WIDTH), "--name", "m")
    one, two = np.ones((1, WIDTH), np.float32), np.full((2, WIDTH), 3, np.float32)
    with connected(served) as connection:
        for _ in range(5):
            assert np.array_equal(numbers(asked(connection, one, "m")), 2 * one[0])
        for _ in range(5):
            assert np.array_equal(numbers(asked(connection, two, "m")), 2 * two.reshape(-1))
            status, body, _ = asked(connection, one, "m", datatype="FP64")
            assert status == 400
            assert "FP64" in json.loads(body)["error"]
            connection.close()
            assert np.array_equal(numbers(asked(connection, one, "m")), 2 * one[0])


def test_another_model_beside_it_changes_no_answer(serve: Any, build: Any, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    for name, factor in (("twice", 2.0), ("thrice", 3.0)):
        build.scaling(folder / f"{name}.onnx", factor, width=WIDTH)
    served = serve("--models", folder, "--load", "twice")
    values = np.random.default_rng(1).random((1, WIDTH), dtype=np.float32)
    with connected(served) as connection:
        for _ in range(6):
            assert np.array_equal(numbers(asked(connection, values, "twice")), 2 * values[0])
        assert served.json("POST", "/v2/repository/models/thrice/load", {})[0] == 200
        for _ in range(6):
            assert np.array_equal(numbers(asked(connection, values, "twice")), 2 * values[0])
            assert np.array_equal(numbers(asked(connection, values, "thrice")), 3 * values[0])
        assert served.json("POST", "/v2/repository/models/twice/unload", {})[0] == 200
        status, body, _ = asked(connection, values, "twice")
        assert status == 404
        assert "no model 'twice'" in json.loads(body)["error"]
        assert np.array_equal(numbers(asked(connection, values, "thrice")), 3 * values[0])


def test_a_brief_model_that_is_slow_over_other_data_leaves_the_loop_of_one_core(
    start: Any, build: Any, tmp_path: Path
) -> None:
    path = build.counting(tmp_path / "m.onnx", width=WIDTH)
    with on_cores(one=True):
        served = start("--model", path, "--name", "m", "--parallel", "1")
    trips = np.zeros((1, WIDTH), np.float32)
    with connected(served) as connection:

        def left() -> bool:
            assert np.array_equal(numbers(asked(connection, trips, "m")), trips[0])
            return bool(served.metrics("edge_left_event_loop_total") == [1.0])

        for _ in range(5):  # there is a lane from the third on
            assert not left()
        trips[0, 0] = 100_000
        build.until(left)
        trips[0, 0] = 1e12
        body, at = body_of(document(width=WIDTH), trips)
        headers = {"Inference-Header-Content-Length": str(at)}
        connection.request("POST", "/v2/models/m/infer", body, headers)
        build.until(lambda: served.metric("edge_in_flight") == 1)
        assert served.json("GET", "/v2/health/live") == (200, {"live": True})
