"""The command line as users call it: a process of its own, in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_components.contract.telemetry import TelemetryRecord
from edgectl.testing.memory_store import FleetStore

TRAIN = """\
import json, os, pathlib
import numpy as np
from onnx import TensorProto, helper, numpy_helper

scale = float(pathlib.Path("scale.txt").read_text())
weights = numpy_helper.from_array(np.eye(4, dtype=np.float32) * scale, "w")
graph = helper.make_graph(
    [helper.make_node("MatMul", ["x", "w"], ["y"])],
    "tiny",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
    [weights],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
path = pathlib.Path(os.environ["EDGECTL_OUTPUT_MODEL"])
path.write_bytes(model.SerializeToString())
pathlib.Path(os.environ["EDGECTL_OUTPUT_METRICS"]).write_text(json.dumps({"accuracy": scale}))
print("trained")
"""

PROJECT = """\
apiVersion: edgectl/v1
name: tiny
version: "{version}"
train:
  command: [python, train.py]
  outputs: {{model: out/model.onnx, metrics: out/metrics.json}}
model:
  path: out/model.onnx
  gates: {{accuracy: ">= 0.5"}}
targets:
  all: {{provider: memory}}
rollout: {rollout}
providers:
  memory: {memory}
"""


class Running:
    """A command that runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid = process.pid

    def wait_for(self, what: str) -> None:
        """Wait until it says ``what`` on stderr."""
        assert self.process.stderr is not None
        said = []
        for line in self.process.stderr:
            said.append(line)
            if what in line:
                return
        raise AssertionError(f"it ended before it said '{what}': {said}")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> tuple[int, str]:
        """Wait for its end; exit code and the rest of stderr."""
        _, rest = self.process.communicate(timeout=60)
        return self.process.returncode, rest


class Site:
    """A project on the memory provider, and the command line in its folder."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.cache = cache
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("EDGECTL_")}
        (folder / "train.py").write_text(TRAIN)

    def write(
        self,
        version: str = "1",
        scale: float = 1.0,
        memory: str = "{devices: 6}",
        rollout: str = "{waves: [1, 50%, 100%], soak: 0s}",
    ) -> None:
        text = PROJECT.format(version=version, memory=memory, rollout=rollout)
        (self.folder / "edgectl.yaml").write_text(text)
        (self.folder / "scale.txt").write_text(str(scale))

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "edgectl.cli.main", *arguments]

    def run(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done

    def built(self, version: str, scale: float) -> Path:
        """Return the ``.edgectl`` folder of a project that has built this version."""
        project = self.cache / f"{version}-{scale}"
        if not project.exists():
            project.mkdir()
            other = Site(project, self.cache)
            other.write(version=version, scale=scale)
            for step in ("train", "register", "package"):
                other.run(step)
        return project / ".edgectl"

    @contextlib.contextmanager
    def start(self, *arguments: str) -> Iterator[Running]:
        """Run a command in the background; it is killed at the end of the block."""
        with subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=self.env,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        ) as process:
            try:
                yield Running(process)
            finally:
                process.kill()

    def build(self, version: str = "1", scale: float = 1.0, **options: str) -> None:
        """Train, register and package; the first build of a version is taken from the cache."""
        self.write(version=version, scale=scale, **options)
        if not (self.folder / ".edgectl").exists():
            shutil.copytree(self.built(version, scale), self.folder / ".edgectl")
            return
        for step in ("train", "register", "package"):
            self.run(step)


@pytest.fixture
def tell() -> Callable[..., None]:
    """Let devices of the memory provider say something, as if it had come up by itself."""

    def tell(site: Site, *records: TelemetryRecord) -> None:
        path = site.folder / ".edgectl" / "memory" / "fleet.json"
        with FleetStore(path).changing() as state:
            state.telemetry += records
            state.told += len(records)

    return tell


@pytest.fixture(scope="session")
def build_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("built")


@pytest.fixture
def site(tmp_path: Path, build_cache: Path) -> Site:
    return Site(tmp_path, build_cache)


@pytest.fixture(scope="session")
def site_in(build_cache: Path) -> Callable[[Path], Site]:
    """Make a site in a folder that outlives a test."""
    return lambda folder: Site(folder, build_cache)
