"""Latencies while the model is replaced, against the usual ones, and failures, which must be none.

Clients keep their connections busy while the server loads the model again and again from its
folder and lets the new one answer. A request belongs to a switch if any part of it lies between
the order to load and its answer. Everything that can be measured of a switch is on the server's
one core: reading the file, building the session, warming up, and the requests meanwhile.

    python benchmarks/switching.py [--switches 20] [--connections 8]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

sys.path.insert(0, str(Path(__file__).parent))  # make bench runs Python with -P
from _serving import (
    CLIENT_CORE,
    INPUTS,
    PICTURE,
    Client,
    Server,
    binary_request,
    digits_mlp,
    json_request,
    polling,
    vision_net,
)

_LOAD = b"POST /v2/repository/models/m/load HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"
_BETWEEN_S = 0.3


class Timed(Client):
    """Notes when each request began and how long it took."""

    def __init__(self, request: bytes, taken: list[tuple[float, float]]) -> None:
        super().__init__(request, [])
        self.taken = taken

    def data_received(self, data: bytes) -> None:
        """Take the answer, and note the request."""
        began, before = self.began, len(self.latencies)
        super().data_received(data)
        if len(self.latencies) > before:
            self.taken.append((began, self.latencies[-1]))


async def switch_under_load(
    port: int, request: bytes, options: Any
) -> tuple[list[tuple[float, float]], list[tuple[float, float]], list[bytes]]:
    """Return when requests began and how long they took, the switches, and what failed."""
    loop = asyncio.get_running_loop()
    taken: list[tuple[float, float]] = []
    clients = []
    for _ in range(options.connections):
        _, client = await loop.create_connection(lambda: Timed(request, taken), "127.0.0.1", port)
        clients.append(client)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    switches = []
    with polling(loop):
        await asyncio.sleep(_BETWEEN_S)
        taken.clear()
        for _ in range(options.switches):
            await asyncio.sleep(_BETWEEN_S)
            start = time.perf_counter()
            writer.write(_LOAD)
            answer = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(2)
            if not answer.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"the switch failed: {answer!r}")
            switches.append((start, time.perf_counter()))
    for client in clients:
        client.running = False
    await asyncio.sleep(0.1)
    writer.close()
    for client in clients:
        assert client.transport is not None
        client.transport.close()
    return taken, switches, [text for client in clients for text in client.failed]


def run(name: str, build: Callable[[Path], None], request: bytes, options: Any) -> None:
    with tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        models = folder / "models"
        models.mkdir()
        build(models / "m.onnx")
        arguments = ("--models", str(models), "--load", "m")
        with (
            Server(None, folder, request, *arguments) as server,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            found = runner.run(switch_under_load(server.port, request, options))
    taken, switches, failed = found
    usual, during = [], []
    for began, took in taken:
        touches = any(began < end and began + took > start for start, end in switches)
        (during if touches else usual).append(took)
    p99, p99_during = (float(np.percentile(part, 99)) * 1000 for part in (usual, during))
    length = float(np.median([end - start for start, end in switches])) * 1000
    print(
        f"{name}: {len(switches)} switches of {length:.0f} ms, {len(failed)} failed of "
        f"{len(taken)} requests ({len(during)} during a switch)   p99 {p99:.2f} ms usually, "
        f"{p99_during:.2f} ms during a switch: {p99_during / p99:.2f} times"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--switches", type=int, default=20)
    parser.add_argument("--connections", type=int, default=8)
    options = parser.parse_args()
    os.sched_setaffinity(0, {CLIENT_CORE})
    rng = np.random.default_rng(1)
    tiny = json_request("pixels", rng.random((1, INPUTS), dtype=np.float32))
    picture = binary_request("data", rng.random(PICTURE, dtype=np.float32))
    run("tiny model, JSON", digits_mlp, tiny, options)
    run("picture net, binary", vision_net, picture, options)


if __name__ == "__main__":
    main()
