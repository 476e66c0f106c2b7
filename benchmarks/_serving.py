"""What the serving benchmarks share: models, the raw loop, the load on a server, its process.

The server is pinned to one core, the client and the raw loop's owner to another; the raw loop
moves to the server's core for its turn. Turns of raw loop and server alternate, and what counts is
the median of their ratios: a machine that is slow for a while is slow for both.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import onnx
import onnxruntime as ort
import uvloop
from onnx import TensorProto, helper, numpy_helper

INPUTS, HIDDEN, CLASSES = 64, 32, 10
PICTURE = (1, 3, 224, 224)
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, CLIENT_CORE = CORES[0], CORES[-1]


class Rates(NamedTuple):
    """What one turn measured; ``share`` is the part of a core that the server had."""

    per_s: float
    per_cpu_s: float
    p50_s: float = 0.0
    p99_s: float = 0.0
    share: float = 1.0


# -- models


def digits_mlp(path: Path) -> None:
    """A classifier of 64 numbers that takes microseconds."""
    rng = np.random.default_rng(7)
    weights = [
        numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        for name, shape in (("w1", (INPUTS, HIDDEN)), ("w2", (HIDDEN, CLASSES)))
    ]
    nodes = [
        helper.make_node("MatMul", ["pixels", "w1"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w2"], ["c"]),
        helper.make_node("Softmax", ["c"], ["scores"]),
    ]
    _save(path, nodes, weights, ("pixels", ["n", INPUTS]), ("scores", ["n", CLASSES]))


def vision_net(path: Path) -> None:
    """A net of SqueezeNet's size and shape (1.2 million weights) with random weights."""
    net = _Net()
    last = net.conv("data", 3, 64, kernel=3, stride=2)
    last = net.pool(last)
    channels = 64
    for squeeze, expand, pools in (
        *((16, 64, False), (16, 64, True), (32, 128, False), (32, 128, True)),
        *((48, 192, False), (48, 192, False), (64, 256, False), (64, 256, False)),
    ):
        narrow = net.conv(last, channels, squeeze)
        wide = [net.conv(narrow, squeeze, expand, kernel=k) for k in (1, 3)]
        last = net.node("Concat", wide, axis=1)
        channels = 2 * expand
        last = net.pool(last) if pools else last
    last = net.conv(last, channels, 1000)
    last = net.node("GlobalAveragePool", [last])
    last = net.node("Flatten", [last])
    net.nodes.append(helper.make_node("Softmax", [last], ["scores"]))
    _save(path, net.nodes, net.weights, ("data", ["n", *PICTURE[1:]]), ("scores", ["n", 1000]))


class _Net:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._rng = np.random.default_rng(5)

    def node(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def conv(self, given: str, before: int, after: int, kernel: int = 1, stride: int = 1) -> str:
        shape = (after, before, kernel, kernel)
        scale = (2 / (before * kernel * kernel)) ** 0.5
        weight = (self._rng.standard_normal(shape) * scale).astype(np.float32)
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(weight, name))
        pads, strides = [kernel // 2] * 4, [stride, stride]
        found = self.node("Conv", [given, name], pads=pads, strides=strides)
        return self.node("Relu", [found])

    def pool(self, given: str) -> str:
        return self.node("MaxPool", [given], kernel_shape=[3, 3], strides=[2, 2])


def _save(
    path: Path,
    nodes: list[onnx.NodeProto],
    weights: list[onnx.TensorProto],
    given: tuple[str, list[Any]],
    found: tuple[str, list[Any]],
) -> None:
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info(given[0], TensorProto.FLOAT, given[1])],
        [helper.make_tensor_value_info(found[0], TensorProto.FLOAT, found[1])],
        weights,
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)


# -- requests


def json_body(name: str, values: np.ndarray[Any, Any]) -> bytes:
    data = np.round(values, 4).reshape(-1).tolist()
    tensor = {"name": name, "shape": list(values.shape), "datatype": "FP32", "data": data}
    return json.dumps({"id": "1", "inputs": [tensor]}).encode()


def json_request(name: str, values: np.ndarray[Any, Any]) -> bytes:
    return _post(json_body(name, values), b"Content-Type: application/json\r\n")


