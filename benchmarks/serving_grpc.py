"""Throughput of ``edge-runtime`` over gRPC with a tiny model, against a bare grpc.aio server.

The bare server decodes the message, runs the model and encodes the answer, and does nothing else:
no checks, no limits, no metrics, no telemetry. Both take turns on the same core in the same run.

    python benchmarks/serving_grpc.py [--seconds 1.5] [--rounds 7] [--calls 8]
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))  # make bench runs Python with -P
from _grpc_load import bare_grpc, infer_message, measure_grpc
from _serving import CLIENT_CORE, INPUTS, Server, digits_mlp, json_request


def run(options: Any, folder: Path) -> None:
    model = folder / "digits.onnx"
    digits_mlp(model)
    values = np.random.default_rng(1).random((1, INPUTS), dtype=np.float32)
    message = infer_message("pixels", values)
    turn = functools.partial(
        measure_grpc, message=message, calls=options.calls, seconds=options.seconds
    )
    ratios, cpu_ratios = [], []
    with (
        Server(model, folder, json_request("pixels", values), "--grpc-port", "0") as server,
        bare_grpc(model, folder) as (bare_pid, bare_port),
    ):
        for _ in range(options.rounds):
            bare = turn(bare_pid, bare_port)
            ours = turn(server.pid, server.line["grpc_port"])
            again = turn(bare_pid, bare_port)
            ratios.append(2 * ours.per_s / (bare.per_s + again.per_s))
            cpu_ratios.append(2 * ours.per_cpu_s / (bare.per_cpu_s + again.per_cpu_s))
        print(
            f"bare grpc.aio {bare.per_s:8.0f}/s   {bare.per_cpu_s:8.0f} per CPU second   "
            f"p99 {bare.p99_s * 1000:.2f} ms   had {bare.share:.0%} (last round)"
        )
        print(
            f"edge-runtime  {ours.per_s:8.0f}/s   {ours.per_cpu_s:8.0f} per CPU second   "
            f"p99 {ours.p99_s * 1000:.2f} ms   had {ours.share:.0%} (last round)"
        )
        print(
            f"of the bare server: {statistics.median(ratios):.3f} of its throughput, "
            f"{statistics.median(cpu_ratios):.3f} per CPU second (medians)"
        )
        print(f"memory {server.rss_mb():.1f} MB RSS with gRPC")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=8)
    options = parser.parse_args()
    os.sched_setaffinity(0, {CLIENT_CORE})
    with tempfile.TemporaryDirectory() as name:
        run(options, Path(name))


if __name__ == "__main__":
    main()
