"""From a layered deployment that the official SDK makes to a device that answers inference."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from azure_devices import eventually

from edgectl.api import load_project
from edgectl_azure_iot_edge.emulator.fleet import (
    Crowd,
    Fleet,
    FleetInfo,
    FleetOptions,
    VirtualDevice,
    check_targets,
)

TRAIN = """\
import os, pathlib
import numpy as np
from onnx import TensorProto, helper, numpy_helper

weights = numpy_helper.from_array(np.eye(4, dtype=np.float32) * 2, "w")
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
version: "1"
train: {provider: selfhosted, command: [python, train.py], outputs: {model: out/model.onnx}}
model: {path: out/model.onnx}
device: {soak: 0.5s}
targets:
  one: {provider: azure, hardware: x86-64-cpu, selector: {tags: {site: one}}}
  two: {provider: azure, hardware: x86-64-cpu, selector: {tags: {site: two}}}
rollout: {waves: [100%], soak: 0s, unreachable_grace: 60s, failure_threshold: {percent: 0}}
providers:
  azure:
    subscription_id: 00000000-0000-4000-8000-0000000000e1
    resource_group: edgectl
    iot_hub: edgectl-hub
    registry: "${EDGECTL_AZURE_REGISTRY}"
"""


class Project:
    """A project and the emulated subscription that it is for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("EDGECTL_", "AZURE"))}
        (folder / "edgectl.yaml").write_text(PROJECT)
        (folder / "train.py").write_text(TRAIN)
        options = FleetOptions(device_arguments=("--cycle", "1", "--cool-off", "1"))
        self.fleet = Fleet(folder / "fleet", load_project(folder), options)
        self.info: FleetInfo | None = None

    def start(self, *devices: VirtualDevice, crowds: tuple[Crowd, ...] = ()) -> FleetInfo:
        check_targets(load_project(self.folder), devices, crowds)
        self.info = self.fleet.start(devices, crowds)
        self.env.update(self.info.env)
        return self.info

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "edgectl.cli.main", *arguments],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout

    def ask(self, url: str) -> Any:
        address = urlsplit(url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
        tensor = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 1, 1, 1]}
        connection.request("POST", "/v2/models/tiny/infer", json.dumps({"inputs": [tensor]}))
        answer = connection.getresponse()
        body = json.loads(answer.read())
        connection.close()
        return body["outputs"][0]["data"] if answer.status == 200 else None


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    yield made
    made.fleet.stop()


def _phase(registry: Any) -> str:
    twin = registry.get_module_twin("d-two", "edgectl-tiny")
    return str(twin.properties.reported["edgectl"]["phase"])


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_layered_deployment_of_the_sdk_ends_in_a_device_that_answers(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_sdk = pytest.importorskip("azure.iot.hub", reason="azure-iot-hub is not installed")
    models = pytest.importorskip("azure.iot.hub.models")
    for command in (("train",), ("register", "--provider", "selfhosted"), ("package",)):
        project.run(*command)
    first, second = (
        VirtualDevice(name=f"d-{name}", target=name, hardware="x86-64-cpu")
        for name in ("one", "two")
    )
    info = project.start(first, second)
    project.run("deploy", "--target", "one", "--wait")
    urls = {device.name: device.url for device in info.devices}
    assert project.ask(urls["d-one"]) == [2, 2, 2, 2]
    # Another client now gives the same release to the other device, without edgectl.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", info.ca_file)
    connection = info.env["IOTHUB_CONNECTION_STRING"]
    configurations = hub_sdk.IoTHubConfigurationManager.from_connection_string(connection)
    (made,) = [c for c in configurations.get_configurations() if c.id.startswith("edgectl-")]
    content = models.ConfigurationContent(modules_content=made.content.modules_content)
    mine = models.Configuration(
        id="by-hand",
        schema_version="2.0",
        content=content,
        target_condition="tags.byhand = 'yes'",
        priority=200,
    )
    configurations.create_configuration(mine)
    registry = hub_sdk.IoTHubRegistryManager.from_connection_string(connection)
    registry.update_twin("d-two", models.Twin(tags={"byhand": "yes"}), etag="*")
    eventually(lambda: project.ask(urls["d-two"]) == [2, 2, 2, 2], 90)
    # It answers before it reports: what a device writes to its twin is paced.
    eventually(lambda: _phase(registry) in {"verifying", "healthy"}, 90)
    # What was there before is as it was.
    kept = {c.id: c.content.modules_content for c in configurations.get_configurations()}
    assert {"base", "other-team-logger"} <= set(kept)
    agent = registry.get_module_twin("d-two", "$edgeAgent").properties.reported
    assert agent["modules"]["logger"]["runtimeStatus"] == "running"


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_crowd_of_a_target_takes_a_release(project: Project) -> None:
    for command in (("train",), ("register", "--provider", "selfhosted"), ("package",)):
        project.run(*command)
    project.start(crowds=(Crowd(size=60, target="one"),))
    project.run("deploy", "--target", "one", "--wait")
    rows = json.loads(project.run("-o", "json", "status"))
    assert {row["state"] for row in rows if row["target"] == "one"} == {"healthy"}
    assert sum(row["target"] == "one" for row in rows) == 60
