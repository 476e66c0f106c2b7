"""Throughput, latency, start and memory of ``edge-runtime`` with a tiny model, over REST.

A bare uvloop server that answers fixed bytes without reading the request shows what sockets cost
on this machine: no server in Python can be faster. Ratios to the raw ``session.run`` loop are what
matters: machines differ, the run is the same. On a busy machine the server gets only a part of its
core; "per CPU second" counts the time that it really had, in user space and in the kernel.

The client polls, so that the server is not charged for waking it (see ``_serving``); ``--sleepy``
lets it sleep, as it would on a device whose clients are other programs of the same machine.

    python benchmarks/serving.py [--seconds 1] [--rounds 7] [--connections 8 32] [--sleepy]
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))  # make bench runs Python with -P
from _serving import (
    CLIENT_CORE,
    INPUTS,
    RawLoop,
    Server,
    alternate,
    binary_request,
    digits_mlp,
    json_request,
    measure,
    pinned,
    show,
    show_raw,
)

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


@contextlib.contextmanager
def bare_server() -> Iterator[tuple[int, int]]:
    """Run a server that does nothing but answer; give its process id and port."""
    with pinned("-c", ECHO) as found:
        yield found


def cold_starts(model: Path, folder: Path, request: bytes, times: int = 5) -> list[float]:
    found = []
    for _ in range(times + 1):
        with Server(model, folder, request) as server:
            found.append(server.cold_s)
    return sorted(found[1:])  # the first compiles all modules


def run(options: Any, folder: Path) -> None:
    model = folder / "digits.onnx"
    digits_mlp(model)
    picture = np.random.default_rng(1).random((1, INPUTS), dtype=np.float32)
    kinds = {"JSON": json_request("pixels", picture), "binary": binary_request("pixels", picture)}
    starts = cold_starts(model, folder, kinds["JSON"])
    median = statistics.median(starts)
    print(f"cold start {median:.3f} s to the first answer (median; best {starts[0]:.3f})")
    raw = RawLoop(model, {"pixels": picture})
    with Server(model, folder, kinds["JSON"]) as server, bare_server() as (bare_pid, bare_port):
        print(f"memory     {server.rss_mb():.1f} MB RSS after one answer")
        subjects = {}
        turn = functools.partial(measure, seconds=options.seconds, polls=not options.sleepy)
        for count in options.connections:
            for kind, request in kinds.items():
                name = f"{kind}, {count} connections"
                subjects[name] = functools.partial(turn, server.pid, server.port, request, count)
            bare = functools.partial(turn, bare_pid, bare_port, kinds["JSON"], count)
            subjects[f"bare, {count} connections"] = bare
        loop, found = alternate(lambda: raw.turn(options.seconds / 2), subjects, options.rounds)
        show_raw(loop)
        for name, against in found.items():
            show(name, against)
        print(f"memory     {server.rss_mb():.1f} MB RSS at the end")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--connections", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--sleepy", action="store_true")
    options = parser.parse_args()
    os.sched_setaffinity(0, {CLIENT_CORE})
    with tempfile.TemporaryDirectory() as name:
        run(options, Path(name))


if __name__ == "__main__":
    main()
