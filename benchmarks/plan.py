"""``edgectl plan`` on fleets of the in-memory provider: time and memory of the whole process.

Limits: below 5 s and 300 MiB at 10,000 devices, and growing linearly to 100,000.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZES = (1_000, 10_000, 100_000)
LIMIT_S, LIMIT_MIB = 5.0, 300.0
TRAIN = """\
import os, pathlib
from onnx import TensorProto, helper
graph = helper.make_graph(
    [helper.make_node("Relu", ["x"], ["y"])], "tiny",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
pathlib.Path(os.environ["EDGECTL_OUTPUT_MODEL"]).write_bytes(model.SerializeToString())
"""
PROJECT = """\
apiVersion: edgectl/v1
name: tiny
version: "1"
train: {{command: [python, train.py], outputs: {{model: out/model.onnx}}}}
model: {{path: out/model.onnx}}
targets: {{all: {{provider: memory}}}}
rollout: {{waves: [1, 10%, 100%]}}
providers: {{memory: {{devices: {devices}}}}}
"""


def edgectl(folder: Path, *arguments: str) -> tuple[float, float]:
    """Run a command; returns seconds and the process's peak memory in MiB."""
    command = [sys.executable, "-m", "edgectl.cli.main", *arguments]
    start = time.perf_counter()
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(arguments)} exited with {process.returncode}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "train.py").write_text(TRAIN)
        found: dict[int, tuple[float, float]] = {}
        for size in SIZES:
            (folder / "edgectl.yaml").write_text(PROJECT.format(devices=size))
            if size == SIZES[0]:
                for step in ("train", "register", "package"):
                    edgectl(folder, step)
            found[size] = edgectl(folder, "-o", "json", "plan")
            print(f"{size:7} devices  {found[size][0]:6.2f} s  {found[size][1]:6.0f} MiB")
    seconds, mib = found[10_000]
    print(f"at 10,000: {seconds / LIMIT_S:.2f} of {LIMIT_S} s, {mib / LIMIT_MIB:.2f} of the memory")
    growth = (found[100_000][0] - found[1_000][0]) / (found[10_000][0] - found[1_000][0]) / 11
    print(f"time from 10,000 to 100,000 grows {growth:.2f} times as fast as the fleet")


if __name__ == "__main__":
    main()
