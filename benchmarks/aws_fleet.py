"""What a deploy to 1,000 things asks of the account, beside the request rates that AWS documents.

An emulated account, whose request rates are AWS's, gets a crowd of pretended core devices; then
one `edgectl deploy` gives them a release in three waves, and a second one finds nothing to do.
The account counts the calls, those of the devices for S3 too; what it throttled is told apart.
Ratio: the most calls within any second over the limit, which is not to go above 1. AWS documents
one rate for all of greengrassv2, and one for each operation of iot.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

THINGS = 1000
EDGECTL = [sys.executable, "-m", "edgectl.cli.main"]
READS = ("Get", "List", "Describe", "Head", "Search")
TRAIN = """\
import os, pathlib
import numpy as np
from onnx import TensorProto, helper, numpy_helper
weights = numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")
value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4])
node = helper.make_node("MatMul", ["x", "w"], ["y"])
graph = helper.make_graph([node], "tiny", [value("x")], [value("y")], [weights])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
pathlib.Path(os.environ["EDGECTL_OUTPUT_MODEL"]).write_bytes(model.SerializeToString())
"""
PROJECT = """\
apiVersion: edgectl/v1
name: tiny
version: "1"
train: {command: [python, train.py], outputs: {model: out/model.onnx}}
model: {path: out/model.onnx}
device: {soak: 0s}
targets:
  all: {provider: aws, hardware: x86-64-cpu, selector: {thing_group: tiny-fleet}}
rollout: {waves: [1, 10%, 100%], soak: 0s}
providers:
  aws: {region: us-east-1, bucket: tiny-models}
"""


class Cost(NamedTuple):
    """What one command took."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    said: str


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--things", type=int, default=THINGS)
    things = parser.parse_args().things
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "train.py").write_text(TRAIN)
        (folder / "edgectl.yaml").write_text(PROJECT)
        foreign = ("EDGECTL_", "AWS_", "PYTHONDONTWRITEBYTECODE")
        env = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        info, log = folder / "info.json", folder / "emulator.log"
        command = [*EDGECTL, "emulate", "aws", "--info", str(info), "--stop-on-eof"]
        command += ["--devices", "0", "--crowd", str(things), "all"]
        start = time.perf_counter()
        with log.open("wb") as out:
            emulator = subprocess.Popen(
                command, cwd=folder, env=env, stdin=subprocess.PIPE, stdout=out, stderr=out
            )
        try:
            while not info.exists():
                if emulator.poll() is not None:
                    raise SystemExit(log.read_text())
                time.sleep(0.1)
            print(f"{things} things are up after {time.perf_counter() - start:.0f} s")
            found = json.loads(info.read_text())
            measure(folder, env | found["env"], found["control"])
        finally:
            emulator.terminate()
            emulator.wait()


def measure(folder: Path, env: dict[str, str], control: str) -> None:
    """Deploy twice, and show what the account counted each time."""
    for step in (("train", "--provider", "selfhosted"), ("register",), ("package",)):
        run(folder, env, *step)
    ask(control, "calls", "DELETE")
    cost = run(folder, env, "deploy")
    counted, limits = ask(control, "calls"), ask(control, "rates")
    show("first deploy", cost, counted)
    print(f"  {'most calls within a second':42}{'calls':>8}{'peak':>6}{'limit':>7}{'ratio':>7}")
    for name in ordered(counted["peak_per_second"], limits):
        limit, peak = limits.get(name), counted["peak_per_second"][name]
        calls = sum(n for key, n in counted["total"].items() if f"{key}.".startswith(f"{name}."))
        beside = f"{limit:7.0f}{peak / limit:7.2f}" if limit else f"{'-':>7}{'-':>7}"
        print(f"  {name:42}{calls:8}{peak:6}{beside}")
    ask(control, "calls", "DELETE")
    show("second deploy", run(folder, env, "deploy"), ask(control, "calls"))


def ordered(peaks: dict[str, int], limits: dict[str, float]) -> list[str]:
    """Return services, then the operations that have a limit, the nearest to it first."""
    operations = [name for name in peaks if "." in name and name in limits]
    nearest = sorted(operations, key=lambda name: (-peaks[name] / limits[name], name))
    return [*sorted(name for name in peaks if "." not in name), *nearest]


def show(title: str, cost: Cost, counted: dict[str, Any]) -> None:
    """Print what a deploy cost, here and in the account."""
    total = counted["total"]
    writes = sum(n for name, n in total.items() if not name.split(".")[1].startswith(READS))
    throttled = sum(counted["throttled"].values())
    print(f"{title}: {cost.said}")
    print(
        f"  {cost.wall_s:.1f} s, {cost.cpu_s:.1f} s of CPU, {cost.peak_mb:.0f} MB at most; "
        f"{sum(total.values())} calls, {writes} of them writing, {throttled} throttled"
    )


def run(folder: Path, env: dict[str, str], *arguments: str) -> Cost:
    """Run a command and measure it alone; end with its words if it fails."""
    start = time.perf_counter()
    with (folder / "said").open("w+") as said:
        process = subprocess.Popen(
            [*EDGECTL, *arguments], cwd=folder, env=env, stdout=said, stderr=subprocess.STDOUT
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        words = said.read()
    wall_s = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"{arguments}: {words}")
    return Cost(wall_s, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, words.split("\n")[-2])


def ask(control: str, route: str, method: str = "GET") -> Any:
    """Call the emulator's own interface."""
    with urllib.request.urlopen(urllib.request.Request(f"{control}/{route}", method=method)) as got:
        return json.load(got)


if __name__ == "__main__":
    main()
