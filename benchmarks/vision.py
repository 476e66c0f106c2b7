"""A picture net (SqueezeNet's size, 600 KB of input) over REST and gRPC, on one core and on two.

On one core the ratio is to a raw ``session.run`` loop that has the picture already; the server gets
it through a socket. Raw loop and server take turns on the same core in the same run. "JSON loop" is
the raw loop when it has to decode the request and encode the answer with orjson: what JSON costs
anybody. "Bare sockets" and "bare grpc.aio" decode, run and encode and do nothing else: what
a socket and gRPC cost anybody in Python. On two cores the ratio is to the same server on one.

    python benchmarks/vision.py [--seconds 2] [--rounds 5] [--connections 4]
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson

sys.path.insert(0, str(Path(__file__).parent))  # make bench runs Python with -P
from _grpc_load import bare_grpc, infer_message, measure_grpc
from _serving import (
    CLIENT_CORE,
    CORES,
    PICTURE,
    SERVER_CORE,
    Rates,
    RawLoop,
    Server,
    alternate,
    binary_request,
    json_body,
    json_request,
    measure,
    on_core,
    pinned,
    show,
    show_raw,
    vision_net,
)

BARE_HTTP = str(Path(__file__).parent / "_bare_http.py")


def json_loop(raw: RawLoop, body: bytes, seconds: float) -> Rates:
    """Decode, run and encode without any server."""
    with on_core(SERVER_CORE):
        count, start, cpu = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - start < seconds:
            (tensor,) = orjson.loads(body)["inputs"]
            given = np.array(tensor["data"], np.float32).reshape(tensor["shape"])
            (scores,) = raw.run({tensor["name"]: given})
            orjson.dumps({"outputs": [{"data": scores}]}, option=orjson.OPT_SERIALIZE_NUMPY)
            count += 1
        passed, used = time.perf_counter() - start, time.process_time() - cpu
    return Rates(count / passed, count / used)


def one_core(options: Any, model: Path, folder: Path, picture: np.ndarray[Any, Any]) -> None:
    raw = RawLoop(model, {"data": picture})
    kinds = {"JSON": json_request("data", picture), "binary": binary_request("data", picture)}
    message = infer_message("data", picture)
    body = json_body("data", picture)
    with (
        Server(model, folder, kinds["binary"], "--grpc-port", "0") as server,
        pinned(BARE_HTTP, str(model)) as bare_sockets,
        bare_grpc(model, folder) as bare,
    ):
        pid, seconds, count = server.pid, options.seconds, options.connections
        turns = {
            **{f"{kind} REST": (pid, server.port, request) for kind, request in kinds.items()},
            "bare sockets": (*bare_sockets, kinds["binary"]),
        }
        subjects: dict[str, Callable[[], Rates]] = {
            name: functools.partial(measure, *turn, count, seconds, polls=False)
            for name, turn in turns.items()
        }
        for name, where in {"gRPC": (pid, server.line["grpc_port"]), "bare grpc.aio": bare}.items():
            subjects[name] = functools.partial(measure_grpc, *where, message, count, seconds)
        subjects["JSON loop"] = functools.partial(json_loop, raw, body, seconds / 2)
        loop, found = alternate(lambda: raw.turn(seconds / 2), subjects, options.rounds)
        print(f"one core, {count} connections")
        show_raw(loop)
        for name, against in found.items():
            show(name, against)
        print(f"memory {server.rss_mb():.1f} MB RSS")


def two_cores(options: Any, model: Path, folder: Path, picture: np.ndarray[Any, Any]) -> None:
    """Compare servers that have one core and two; the client has what it needs of both."""
    request = binary_request("data", picture)
    both = f"{CORES[0]},{CORES[1]}"
    setups = {
        "one core": (str(SERVER_CORE), ()),
        "two, one request on both": (both, ()),
        "two, a request on each": (both, ("--threads", "1")),
    }
    os.sched_setaffinity(0, set(CORES))
    rates: dict[str, list[Rates]] = {name: [] for name in setups}
    with contextlib.ExitStack() as stack:
        servers = {
            name: stack.enter_context(Server(model, folder, request, *extra, cores=cores))
            for name, (cores, extra) in setups.items()
        }
        for _ in range(options.rounds):
            for name, server in servers.items():
                found = measure(
                    server.pid,
                    server.port,
                    request,
                    options.connections,
                    options.seconds,
                    polls=False,
                )
                rates[name].append(found)
    print(f"binary REST, {options.connections} connections, client on the same cores")
    for name, found_rates in rates.items():
        ratio = statistics.median(
            here.per_s / one.per_s for here, one in zip(found_rates, rates["one core"], strict=True)
        )
        middle = statistics.median(found.per_s for found in found_rates)
        p50 = statistics.median(found.p50_s for found in found_rates)
        cpu = statistics.median(found.share / found.per_s for found in found_rates)
        print(
            f"{name:<26} {middle:7.1f}/s   {ratio:.2f} times one core's   "
            f"p50 {p50 * 1000:.1f} ms   {cpu * 1000:.2f} ms of CPU a request"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=4)
    options = parser.parse_args()
    os.sched_setaffinity(0, {CLIENT_CORE})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = folder / "vision.onnx"
        vision_net(model)
        picture = np.random.default_rng(1).random(PICTURE, dtype=np.float32)
        one_core(options, model, folder, picture)
        if len(CORES) > 1:
            two_cores(options, model, folder, picture)


if __name__ == "__main__":
    main()