def binary_request(name: str, values: np.ndarray[Any, Any]) -> bytes:
    raw = values.astype(np.float32).tobytes()
    tensor = {
        "name": name,
        "shape": list(values.shape),
        "datatype": "FP32",
        "parameters": {"binary_data_size": len(raw)},
    }
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return _post(head + raw, b"Inference-Header-Content-Length: %d\r\n" % len(head))


def _post(body: bytes, headers: bytes) -> bytes:
    return (
        b"POST /v2/models/m/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\n"
        b"Accept: */*\r\n%bContent-Length: %d\r\n\r\n%b" % (headers, len(body), body)
    )


# -- the raw loop


class RawLoop:
    """``session.run`` and nothing else, on the server's core."""

    def __init__(
        self, model: Path, feed: dict[str, np.ndarray[Any, Any]], threads: int = 1
    ) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = ort.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )
        self._feed = feed
        self._outputs = [node.name for node in self._session.get_outputs()]

    def run(self, feed: dict[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        found: list[np.ndarray[Any, Any]] = self._session.run(self._outputs, feed)
        return found

    def turn(self, seconds: float) -> Rates:
        run, outputs, feed = self._session.run, self._outputs, self._feed
        with on_core(SERVER_CORE):
            count, start, cpu = 0, time.perf_counter(), time.process_time()
            end = start + seconds
            while time.perf_counter() < end:
                for _ in range(8):
                    run(outputs, feed)
                count += 8
            passed, used = time.perf_counter() - start, time.process_time() - cpu
        return Rates(count / passed, count / used)


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


# -- load over HTTP


class Client(asyncio.Protocol):
    """Sends one request after the other on one connection and notes how long each took."""

    def __init__(self, request: bytes, latencies: list[float]) -> None:
        self.request = request
        self.latencies = latencies
        self.running = True
        self.expected = 0
        self.received = 0
        self.began = 0.0
        self.failed: list[bytes] = []
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # TCP gives a Transport
        self._send()

    def data_received(self, data: bytes) -> None:
        if not self.expected:
            if not data.startswith(b"HTTP/1.1 200"):
                self.failed.append(data[:200])
            at = data.index(b"Content-Length: ") + 16
            length = int(data[at : data.index(b"\r\n", at)])
            self.expected = data.index(b"\r\n\r\n") + 4 + length
        self.received += len(data)
        if self.received >= self.expected:
            self.latencies.append(time.perf_counter() - self.began)
            if self.running:
                self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.running:
            self.failed.append(b"the server closed the connection")

    def _send(self) -> None:
        self.expected = self.received = 0
        self.began = time.perf_counter()
        assert self.transport is not None
        self.transport.write(self.request)


async def load(
    port: int, request: bytes, connections: int, seconds: float, *, polls: bool
) -> list[float]:
    """Keep connections busy and return all latencies after a short run-up."""
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    clients = []
    for _ in range(connections):
        _, client = await loop.create_connection(
            lambda: Client(request, latencies), "127.0.0.1", port
        )
        clients.append(client)
    stop = polling(loop) if polls else contextlib.nullcontext()
    with stop:
        await asyncio.sleep(seconds / 8)
        latencies.clear()
        await asyncio.sleep(seconds)
        found = list(latencies)
    for client in clients:
        client.running = False
    await asyncio.sleep(0.05)
    for client in clients:
        assert client.transport is not None
        client.transport.close()
        if client.failed:
            raise SystemExit(f"the server answered {client.failed[0]!r}")
    return found


@contextlib.contextmanager
def polling(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Let the client look for answers without ever going to sleep.

    Waking a sleeping process on another core is the sender's work. In a virtual machine it leaves
    the guest and costs more than a small request; over a network there is nobody to wake.
    """
    running = True

    def again() -> None:
        if running:
            loop.call_soon(again)

    again()
    try:
        yield
    finally:
        running = False


def measure(
    pid: int, port: int, request: bytes, connections: int, seconds: float, *, polls: bool = True
) -> Rates:
    before, start = cpu_s(pid), time.perf_counter()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(load(port, request, connections, seconds, polls=polls))
    share = (cpu_s(pid) - before) / (time.perf_counter() - start)
    rate = len(found) / seconds
    p50, p99 = (float(q) for q in np.percentile(found, (50, 99)))
    return Rates(rate, rate / max(share, 0.01), p50, p99, share)


# -- the server


class Server:
    """An ``edge-runtime`` on the server's core.

    Attributes:
        line: What the server said when it was there.
        cold_s: From the start of the process to its first answer.
    """

    def __init__(
        self,
        model: Path | None,
        folder: Path,
        request: bytes,
        *options: str,
        cores: str | None = None,
    ) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        command = [
            *("taskset", "-c", cores or str(SERVER_CORE)),
            *(sys.executable, "-m", "edge_components.runtime.main", "serve"),
            *(() if model is None else ("--model", str(model), "--name", "m")),
            *("--port", str(self.port)),
            *("--state-dir", str(folder / f"state-{self.port}"), *options),
        ]
        start = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(folder))
        self._await(request)
        self.cold_s = time.perf_counter() - start
        assert self.process.stdout is not None
        self.line: dict[str, Any] = json.loads(self.process.stdout.readline())
        self.pid = self.process.pid

    def _await(self, request: bytes) -> None:
        while self.process.poll() is None:
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection,
            ):
                connection.sendall(request)
                if connection.recv(65536).startswith(b"HTTP/1.1 200"):
                    return
            time.sleep(0.002)
        raise SystemExit("the server ended")

    def rss_mb(self) -> float:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.communicate(timeout=15)


@contextlib.contextmanager
def pinned(*arguments: str, env: dict[str, str] | None = None) -> Iterator[tuple[int, int]]:
    """Run a Python program on the server's core that prints its port; give process id and port."""
    command = ["taskset", "-c", str(SERVER_CORE), sys.executable, "-P", *arguments]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    try:
        assert server.stdout is not None
        yield server.pid, int(server.stdout.readline())
    finally:
        server.kill()
        server.communicate()


def environment(folder: Path) -> dict[str, str]:
    """Let Python keep what it compiles, as an installation on a device does."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(folder / "compiled")}


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process and of the processes that it started."""
    return sum(_ticks(each) for each in (pid, *children(pid))) / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    found: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(child) for child in file.read_text(encoding="ascii").split()]
    return found


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


# -- turns and their ratios


class Against(NamedTuple):
    """The medians of all turns of one subject, and of their ratios to the raw loop's."""

    rates: Rates
    ratio: float
    cpu_ratio: float


def alternate(
    raw: Callable[[], Rates], subjects: dict[str, Callable[[], Rates]], rounds: int
) -> tuple[Rates, dict[str, Against]]:
    """Take turns, the raw loop before and after each subject."""
    found: dict[str, list[tuple[Rates, Rates]]] = {name: [] for name in subjects}
    raws = [raw()]
    for _ in range(rounds):
        for name, subject in subjects.items():
            rates = subject()
            raws.append(raw())
            found[name].append((rates, _mean(raws[-2], raws[-1])))
    return _median(raws), {name: _against(pairs) for name, pairs in found.items()}


def _against(pairs: list[tuple[Rates, Rates]]) -> Against:
    return Against(
        _median([rates for rates, _ in pairs]),
        statistics.median(rates.per_s / raw.per_s for rates, raw in pairs),
        statistics.median(rates.per_cpu_s / raw.per_cpu_s for rates, raw in pairs),
    )


def _mean(first: Rates, second: Rates) -> Rates:
    return Rates(*(statistics.fmean(pair) for pair in zip(first, second, strict=True)))


def _median(found: list[Rates]) -> Rates:
    return Rates(*(statistics.median(column) for column in zip(*found, strict=True)))


def show(name: str, found: Against) -> None:
    rates = found.rates
    print(
        f"{name:<24} {rates.per_s:9.1f}/s   of raw {found.ratio:.3f}   "
        f"per CPU second {rates.per_cpu_s:9.1f}   of raw {found.cpu_ratio:.3f}   "
        f"p50 {rates.p50_s * 1000:6.2f} ms   p99 {rates.p99_s * 1000:6.2f} ms   "
        f"had {rates.share:4.0%}"
    )


def show_raw(raw: Rates) -> None:
    print(f"{'raw session.run loop':<24} {raw.per_s:9.1f}/s   per CPU second {raw.per_cpu_s:.1f}")
