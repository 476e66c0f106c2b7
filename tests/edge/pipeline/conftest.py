"""A pipeline at work in this process, and real runtimes, servers and brokers around it."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_components.contract.device import PipelineSection
from edge_components.contract.pipeline import Pipeline
from edge_components.pipeline.reports import Silence
from edge_components.pipeline.runner import PipelineRunner
from edge_components.runtime.load import load_file
from edge_components.runtime.metrics import Metrics
from edge_components.runtime.version import find_profile

sys.path.insert(0, str(Path(__file__).parents[1] / "device_support"))

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")


def scaling_model(path: Path, factor: float, *, shape: tuple[Any, ...] = ("n", 4)) -> Path:
    """``y = factor * x`` for float32."""
    path.parent.mkdir(parents=True, exist_ok=True)
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "factor"], ["y"])],
        "scaling",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, list(shape))],
        [numpy_helper.from_array(np.array(factor, dtype=np.float32), "factor")],
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path


def wait_until(what: Callable[[], Any], *, seconds: float = 20.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)
    return found


@pytest.fixture(scope="session")
def until() -> Any:
    return wait_until


@pytest.fixture
def make_model(tmp_path: Path) -> Any:
    def make(factor: float = 1.0, **more: Any) -> Path:
        return scaling_model(tmp_path / "models" / f"{factor}.onnx", factor, **more)

    return make


class Told(Silence):
    """Remembers what the pipeline tells."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.sources: list[str] = []

    def prediction(self, *given: Any, **_: Any) -> None:
        self.sources.append(given[4])

    def event(self, body: str, *, severity: int = 9, attributes: Any = None) -> None:
        self.events.append((body, {**(attributes or {}), "severity": severity}))

    def text(self) -> str:
        return "\n".join(body for body, _ in self.events)


class Bench:
    """A runner in this process; answers go to the folder ``answers``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told = Told()
        self.metrics = Metrics()
        self._runner: PipelineRunner | None = None

    def use(self, pipeline: dict[str, Any], model: Path | None, **device: Any) -> PipelineRunner:
        runner = self._runner
        if runner is None:
            section = msgspec.convert(device, PipelineSection)
            runner = self._runner = PipelineRunner(
                self.told, self.metrics, state_dir=self.folder, device=section, device_id="d1"
            )
        loaded = None
        if model is not None:
            loaded = load_file(model, "plates", find_profile("x86-64-cpu"))
        runner.use(runner.build(loaded, msgspec.convert(pipeline, Pipeline), self.folder))
        return runner

    def drop(self, name: str, content: bytes | list[Any] | dict[str, Any]) -> Path:
        """Put a whole file into the inbox."""
        inbox = self.folder / "inbox"
        inbox.mkdir(exist_ok=True)
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        part = inbox / f".{name}.part"
        part.write_bytes(data)
        part.rename(inbox / name)
        return inbox / name

    def answer(self, name: str) -> dict[str, Any]:
        path = self.folder / "answers" / f"{name}.json"
        wait_until(path.exists)
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def counted(self, what: str) -> int:
        return self.metrics.pipeline[what]

    def close(self) -> None:
        if self._runner is not None:
            self._runner.stop()


INBOX = {"kind": "directory", "path": "inbox", "poll_s": 0.02, "after": "delete"}
ANSWERS = {"kind": "directory", "path": "answers"}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    found = Bench(tmp_path)
    yield found
    found.close()


@pytest.fixture(scope="session")
def parts() -> Any:
    """The usual source and sink."""

    class Parts:
        inbox = INBOX
        answers = ANSWERS

    return Parts


class Receiver:
    """An HTTP server that keeps what is posted; ``decide`` gives the status of each request."""

    def __init__(self) -> None:
        self.decide: Callable[[Any], int] = lambda _: 200
        self.taken: list[Any] = []
        self.headers: list[dict[str, str]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                found = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.headers.append(dict(self.headers.items()))
                status = receiver.decide(found)
                if status == 200:
                    receiver.taken.append(found)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Be quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/answers"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.close()


class Served:
    """A runtime process and how to talk to it."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, state: Path) -> None:
        self.process = process
        self.port = port
        self.state = state

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body or None, headers or {})
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        is_json = answer.headers.get_content_type() == "application/json"
        return answer.status, json.loads(data) if is_json else data.decode()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def counter(self, what: str) -> float:
        _, page = self.request("GET", "/metrics")
        wanted = f'edge_pipeline_total{{what="{what}"}} '
        return next((float(li.split()[-1]) for li in page.splitlines() if li.startswith(wanted)), 0)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Any]:
    """Start runtimes with a pipeline of their own."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(
        *arguments: str | Path,
        pipeline: dict[str, Any] | None = None,
        device: str = "",
        state: Path | None = None,
    ) -> Served:
        folder = tmp_path / f"runtime-{len(processes)}"
        folder.mkdir()
        state = state or folder / "state"
        command = [sys.executable, "-m", "edge_components.runtime.main", "serve", "--port", "0"]
        command += ["--state-dir", str(state), *(str(part) for part in arguments)]
        if pipeline is not None:
            (folder / "pipeline.json").write_text(json.dumps(pipeline))
            command += ["--pipeline", str(folder / "pipeline.json")]
        if device:
            (folder / "pipeline.toml").write_text(device)
            command += ["--pipeline-config", str(folder / "pipeline.toml")]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        processes.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "the runtime ended before it was there"
        return Served(process, json.loads(line)["port"], state)

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()


class Broker:
    """A mosquitto that keeps sessions on disk, on a port of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, more: str = "allow_anonymous true\n") -> None:
        config = self._folder / "mosquitto.conf"
        config.write_text(
            f"listener {self.port} 127.0.0.1\n{more}"
            f"persistence true\npersistence_location {self._folder}/\nuser root\n"
        )
        assert MOSQUITTO is not None
        self.process = subprocess.Popen(
            [MOSQUITTO, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(self._answers)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    if MOSQUITTO is None:
        pytest.skip("needs mosquitto (apt-get install mosquitto)")
    folder = tmp_path / "broker"
    folder.mkdir()
    found = Broker(folder)
    yield found
    found.stop()


@pytest.fixture
def steps_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Install a module of user steps on this device."""

    def install(source: str, name: str = "site_steps") -> str:
        folder = tmp_path / "site"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(source)
        path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
        monkeypatch.setenv("PYTHONPATH", path)
        return name

    return install
