"""Deltas between model versions: size, time and memory, beside bsdiff4 and zstd in the same run.

Four changes of a model of random weights: one weight in a hundred, the last of eight layers, all
weights a little (as fine-tuning does), and int8 weights quantized again after that. Sizes are
shares of the new file packed by zstd -19; ``--no-bsdiff`` leaves out bsdiff4, which takes minutes.

    python benchmarks/delta.py [--megabytes 16] [--no-bsdiff]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zstandard
from onnx import TensorProto, helper, numpy_helper

SCALES = (0.02, 0.05, 0.03, 0.1, 0.02, 0.04, 0.01, 0.08)
MAKE = """
import sys
from pathlib import Path
from edgectl.delta.make import make_delta
with open(sys.argv[3], "wb") as out:
    make_delta(Path(sys.argv[1]), Path(sys.argv[2]), out)
"""
APPLY = """
import sys
from edge_components.delta.apply import main
assert main([sys.argv[1], sys.argv[3], sys.argv[2] + ".made"]) == 0
"""
BSDIFF = """
import sys, bsdiff4
bsdiff4.file_diff(sys.argv[1], sys.argv[2], sys.argv[3])
"""
BSPATCH = """
import sys, bsdiff4
bsdiff4.file_patch(sys.argv[1], sys.argv[2] + ".made", sys.argv[3])
"""
NOTHING = "import numpy"
PEAK = r"""
import re
print(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1])
"""
Weights = list[np.ndarray[Any, Any]]


class Cost(NamedTuple):
    """What a program took."""

    seconds: float
    mib: float


def weights(megabytes: int) -> Weights:
    rng = np.random.default_rng(1)
    count = megabytes * (1 << 20) // 4 // len(SCALES)
    return [(rng.standard_normal(count) * scale).astype(np.float32) for scale in SCALES]


def little(array: np.ndarray[Any, Any], rng: np.random.Generator) -> np.ndarray[Any, Any]:
    return (array + rng.standard_normal(array.shape) * 1e-3 * np.abs(array).mean()).astype(
        np.float32
    )


def one_percent(array: np.ndarray[Any, Any], rng: np.random.Generator) -> np.ndarray[Any, Any]:
    found = array.copy()
    chosen = rng.random(array.shape) < 0.01
    found[chosen] += rng.standard_normal(int(chosen.sum())).astype(np.float32) * np.float32(0.01)
    return found


def quantized(array: np.ndarray[Any, Any], like: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.clip(np.round(array / (np.abs(like).max() / 127)), -127, 127).astype(np.int8)


def cases(megabytes: int) -> dict[str, tuple[Weights, Weights]]:
    old = weights(megabytes)
    rng = np.random.default_rng(2)
    moved = [little(array, rng) for array in old]
    many = [array for array in old for _ in range(4)]  # int8 takes a quarter of the room
    again = [little(array, rng) for array in many]
    return {
        "1% of the weights": (old, [one_percent(array, rng) for array in old]),
        "last layer": (old, [*old[:-1], moved[-1]]),
        "all weights a little": (old, moved),
        "int8 requantized": (
            [quantized(array, array) for array in many],
            [quantized(array, like) for array, like in zip(again, many, strict=True)],
        ),
    }


def write_model(path: Path, arrays: Weights) -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    tensors = [numpy_helper.from_array(array, f"w{n}") for n, array in enumerate(arrays)]
    node = helper.make_node("Identity", ["x"], ["y"])
    graph = helper.make_graph([node], "g", [value], [answer], tensors)
    path.write_bytes(helper.make_model(graph).SerializeToString())


def run(code: str, *files: Path) -> Cost:
    """Run a program of its own; its time, and the most memory that it held."""
    before = time.perf_counter()
    command = [sys.executable, "-c", code + PEAK, *map(str, files)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Cost(time.perf_counter() - before, int(done.stdout) / 1024)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=16)
    parser.add_argument("--no-bsdiff", action="store_true")
    options = parser.parse_args()
    idle = run(NOTHING)
    print(f"{options.megabytes} MB, sizes as shares of the new file by zstd -19")
    print(f"a program that only imports numpy: {idle.seconds:.2f} s, {idle.mib:.0f} MiB")
    with tempfile.TemporaryDirectory(prefix="delta-") as name:
        old, new, delta = (Path(name) / part for part in ("old", "new", "delta"))
        for case, (before, after) in cases(options.megabytes).items():
            write_model(old, before)
            write_model(new, after)
            packed = len(zstandard.ZstdCompressor(level=19).compress(new.read_bytes()))
            tools = {"edgectl": (MAKE, APPLY)}
            if not options.no_bsdiff:
                tools["bsdiff4"] = (BSDIFF, BSPATCH)
            for tool, (make, apply) in tools.items():
                made = run(make, old, new, delta)
                applied = run(apply, old, new, delta)
                if Path(f"{new}.made").read_bytes() != new.read_bytes():
                    raise SystemExit(f"{tool} made another file")
                print(
                    f"{case:22} {tool:8} {delta.stat().st_size / packed:7.4f}   "
                    f"made in {made.seconds:6.1f} s, {made.mib:5.0f} MiB   "
                    f"applied in {applied.seconds:5.2f} s, {applied.mib:4.0f} MiB"
                )


if __name__ == "__main__":
    main()
