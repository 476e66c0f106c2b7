"""A hub and real agents, driven by the command line: nothing stands in for anything."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

UP_TIMEOUT_S = 60
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
pathlib.Path(os.environ["EDGECTL_OUTPUT_MODEL"]).write_bytes(model.SerializeToString())
"""

PROJECT = """\
apiVersion: edgectl/v1
name: tiny
version: "{version}"
train:
  command: [python, train.py]
  outputs: {{model: out/model.onnx}}
model: {{path: out/model.onnx}}
device: {{soak: 0.5s}}
targets:
  all: {{provider: selfhosted, selector: {{tags: {{site: test}}}}}}
rollout: {{waves: [1, 100%], soak: 0s, unreachable_grace: 15s}}
providers:
  selfhosted:
    url: ${{EDGECTL_HUB_URL}}
    username: admin
    password_file: ${{EDGECTL_HUB_PASSWORD_FILE}}
"""


class Site:
    """A project, its hub and its devices."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("EDGECTL_")}
        self.devices: dict[str, dict[str, str]] = {}
        (folder / "train.py").write_text(TRAIN)
        self.write()

    def write(self, version: str = "1", scale: float = 1.0) -> None:
        (self.folder / "edgectl.yaml").write_text(PROJECT.format(version=version))
        (self.folder / "scale.txt").write_text(str(scale))

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "edgectl.cli.main", *arguments]

    def run(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done.stdout

    def build(self, version: str, scale: float) -> str:
        """Build a version; returns the package's digest."""
        self.write(version, scale)
        self.run("train")
        self.run("register")
        digest: str = json.loads(self.run("-o", "json", "package"))["digest"]
        return digest

    def rows(self) -> dict[str, dict[str, Any]]:
        return {row["device"]: row for row in json.loads(self.run("-o", "json", "status"))}

    def answer(self, device: str) -> list[float]:
        """Ask a device's model for the product of ones."""
        address = urlsplit(self.devices[device]["url"])
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
        tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 1, 1, 1]}
        connection.request("POST", "/v2/models/tiny/infer", json.dumps({"inputs": [tensor]}))
        response = connection.getresponse()
        body = response.read()
        connection.close()
        assert response.status == 200, body
        data: list[float] = json.loads(body)["outputs"][0]["data"]
        return data

    @contextlib.contextmanager
    def fleet(self, count: int) -> Iterator[None]:
        """Start a hub and ``count`` devices."""
        info = self.folder / "fleet.json"
        arguments = ["emulate", "selfhosted", "--dir", str(self.folder / "fleet"), "--info"]
        env = {**self.env, "EDGECTL_HUB_URL": "unused", "EDGECTL_HUB_PASSWORD_FILE": "unused"}
        with subprocess.Popen(
            self.command(*arguments, str(info), "--stop-on-eof", "--devices", str(count)),
            cwd=self.folder,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                deadline = time.monotonic() + UP_TIMEOUT_S
                while not info.exists():
                    assert process.poll() is None, process.stderr and process.stderr.read()
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
                found = json.loads(info.read_text())
                self.env.update(found["env"])
                self.devices = {device["name"]: device for device in found["devices"]}
                yield
            finally:
                process.terminate()
                process.communicate()


@pytest.fixture(scope="session")
def site_in() -> Callable[[Path], Site]:
    """Make a project in a folder that outlives a test."""
    return Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)
