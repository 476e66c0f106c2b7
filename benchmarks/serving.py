"""Throughput, latency, start and memory of ``edge-runtime`` against a plain ``session.run`` loop.

The server is pinned to one core and the client to another; the raw loop runs on the server's core
before the server starts. A bare uvloop server that answers a fixed 200 bytes without reading the
request shows what sockets cost on this machine: no server in Python can be faster. Ratios are what
matters: machines differ, the run is the same. On a busy machine the server gets only a part of its
core; "per CPU second" counts the time that it really had, in user space and in the kernel.

    python benchmarks/serving.py [--seconds 3] [--connections 8 32]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
import uvloop
from onnx import TensorProto, helper, numpy_helper

INPUTS, HIDDEN, CLASSES = 64, 32, 10


def digits_mlp(path: Path) -> None:
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
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", INPUTS])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", CLASSES])],
        weights,
    )
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)


def raw_loop(path: Path, seconds: float) -> tuple[float, float]:
    """Return runs a second, and runs per CPU second."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feed = {"pixels": np.random.default_rng(1).random((1, INPUTS), dtype=np.float32)}
    count, start, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < seconds:
        for _ in range(500):
            session.run(["scores"], feed)
        count += 500
    return count / (time.perf_counter() - start), count / (time.process_time() - cpu)


def request_json() -> bytes:
    values = np.round(np.random.default_rng(1).random(INPUTS), 4).tolist()
    tensor = {"name": "pixels", "shape": [1, INPUTS], "datatype": "FP32", "data": values}
    body = json.dumps({"id": "1", "inputs": [tensor]}).encode()
    return _post(body, b"Content-Type: application/json\r\n")


def request_binary() -> bytes:
    raw = np.random.default_rng(1).random(INPUTS, dtype=np.float32).tobytes()
    tensor = {
        "name": "pixels",
        "shape": [1, INPUTS],
        "datatype": "FP32",
        "parameters": {"binary_data_size": len(raw)},
    }
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return _post(head + raw, b"Inference-Header-Content-Length: %d\r\n" % len(head))


def _post(body: bytes, headers: bytes) -> bytes:
    return (
        b"POST /v2/models/digits/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\n"
        b"Accept: */*\r\n%bContent-Length: %d\r\n\r\n%b" % (headers, len(body), body)
    )


class Rates(NamedTuple):
    """What one run measured; ``share`` is the part of its core that the server had."""

    per_s: float
    per_cpu_s: float
    p99_s: float
    share: float


class Client(asyncio.Protocol):
    """Sends one request after the other on one connection and notes how long each took."""

    def __init__(self, request: bytes, latencies: list[float]) -> None:
        self.request = request
        self.latencies = latencies
        self.running = True
        self.expected = 0
        self.received = 0
        self.began = 0.0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self.transport = transport  # type: ignore[assignment]  # TCP gives a Transport
        self._send()

    def data_received(self, data: bytes) -> None:
        """Send the next request when the answer is whole."""
        if not self.expected:
            if not data.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"the server answered {data[:200]!r}")
            at = data.index(b"Content-Length: ") + 16
            length = int(data[at : data.index(b"\r\n", at)])
            self.expected = data.index(b"\r\n\r\n") + 4 + length
        self.received += len(data)
        if self.received >= self.expected:
            self.latencies.append(time.perf_counter() - self.began)
            if self.running:
                self._send()

    def _send(self) -> None:
        self.expected = self.received = 0
        self.began = time.perf_counter()
        assert self.transport is not None
        self.transport.write(self.request)


async def load(port: int, request: bytes, connections: int, seconds: float) -> tuple[float, float]:
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    clients = []
    for _ in range(connections):
        _, client = await loop.create_connection(
            lambda: Client(request, latencies), "127.0.0.1", port
        )
        clients.append(client)
    await asyncio.sleep(seconds / 4)
    latencies.clear()
    start = time.perf_counter()
    await asyncio.sleep(seconds)
    rate = len(latencies) / (time.perf_counter() - start)
    for client in clients:
        client.running = False
    p99 = float(np.percentile(latencies, 99))
    await asyncio.sleep(0.1)
    for client in clients:
        assert client.transport is not None
        client.transport.close()
    return rate, p99


def start_server(
    model: Path, folder: Path, core: int
) -> tuple[subprocess.Popen[bytes], int, float]:
    """Start the server; return it, its port, and the seconds to its first answer."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *(sys.executable, "-m", "edge_components.runtime.main", "serve"),
        *("--model", str(model), "--name", "digits", "--port", str(port)),
        *("--state-dir", str(folder / "state")),
    ]
    start = time.perf_counter()
    server = subprocess.Popen(["taskset", "-c", str(core), *command], stdout=subprocess.DEVNULL)
    request = request_json()
    while server.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(request)
                if connection.recv(4096).startswith(b"HTTP/1.1 200"):
                    return server, port, time.perf_counter() - start
        except OSError:
            pass
        time.sleep(0.002)
    raise SystemExit("the server ended")


ECHO = """
import asyncio, sys, uvloop
ANSWER = b"HTTP/1.1 200 OK\\r\\nContent-Length: 200\\r\\n\\r\\n" + b"x" * 200
class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(ANSWER)
async def main():
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()
uvloop.run(main())
"""


def measure(pid: int, port: int, request: bytes, connections: int, seconds: float) -> Rates:
    before, start = cpu_s(pid), time.perf_counter()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        rate, p99 = runner.run(load(port, request, connections, seconds))
    share = (cpu_s(pid) - before) / (time.perf_counter() - start)
    return Rates(rate, rate / max(share, 0.01), p99, share)


def bare_server(core: int, connections: int, seconds: float) -> Rates:
    """Measure a server that does nothing but answer."""
    command = ["taskset", "-c", str(core), sys.executable, "-c", ECHO]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        return measure(server.pid, port, request_json(), connections, seconds)
    finally:
        server.kill()
        server.communicate()


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def show(kind: str, connections: int, found: Rates, raw_cpu: float) -> None:
    print(
        f"{kind:<8} {connections:>3} connections {found.per_s:8.0f}/s   "
        f"{found.per_cpu_s:9.0f} per CPU second   {found.per_cpu_s / raw_cpu:.3f}   "
        f"p99 {found.p99_s * 1000:6.2f} ms   had {found.share:4.0%} of its core"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, nargs="+", default=[8, 32])
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    server_core, client_core = cores[0], cores[-1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = folder / "digits.onnx"
        digits_mlp(model)
        os.sched_setaffinity(0, {server_core})
        raw, raw_cpu = raw_loop(model, options.seconds)
        os.sched_setaffinity(0, {client_core})
        print(f"raw session.run loop   {raw:9.0f}/s   {raw_cpu:9.0f} per CPU second   1.000")
        server, port, cold_s = start_server(model, folder, server_core)
        try:
            print(f"cold start             {cold_s:9.3f} s to the first answer")
            print(f"memory                 {rss_mb(server.pid):9.1f} MB RSS after one answer")
            for connections in options.connections:
                bare = bare_server(server_core, connections, options.seconds)
                show("bare", connections, bare, raw_cpu)
                for kind, request in (("JSON", request_json()), ("binary", request_binary())):
                    found = measure(server.pid, port, request, connections, options.seconds)
                    show(kind, connections, found, raw_cpu)
            print(f"memory                 {rss_mb(server.pid):9.1f} MB RSS at the end")
        finally:
            server.terminate()
            server.wait(timeout=15)


if __name__ == "__main__":
    main()
