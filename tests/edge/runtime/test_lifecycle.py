"""Start, graceful end, and life without a supervisor."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest


def body(values: list[float]) -> bytes:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": values}
    return json.dumps({"inputs": [tensor]}).encode()


@pytest.fixture
def slow(start: Any, build: Any, tmp_path: Path) -> Any:
    """A runtime whose model takes a good part of a second."""
    path = build.endless(tmp_path / "slow.onnx", trips=1_500_000)
    return start("--model", path, "--name", "slow", "--drain-s", "20")


def test_sigterm_finishes_what_has_begun_and_takes_nothing_new(slow: Any) -> None:
    idle = http.client.HTTPConnection("127.0.0.1", slow.port, timeout=20)
    idle.request("GET", "/v2/health/live")
    idle.getresponse().read()
    found: list[Any] = []

    def ask() -> None:
        found.append(slow.request("POST", "/v2/models/slow/infer", body([1, 2, 3, 4])))

    asker = threading.Thread(target=ask)
    asker.start()
    end = time.monotonic() + 10
    while slow.metric("edge_in_flight") < 1 and time.monotonic() < end:
        time.sleep(0.01)
    slow.process.send_signal(signal.SIGTERM)
    asker.join(30)
    status, headers, data = found[0]
    assert status == 200
    assert headers["Connection"] == "close"
    assert json.loads(data)["outputs"][0]["data"] == [1.0, 2.0, 3.0, 4.0]
    assert slow.process.wait(20) == 0
    assert idle.sock is not None
    assert idle.sock.recv(1) == b""
    idle.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", slow.port), timeout=5)


def test_health_answers_while_a_slow_model_works(slow: Any) -> None:
    asker = threading.Thread(
        target=slow.request, args=("POST", "/v2/models/slow/infer", body([1, 2, 3, 4]))
    )
    asker.start()
    end = time.monotonic() + 10
    while slow.metric("edge_in_flight") < 1 and time.monotonic() < end:
        time.sleep(0.01)
    start = time.monotonic()
    assert slow.json("GET", "/v2/health/live")[0] == 200
    assert time.monotonic() - start < 0.3
    asker.join(30)


def test_control_shutdown_ends_the_process_and_removes_the_socket(start: Any) -> None:
    served = start()
    assert served.control("POST", "/control/shutdown")[0] == 202
    assert served.process.wait(15) == 0
    assert not served.socket_path.exists()


def test_a_hung_request_does_not_hold_up_the_end_beyond_the_deadline(
    start: Any, build: Any, tmp_path: Path
) -> None:
    path = build.scaling(tmp_path / "m.onnx", 2.0)
    served = start("--model", path, "--name", "m", "--drain-s", "0.5")
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
        connection.sendall(
            b"POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
        )
        time.sleep(0.1)
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(10) == 4


def test_an_orphan_serves_on_and_ends_when_nobody_calls(start: Any) -> None:
    served = start("--parent-pipe", "--orphan-grace", "1.5", stdin=subprocess.PIPE)
    served.process.stdin.close()
    for _ in range(8):
        time.sleep(0.3)
        assert served.control("GET", "/control/status")[0] == 200
    assert served.process.wait(15) == 0


def test_a_live_parent_pipe_keeps_the_runtime(start: Any) -> None:
    served = start("--parent-pipe", "--orphan-grace", "0.2", stdin=subprocess.PIPE)
    time.sleep(0.8)
    assert served.process.poll() is None


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_components.runtime.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_model_that_cannot_be_loaded_is_one_sentence_and_exit_1(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"nothing")
    done = run("serve", "--model", path, "--port", "0", "--state-dir", tmp_path)
    assert done.returncode == 1
    assert "load-failed" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_port_is_one_sentence_and_exit_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("serve", "--port", str(port), "--state-dir", tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        f"edge-runtime: cannot serve: '127.0.0.1' port {port}: Address already in use; "
        "another port, or 0 for any free one, can be given\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "no such host"], "cannot serve: no address is known for 'no such host': "),
        (["--control-socket", "nowhere/c"], "cannot serve: 'nowhere/c': No such file or directory"),
        (["--config", "none.toml"], "'none.toml' cannot be read: No such file or directory"),
        (
            ["--pipeline-config", "none.toml"],
            "--pipeline-config: 'none.toml' cannot be read: No such file",
        ),
        (["--tls-cert", "none.pem", "--tls-key", "k"], "--tls-cert: 'none.pem' cannot be read: No"),
        (["--port", "99999"], "--port is 99999, has to be between 0 and 65535"),
        (["--grpc-port", "-1"], "--grpc-port is -1, has to be between 0 and 65535"),
        (["--max-batch", "0"], "--max-batch is 0, has to be between 1 and 256"),
        (["--max-connections", "0"], "--max-connections is 0, has to be at least 1"),
        (["--drain-s", "nan"], "--drain-s is nan, has to be at least 0"),
        (["--telemetry-interval-s", "0"], "'interval_s' of [telemetry] is 0, has to be above 0"),
    ],
)
def test_what_cannot_be_used_is_one_sentence_with_its_value(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    port = [] if "--port" in arguments else ["--port", "0"]
    done = run("serve", *port, "--state-dir", tmp_path, *arguments)
    assert done.returncode in {1, 2}
    assert done.stderr.startswith(f"edge-runtime: {message}")
    assert done.stderr.count("\n") == 1


def test_a_broken_configuration_is_a_usage_error(tmp_path: Path) -> None:
    config = tmp_path / "device.toml"
    config.write_text("[device]\nid = 1\n")
    done = run("serve", "--config", config)
    assert done.returncode == 2
    assert "device.toml" in done.stderr


def test_the_configuration_file_gives_what_the_command_line_does_not(
    start: Any, tmp_path: Path
) -> None:
    config = tmp_path / "device.toml"
    config.write_text(
        f'[device]\nid = "lot-7"\napplication = "plates"\nhardware = "raspberry-pi-4"\n'
        f'state_dir = "{tmp_path}/state"\n[trust]\npublishers = []\n[runtime]\nport = 1\n'
    )
    assert start("--config", config).json("GET", "/v2/health/live")[0] == 200
