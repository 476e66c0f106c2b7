"""How a runtime ends: with requests under way, while a model loads or hangs, and by a kill."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

VALUES = np.array([[1, 2, 3, 4]], np.float32)
BODY = json.dumps(
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}
).encode()


def tensor() -> triton.InferInput:
    given = triton.InferInput("x", [1, 4], "FP32")
    given.set_data_from_numpy(VALUES)
    return given


def until(what: Any, seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture
def slow(build: Any, tmp_path: Path) -> Path:
    """A model that takes long enough to be interrupted."""
    found: Path = build.endless(tmp_path / "slow.onnx", trips=1_000_000)
    return found


@pytest.fixture
def hanging(build: Any, tmp_path: Path) -> Path:
    """A model that takes longer than any test over more than one row."""
    found: Path = build.hanging(tmp_path / "hanging.onnx")
    return found


def test_sigterm_finishes_rest_and_grpc_requests_that_have_begun(start: Any, slow: Path) -> None:
    served = start("--model", slow, "--grpc-port", "0", "--drain-s", "30")
    found: dict[str, Any] = {}

    def rest() -> None:
        found["rest"] = served.request("POST", "/v2/models/model/infer", BODY)

    with triton.InferenceServerClient(f"127.0.0.1:{served.grpc_port}") as client:

        def grpc() -> None:
            found["grpc"] = client.infer("model", [tensor()]).as_numpy("y")

        threads = [threading.Thread(target=each) for each in (rest, grpc)]
        for thread in threads:
            thread.start()
        until(lambda: served.metric("edge_in_flight") >= 2)
        served.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(40)
    status, headers, data = found["rest"]
    assert (status, headers["Connection"]) == (200, "close")
    assert json.loads(data)["outputs"][0]["data"] == [1.0, 2.0, 3.0, 4.0]
    assert found["grpc"].tolist() == VALUES.tolist()
    assert served.process.wait(20) == 0


def test_on_sigterm_a_connection_that_is_there_hears_that_it_is_not_ready(
    start: Any, build: Any, tmp_path: Path
) -> None:
    """The request was begun before the end, so it is answered; the answer says so."""
    model = build.scaling(tmp_path / "m.onnx", 2.0)
    served = start("--model", model, "--drain-s", "20")
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        connection.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n")
        connection.sendall(b"Content-Length: 1\r\n\r\n")
        assert connection.recv(100).endswith(b"100 Continue\r\n\r\n")
        served.process.send_signal(signal.SIGTERM)
        until(lambda: refused(served.port))
        connection.sendall(b"x")
        answer = b""
        while chunk := connection.recv(4096):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert answer.endswith(b'{"live":true,"ready":false}')
    assert served.process.wait(20) == 0


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("way", ["rest", "grpc"])
def test_a_model_that_hangs_does_not_hold_up_the_end_beyond_the_deadline(
    start: Any, hanging: Path, way: str
) -> None:
    served = start("--model", hanging, "--grpc-port", "0", "--drain-s", "0.5")
    rows = np.ones((2, 4), np.float32)
    errors: list[Exception] = []

    def ask() -> None:
        try:
            if way == "grpc":
                given = triton.InferInput("x", [2, 4], "FP32")
                given.set_data_from_numpy(rows)
                with triton.InferenceServerClient(f"127.0.0.1:{served.grpc_port}") as client:
                    client.infer("model", [given])
            else:
                given = {"name": "x", "datatype": "FP32", "shape": [2, 4], "data": rows.tolist()}
                served.request(
                    "POST", "/v2/models/model/infer", json.dumps({"inputs": [given]}).encode()
                )
        except (OSError, http.client.HTTPException, InferenceServerException) as exc:
            errors.append(exc)

    asker = threading.Thread(target=ask)
    asker.start()
    until(lambda: served.metric("edge_in_flight") >= 1)
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(15) == 4
    asker.join(20)
    assert errors


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[Any]:
    """Start a runtime whose first line is not waited for."""
    running: list[subprocess.Popen[bytes]] = []

    def launch(*arguments: Any) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "edge_components.runtime.main", "serve"]
        more = ["--state-dir", tmp_path / "state", *arguments]
        process = subprocess.Popen([*command, *map(str, more)], stdout=subprocess.PIPE)
        running.append(process)
        return process

    yield launch
    for process in running:
        process.kill()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def answers(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def test_sigterm_while_a_model_loads_ends_the_runtime(
    launched: Any, build: Any, tmp_path: Path
) -> None:
    """Loading warms the model, which this one never ends."""
    port = free_port()
    model = build.endless(tmp_path / "endless.onnx")
    process = launched("--model", model, "--port", port, "--control-socket", tmp_path / "c")
    until(lambda: answers(port, "/v2/health/live") == 200)
    assert answers(port, "/v2/health/ready") == 503
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0
    assert not (tmp_path / "c").exists()


def test_sigterm_while_a_client_loads_a_model_ends_the_runtime(
    start: Any, build: Any, tmp_path: Path
) -> None:
    model = build.scaling(tmp_path / "m.onnx", 2.0)
    build.endless(tmp_path / "more" / "endless.onnx")
    served = start("--model", model, "--models", tmp_path / "more", "--drain-s", "0.5")
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as connection:
        connection.sendall(
            b"POST /v2/repository/models/endless/load HTTP/1.1\r\n"
            b"Host: x\r\nContent-Length: 0\r\n\r\n"
        )
        cpu = processor_s(served.process.pid)
        until(lambda: processor_s(served.process.pid) > cpu + 0.2)
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(15) == 4


def processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_after_a_kill_under_load_the_next_runtime_has_the_same_ports(
    launched: Any, build: Any, tmp_path: Path
) -> None:
    ports = [free_port(), free_port()]
    arguments = (
        *("--model", build.scaling(tmp_path / "m.onnx", 2.0), "--port", ports[0]),
        *("--grpc-port", ports[1], "--control-socket", tmp_path / "c"),
    )
    first = launched(*arguments)
    assert json.loads(first.stdout.readline())["port"] == ports[0]
    with (
        socket.create_connection(("127.0.0.1", ports[0]), timeout=20) as open_connection,
        triton.InferenceServerClient(f"127.0.0.1:{ports[1]}") as client,
    ):
        open_connection.sendall(b"GET /v2 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert open_connection.recv(100)
        assert client.is_server_live()
        first.kill()
        first.wait(10)
        second = launched(*arguments)
        assert json.loads(second.stdout.readline())["grpc_port"] == ports[1]
    assert answers(ports[0], "/v2/health/ready") == 200
    with triton.InferenceServerClient(f"127.0.0.1:{ports[1]}") as client:
        assert client.infer("model", [tensor()]).as_numpy("y").tolist() == (2 * VALUES).tolist()
