"""Where inference runs: large bodies, slow models, and too many at once."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_components.contract.hardware import PROFILES
from edge_components.runtime.http import Limits
from edge_components.runtime.inference import Inference
from edge_components.runtime.load import load_file
from edge_components.runtime.metrics import Metrics
from edge_components.runtime.registry import Registry
from edge_components.runtime.repository import Repository
from edge_components.runtime.routes import Routes
from edge_components.telemetry.queue import TelemetryQueue
from edge_components.telemetry.recorder import Recorder, Subject

ROWS = 40_000


@pytest.fixture(scope="module")
def served(module_start: Any, build: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path: Path = build.scaling(tmp_path_factory.mktemp("m") / "m.onnx", 2.0)
    return module_start("--model", path, "--name", "m", "--max-body-bytes", "3000000")


def test_a_large_binary_request_is_answered_whole(served: Any) -> None:
    array = np.random.default_rng(1).random((ROWS, 4), dtype=np.float32)
    given = {
        "name": "x",
        "datatype": "FP32",
        "shape": [ROWS, 4],
        "parameters": {"binary_data_size": array.nbytes},
    }
    head = json.dumps({"inputs": [given], "parameters": {"binary_data_output": True}}).encode()
    status, headers, body = served.request(
        "POST",
        "/v2/models/m/infer",
        head + array.tobytes(),
        {"Inference-Header-Content-Length": str(len(head))},
    )
    assert status == 200
    raw = body[int(headers["Inference-Header-Content-Length"]) :]
    found = np.frombuffer(raw, np.float32).reshape(ROWS, 4)
    np.testing.assert_array_equal(found, array * 2)


def test_a_large_json_request_is_answered_whole(served: Any) -> None:
    values = np.round(np.random.default_rng(1).random((ROWS, 4)), 3)
    given = {"name": "x", "datatype": "FP32", "shape": [ROWS, 4], "data": values.tolist()}
    status, answer = served.json("POST", "/v2/models/m/infer", {"inputs": [given]})
    assert status == 200
    found = np.array(answer["outputs"][0]["data"], np.float32).reshape(ROWS, 4)
    np.testing.assert_array_equal(found, values.astype(np.float32) * 2)


def test_an_empty_batch_is_answered(served: Any) -> None:
    given = {"name": "x", "datatype": "FP32", "shape": [0, 4], "data": []}
    status, answer = served.json("POST", "/v2/models/m/infer", {"inputs": [given]})
    assert status == 200
    assert answer["outputs"][0]["shape"] == [0, 4]


def test_a_body_above_the_limit_gets_413_with_both_sizes(served: Any) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    connection.putrequest("POST", "/v2/models/m/infer")
    connection.putheader("Content-Length", "3000001")
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    assert "3000001 bytes, at most 3000000" in json.loads(answer.read())["error"]
    connection.close()


def test_an_inference_without_a_length_gets_411(served: Any) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    connection.putrequest("POST", "/v2/models/m/infer")
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 411
    answer.read()
    connection.close()


@pytest.fixture
def narrow(http_server: Any, build: Any, tmp_path: Path) -> Iterator[int]:
    """A server in this process that lets one slow request wait."""
    registry, metrics = Registry(), Metrics()
    path = build.endless(tmp_path / "slow.onnx", trips=1_000_000)
    registry.activate(load_file(path, "slow", PROFILES["x86-64-cpu"]))
    queue = TelemetryQueue(tmp_path / "q.db", max_bytes=1 << 20, ttl_s=60)
    inference = Inference(registry, metrics, Recorder(queue, Subject()), max_waiting=1)
    repository = Repository(None, registry, PROFILES["x86-64-cpu"])
    routes = Routes(inference, repository, ready=lambda: True, metrics_page=lambda: b"")
    yield http_server.serve(routes.resolve, Limits())
    inference.close()
    queue.close()


def test_when_too_many_wait_the_next_is_told_to_come_back(narrow: int) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
    body = json.dumps({"inputs": [tensor]})
    found: list[tuple[int, str | None]] = []
    together = threading.Barrier(4)

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", narrow, timeout=30)
        together.wait()
        connection.request("POST", "/v2/models/slow/infer", body)
        answer = connection.getresponse()
        answer.read()
        found.append((answer.status, answer.headers["Retry-After"]))
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
    assert (200, None) in found
    assert (503, "1") in found


def test_a_model_that_fails_on_data_is_a_500_and_goes_on(
    start: Any, build: Any, tmp_path: Path
) -> None:
    served = start("--model", build.reshaping(tmp_path / "r.onnx"), "--name", "r")

    def ask(rows: int) -> tuple[int, Any]:
        given = {"name": "x", "datatype": "FP32", "shape": [rows, 4], "data": [1.0] * rows * 4}
        found: tuple[int, Any] = served.json("POST", "/v2/models/r/infer", {"inputs": [given]})
        return found

    assert ask(2)[0] == 200
    status, answer = ask(3)
    assert status in {400, 500}
    assert "model" in answer["error"]
    assert ask(2)[0] == 200
