"""What the benchmarks of cloud providers share: a tiny project, an emulator, and its counts."""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

EDGECTL = [sys.executable, "-m", "edgectl.cli.main"]
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
FOREIGN = ("EDGECTL_", "AWS_", "AZURE_", "IOTHUB_", "PYTHONDONTWRITEBYTECODE")


class Cost(NamedTuple):
    """What one command took, and its words."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    words: str

    @property
    def said(self) -> str:
        """Its last line."""
        return (self.words.splitlines() or [""])[-1]


class Cloud(NamedTuple):
    """A running emulator and the project that it is for.

    Attributes:
        env: What commands need to reach it.
        control: Address of its own interface.
        trust: PEM file of its authority, or "".
    """

    folder: Path
    env: dict[str, str]
    control: str
    trust: str

    def ask(self, route: str, method: str = "GET") -> Any:
        """Call the emulator's own interface."""
        context = ssl.create_default_context(cafile=self.trust) if self.trust else None
        request = urllib.request.Request(f"{self.control}/{route}", method=method)
        with urllib.request.urlopen(request, context=context) as answer:
            found = answer.read()
        return json.loads(found) if found else None

    def count(self, work: Callable[[], object]) -> dict[str, int]:
        """Return how often each operation was called meanwhile."""
        self.ask("calls", "DELETE")
        work()
        found: dict[str, int] = self.ask("calls")["total"]
        return found

    def run(self, *command: str) -> Cost:
        """Run a command and measure it alone; end with its words if it fails."""
        start = time.perf_counter()
        with (self.folder / "said").open("w+") as said:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self.env, stdout=said, stderr=subprocess.STDOUT
            )
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            said.seek(0)
            words = said.read()
        wall_s = time.perf_counter() - start
        if process.returncode:
            raise SystemExit(f"{command}: {words}")
        return Cost(wall_s, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, words)

    def medians(self, commands: dict[str, list[str]], runs: int) -> dict[str, float]:
        """Run commands in turns, print and return the median of each one's wall time in seconds.

        The first turn is left out.
        """
        times: dict[str, list[float]] = {name: [] for name in commands}
        for turn in range(runs + 1):
            for name, command in commands.items():
                wall_s = self.run(*command).wall_s
                if turn:
                    times[name].append(wall_s)
        found = {name: statistics.median(values) for name, values in times.items()}
        for name, seconds in found.items():
            print(f"{name:18} {seconds * 1000:8.1f} ms (median of {runs})")
        return found

    def edgectl(self, *arguments: str) -> Cost:
        """Run edgectl."""
        return self.run(*EDGECTL, *arguments)

    def build(self, registry: str = "selfhosted") -> None:
        """Train here, register at a provider, and package."""
        self.edgectl("train", "--provider", "selfhosted")
        self.edgectl("register", "--provider", registry)
        self.edgectl("package")


@contextlib.contextmanager
def emulated(provider: str, project: str, folder: Path, *more: str) -> Iterator[Cloud]:
    """Write a project and start its emulator.

    Args:
        provider: Whose emulator.
        project: The project file.
        folder: Takes both.
        more: Further arguments of ``edgectl emulate``.
    """
    (folder / "train.py").write_text(TRAIN)
    (folder / "edgectl.yaml").write_text(project)
    env = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)}
    info, log = folder / "info.json", folder / "emulator.log"
    command = [*EDGECTL, "emulate", provider, "--info", str(info), "--stop-on-eof", *more]
    with log.open("wb") as out:
        emulator = subprocess.Popen(
            command, cwd=folder, env=env, stdin=subprocess.PIPE, stdout=out, stderr=out
        )
    try:
        while not info.exists():
            if emulator.poll() is not None:
                raise SystemExit(log.read_text())
            time.sleep(0.1)
        found = json.loads(info.read_text())
        control = found.get("control") or f"{found.get('url', '')}/emulator"
        trust = "" if control.startswith("http://") else str(found.get("ca_file", ""))
        yield Cloud(folder, env | found["env"], control, trust)
    finally:
        emulator.terminate()
        emulator.wait()
