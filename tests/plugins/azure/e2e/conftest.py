"""The emulated subscription as a process and real edge devices, driven by the command line."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from edgectl_azure_iot_edge._sdk.sas import parse_connection_string, sign

UP_TIMEOUT_S = 300
COMMAND_TIMEOUT_S = 1200
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
{pipeline}device: {{soak: 0.5s}}
targets:
  all: {{provider: azure, hardware: x86-64-cpu, selector: {{tags: {{site: tiny}}}}}}
rollout: {{waves: {waves}, soak: 0s, unreachable_grace: 60s, failure_threshold: {threshold}}}
providers:
  azure:
    subscription_id: ${{AZURE_SUBSCRIPTION_ID:-none}}
    resource_group: edgectl
    iot_hub: edgectl-hub
    workspace: edgectl-ml
    training: {{compute: cpu-cluster, image: "example.test/python:3.11"}}
    registry: ${{EDGECTL_AZURE_REGISTRY:-none}}
    units: {units}
{more}"""


class Site:
    """A project, its emulated subscription and its edge devices."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        foreign = ("EDGECTL_", "AZURE_", "IOTHUB_", "ARM_", "REQUESTS_CA", "SSL_CERT")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        self.devices: dict[str, dict[str, str]] = {}
        self.control = ""
        self.waves = "[1, 100%]"
        self.threshold = "{percent: 0}"
        self.trainer = "selfhosted"
        self.units = 100
        self.pipeline = ""
        self.more = ""
        (folder / "train.py").write_text(TRAIN)
        self.write()

    def write(self, version: str = "1", scale: float = 1.0) -> None:
        text = PROJECT.format(
            version=version,
            waves=self.waves,
            threshold=self.threshold,
            trainer=self.trainer,
            units=self.units,
            pipeline=self.pipeline,
            more=self.more,
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

    def given(self) -> dict[str, int]:
        """Return the release that each device was given."""
        rows = self.rows().items()
        return {device: row["release"] for device, row in rows if row["release"]}

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

    def answers(self) -> set[tuple[float, ...]]:
        return {tuple(self.answer(device)) for device in self.devices}

    def calls(self) -> dict[str, dict[str, int]]:
        """Return the emulator's counts, ``total``, ``peak_per_minute`` and the like."""
        found: dict[str, dict[str, int]] = self.steer("GET", "calls")
        return found

    def steer(self, method: str, route: str, **body: Any) -> Any:
        """Tell the emulator something below ``/emulator/``."""
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(f"{self.control}/{route}", data=data, method=method)
        trust = ssl.create_default_context(cafile=self.env["REQUESTS_CA_BUNDLE"])
        with urllib.request.urlopen(request, timeout=30, context=trust) as answer:
            found = answer.read()
        return json.loads(found) if found else None

    def hub(self, method: str, path: str) -> Any:
        """Call the hub's service API as its owner."""
        connection = parse_connection_string(self.env["IOTHUB_CONNECTION_STRING"])
        token = sign(connection, int(time.time()) + 600)
        url = f"https://{connection.host}{path}?api-version=2021-04-12"
        request = urllib.request.Request(url, method=method, headers={"Authorization": token})
        trust = ssl.create_default_context(cafile=self.env["REQUESTS_CA_BUNDLE"])
        with urllib.request.urlopen(request, timeout=30, context=trust) as answer:
            return json.load(answer)

    def forget_calls(self) -> None:
        self.steer("DELETE", "calls")

    @contextlib.contextmanager
    def account(self, devices: int, *more: str) -> Iterator[None]:
        """Start the subscription and ``devices`` edge devices."""
        info = self.folder / "fleet.json"
        info.unlink(missing_ok=True)
        arguments = ["emulate", "azure", "--dir", str(self.folder / "fleet"), "--info", str(info)]
        with (self.folder / "emulator.log").open("wb") as log:
            process = subprocess.Popen(
                self.command(*arguments, "--stop-on-eof", "--devices", str(devices), *more),
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
            found = json.loads(info.read_text())
            self.env.update(found["env"])
            self.control = f"{found['url']}/emulator"
            self.devices = {device["name"]: device for device in found["devices"]}
            yield
        finally:
            process.terminate()
            process.communicate()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A hub with four devices that pretend to run modules, and a release to give them."""
    site = Site(tmp_path_factory.mktemp("crowd"))
    with site.account(0, "--crowd", "4", "all"):
        site.build("1", 1.0)
        yield site


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Wait for something to become true."""

    def wait(holds: Callable[[], bool], timeout_s: float = 60.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < deadline
            time.sleep(0.2)

    return wait
