"""A runtime process, and how to talk to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rt_models import APPLICATION


class UnixConnection(http.client.HTTPConnection):
    """http.client over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(30)
        self.sock.connect(str(self._path))


class Served:
    """A runtime process and how to talk to it."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        port: int,
        socket_path: Path,
        *,
        grpc_port: int = 0,
    ) -> None:
        self.process = process
        self.port = port
        self.grpc_port = grpc_port
        self.socket_path = socket_path

    def request(
        self,
        method: str,
        path: str,
        body: bytes | dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        return _exchange(connection, method, path, body, headers)

    def json(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        status, _, data = self.request(method, path, body)
        return status, json.loads(data)

    def control(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        status, _, data = _exchange(UnixConnection(self.socket_path), method, path, body, None)
        return status, json.loads(data)

    def infer(self, values: list[float], model: str = APPLICATION) -> list[float]:
        status, answer = self.json("POST", f"/v2/models/{model}/infer", vector(values))
        assert status == 200, answer
        found: list[float] = answer["outputs"][0]["data"]
        return found

    def metric(self, name: str) -> float:
        """One sample, named as on the page, labels included."""
        found = [value for sample, value in self._samples() if sample == name]
        assert found, f"no metric {name}"
        return found[0]

    def metrics(self, family: str) -> list[float]:
        """All samples of a family."""
        return [value for name, value in self._samples() if name.partition("{")[0] == family]

    def _samples(self) -> Iterator[tuple[str, float]]:
        _, _, page = self.request("GET", "/metrics")
        for line in page.decode().splitlines():
            if not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                yield name, float(value)


def vector(values: list[float]) -> dict[str, Any]:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, len(values)], "data": values}
    return {"inputs": [tensor]}


def _exchange(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | dict[str, Any] | None,
    headers: dict[str, str] | None,
) -> tuple[int, dict[str, str], bytes]:
    with contextlib.closing(connection):
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        connection.request(method, path, data, headers or {})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()


def until(what: Callable[[], Any], *, seconds: float = 20.0) -> Any:
    end = time.monotonic() + seconds
    while True:
        found = what()
        if found:
            return found
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


Start = Callable[..., Served]


@contextlib.contextmanager
def starting(root: Path) -> Iterator[Start]:
    """Give a function that starts runtimes, and end them all."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(
        *arguments: str | Path, stdin: int = subprocess.DEVNULL, env: dict[str, str] | None = None
    ) -> Served:
        state = root / f"s{len(processes)}"
        state.mkdir(parents=True, exist_ok=True)
        socket_path = state / "c"
        command = [
            *(sys.executable, "-m", "edge_components.runtime.main", "serve", "--port", "0"),
            *("--state-dir", state, "--control-socket", socket_path),
            *arguments,
        ]
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=stdin,
            stdout=subprocess.PIPE,
            env={**os.environ, **(env or {})},
        )
        processes.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "the runtime ended before it was there"
        found = json.loads(line)
        return Served(process, found["port"], socket_path, grpc_port=found.get("grpc_port", 0))

    try:
        yield start
    finally:
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait(timeout=10)
            for stream in (process.stdout, process.stdin):
                if stream is not None:
                    stream.close()
