"""Deltas between model versions: size, time and memory, beside bsdiff4 and zstd in the same run.

Four changes of a model of random weights: one weight in a hundred, the last of eight layers, all
weights a little (as fine-tuning does), and int8 weights quantized again after that. Sizes are
shares of the new file packed by zstd -19. Times are wall clock and, in brackets, of the processor,
which is what to compare on a machine that has other work; memory is the most that was held.
``--tools`` chooses: bsdiff4 takes many minutes at 100 MB, ``zstd --patch-from`` needs the program.

    python benchmarks/delta.py [--megabytes 16] [--tools edgectl,zstd,bsdiff4]
"""

from __future__ import annotations

import argparse
import shutil
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
ZSTD = """
import subprocess, sys
command = ["zstd", "-q", "-f", "-19", "--long=27", "--patch-from", sys.argv[1], sys.argv[2]]
subprocess.run([*command, "-o", sys.argv[3]], check=True, stderr=subprocess.DEVNULL)
"""
UNZSTD = """
import subprocess, sys
command = ["zstd", "-q", "-f", "-d", "--long=27", "--patch-from", sys.argv[1], sys.argv[3]]
subprocess.run([*command, "-o", sys.argv[2] + ".made"], check=True)
"""
TOOLS = {"edgectl": (MAKE, APPLY), "zstd": (ZSTD, UNZSTD), "bsdiff4": (BSDIFF, BSPATCH)}
NOTHING = "import numpy"
PEAK = r"""
import os, re, resource
held = int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1])
held = max(held, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
print(held, sum(os.times()[:4]))
"""
Weights = list[np.ndarray[Any, Any]]


class Cost(NamedTuple):
    """What a program took."""

    seconds: float
    processor: float
    mib: float

    def __str__(self) -> str:
        return f"{self.seconds:6.2f} s ({self.processor:6.2f}), {self.mib:4.0f} MiB"


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
    held, processor = done.stdout.split()
    return Cost(time.perf_counter() - before, float(processor), int(held) / 1024)


def measure(folder: Path, tool: str, packed: int) -> str:
    """Make and apply a delta with one tool; return the line about it."""
    old, new, delta = (folder / part for part in ("old", "new", "delta"))
    make, apply = TOOLS[tool]
    made = run(make, old, new, delta)
    applied = run(apply, old, new, delta)
    if Path(f"{new}.made").read_bytes() != new.read_bytes():
        raise SystemExit(f"{tool} made another file")
    share = delta.stat().st_size / packed
    return f"{tool:8} {share:7.4f}   made in {made}   applied in {applied}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=16)
    parser.add_argument("--tools", default="edgectl,zstd,bsdiff4")
    options = parser.parse_args()
    tools = [name for name in options.tools.split(",") if name != "zstd" or shutil.which("zstd")]
    print(f"{options.megabytes} MB, sizes as shares of the new file by zstd -19")
    print(f"a program that only imports numpy: {run(NOTHING)}", flush=True)
    with tempfile.TemporaryDirectory(prefix="delta-") as name:
        folder = Path(name)
        for case, (before, after) in cases(options.megabytes).items():
            write_model(folder / "old", before)
            write_model(folder / "new", after)
            packer = zstandard.ZstdCompressor(level=19)
            packed = len(packer.compress((folder / "new").read_bytes()))
            for tool in tools:
                print(f"{case:22} {measure(folder, tool, packed)}", flush=True)


if __name__ == "__main__":
    main()
