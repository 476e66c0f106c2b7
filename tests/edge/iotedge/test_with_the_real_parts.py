"""The program itself, with the real runtime, the real verifying child and its own telemetry."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from edge_device import EdgeDevice
from onnx_packages import scaling_package
from releases import Published, publish

from edge_components.contract.telemetry import Kind, from_otlp

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def program(device: EdgeDevice) -> Iterator[subprocess.Popen[bytes]]:
    """``edge-module`` as edgeAgent starts it."""
    device.configure(telemetry="edgehub:telemetry")
    environment = {**os.environ, **device.hub.environment()}
    command = [sys.executable, "-m", "edge_components.iotedge.main"]
    with (device.folder / "program.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--config", str(device.config_path)],
            env={**environment, "EDGECTL_REGISTRY_AUTH": str(device.folder / "none.json")},
            stdout=log,
            stderr=log,
        )
    yield process
    if process.poll() is None:
        process.kill()
        process.wait(20)


def release(device: EdgeDevice, number: int, factor: float, golden: float) -> Published:
    package = scaling_package(device.publisher, factor, golden_factor=golden)
    return device.registry.add(publish(device.publisher, number, package=package, soak_s=0.5))


def infer(device: EdgeDevice) -> float | None:
    connection = http.client.HTTPConnection("127.0.0.1", device.port, timeout=5)
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1.0, 0.0, 0.0, 0.0]}
    try:
        connection.request("POST", "/v2/models/plates/infer", json.dumps({"inputs": [tensor]}))
        response = connection.getresponse()
        body = json.loads(response.read())
    except (OSError, http.client.HTTPException):
        return None
    else:
        return float(body["outputs"][0]["data"][0]) if response.status == 200 else None
    finally:
        connection.close()


def kinds(device: EdgeDevice) -> set[Kind]:
    return {one.kind for _, _, body in tuple(device.hub.events) for one in from_otlp(body)}


def tail(device: EdgeDevice) -> str:
    return Path(device.folder / "program.log").read_text()[-4000:]


def test_it_infers_falls_back_tells_and_drains(
    device: EdgeDevice, program: subprocess.Popen[bytes]
) -> None:
    one = release(device, 1, 3.0, 3.0)
    device.wish(1, one)
    try:
        device.until(90, desired=1, phase="healthy", current=1)
        assert infer(device) == 3.0
        device.hub.until(lambda: {Kind.PREDICTION, Kind.HEALTH} <= kinds(device), 30)
        bad = release(device, 2, 5.0, 4.0)
        device.wish(2, bad)
        report = device.until(90, desired=2, phase="failed", current=1)
    except AssertionError as exc:
        raise AssertionError(f"{exc}\n{tail(device)}") from None
    assert report["reason"] == "golden-failed"
    assert report["active"] == one.package.digest
    assert infer(device) == 3.0
    output, properties, _ = device.hub.events[0]
    assert output == "telemetry"
    assert properties["$.ct"] == "application/json"
    infer(device)
    program.send_signal(signal.SIGTERM)
    began = time.monotonic()
    assert program.wait(20) == 0, tail(device)
    assert time.monotonic() - began < 20
    assert infer(device) is None
    told = [one for _, _, body in device.hub.events for one in from_otlp(body)]
    assert sum(one.kind is Kind.PREDICTION for one in told) >= 3
