"""Emulated clusters as a process with nodes whose pods really run, driven by the command line."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

UP_TIMEOUT_S = 110
COMMAND_TIMEOUT_S = 300
PORT = 8080
Done = subprocess.CompletedProcess[str]
TRAIN = """\
import os, pathlib
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
pathlib.Path(os.environ["EDGECTL_OUTPUT_MODEL"]).write_bytes(model.SerializeToString())
print("trained with scale", scale)
"""
PROJECT = """\
apiVersion: edgectl/v1
name: tiny
version: "{version}"
train:
  provider: {trainer}
  command: [python, train.py]
  outputs: {{model: out/model.onnx}}
model: {{path: out/model.onnx}}
device: {{soak: 0.5s}}
targets:
  all: {{provider: gke, hardware: x86-64-cpu, selector: {{nodes: {{fleet: tiny}}}}}}
rollout: {{waves: {waves}, soak: 0s, unreachable_grace: {grace}, failure_threshold: {threshold}}}
providers:
  gke:
    registry: ${{GKE_REGISTRY}}
    {place}
    {more}
"""


class Site:
    """A project, its emulated clusters and their nodes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        foreign = ("EDGECTL_", "GKE_", "KUBECONFIG", "GOOGLE_")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        self.nodes: dict[str, str] = {}
        self.info: dict[str, Any] = {}
        self.waves = "[1, 100%]"
        self.threshold = "{percent: 0}"
        self.grace = "60s"
        self.trainer = "selfhosted"
        self.more = "unreachable_after_s: 5"
        self.place = "kubeconfig: ${GKE_KUBECONFIG}"
        (folder / "train.py").write_text(TRAIN)
        self.write()

    def write(self, version: str = "1", scale: float = 1.0) -> None:
        text = PROJECT.format(
            version=version,
            waves=self.waves,
            threshold=self.threshold,
            trainer=self.trainer,
            grace=self.grace,
            more=self.more,
            place=self.place,
        )
        (self.folder / "edgectl.yaml").write_text(text)
        (self.folder / "scale.txt").write_text(str(scale))

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "edgectl.cli.main", *arguments]

    def attempt(self, *arguments: str, env: dict[str, str] | None = None) -> Done:
        """Run a command with more in its environment; "" takes a variable out of it."""
        given = {k: v for k, v in {**self.env, **(env or {})}.items() if v}
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=given,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command and return at once."""
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, code: int = 0) -> str:
        done = self.attempt(*arguments)
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done.stdout

    def build(self, version: str, scale: float) -> str:
        """Build a version; returns the package's digest."""
        self.write(version, scale)
        self.run("train")
        self.run("register", "--provider", "selfhosted")
        digest: str = json.loads(self.run("-o", "json", "package"))["digest"]
        return digest

    def spoil_golden(self) -> None:
        """Make the registered golden set wrong, as a device that computes otherwise sees it."""
        prepared = json.loads((self.folder / ".edgectl/build/prepared.json").read_text())
        with np.load(prepared["golden"]) as data:
            arrays = {key: data[key] for key in data.files}
        arrays = {k: v + 1 if k.startswith("output.") else v for k, v in arrays.items()}
        np.savez(prepared["golden"], **arrays)

    def rows(self) -> dict[str, dict[str, Any]]:
        return {row["device"]: row for row in json.loads(self.run("-o", "json", "status"))}

    def answer(self, device: str) -> list[float]:
        """Ask a node's model for the product of ones, through the node's service."""
        connection = http.client.HTTPConnection(self.nodes[device], PORT, timeout=10)
        tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 1, 1, 1]}
        connection.request("POST", "/v2/models/tiny/infer", json.dumps({"inputs": [tensor]}))
        response = connection.getresponse()
        body = response.read()
        connection.close()
        assert response.status == 200, body
        data: list[float] = json.loads(body)["outputs"][0]["data"]
        return data

    def answers(self) -> set[tuple[float, ...]]:
        return {tuple(self.answer(device)) for device in self.nodes}

    def steer(self, method: str, route: str, **body: Any) -> Any:
        """Tell the emulator something."""
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(
            f"{self.info['control']}/{route}", data=data, method=method
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")

    @contextlib.contextmanager
    def clusters(self, clusters: int, nodes: int, *more: str) -> Iterator[None]:
        """Start clusters with nodes."""
        info = self.folder / "fleet.json"
        info.unlink(missing_ok=True)
        arguments = ["emulate", "gke", "--dir", str(self.folder / "fleet"), "--info", str(info)]
        arguments += ["--clusters", str(clusters), "--nodes", str(nodes), "--label", "fleet=tiny"]
        with (self.folder / "emulator.log").open("wb") as log:
            process = subprocess.Popen(
                self.command(*arguments, "--stop-on-eof", *more),
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        try:
            deadline = time.monotonic() + UP_TIMEOUT_S
            while not info.exists():
                said = (self.folder / "emulator.log").read_text()
                assert process.poll() is None, said
                assert time.monotonic() < deadline, said
                time.sleep(0.05)
            self.info = json.loads(info.read_text())
            self.env.update(self.info["env"])
            self.nodes = {
                node["device"]: node["address"]
                for cluster in self.info["clusters"]
                for node in cluster["nodes"]
            }
            yield
        finally:
            process.terminate()
            process.communicate()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One cluster with one node, for all tests of a module."""
    site = Site(tmp_path_factory.mktemp("running"))
    with site.clusters(1, 1):
        yield site


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Wait for something to become true."""

    def wait(holds: Callable[[], bool], timeout_s: float = 90.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < deadline
            time.sleep(0.2)

    return wait
