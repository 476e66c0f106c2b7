"""The commands themselves, with the real runtime and the real verifying child."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from apply_device import ApplyDevice
from onnx_packages import scaling_package

from edge_components.agent.control import ControlClient
from edge_components.apply.reporters import shadow_topic, shadow_update
from edge_components.contract.state import DeviceReport

AGENT = (sys.executable, "-m", "edge_components.agent.main")


def apply(
    device: ApplyDevice, folder: Path, **environ: str
) -> tuple[int, DeviceReport, subprocess.CompletedProcess[bytes]]:
    done = subprocess.run(
        [*AGENT, "apply", "--from", str(folder), "--config", str(device.config_path)],
        capture_output=True,
        timeout=120,
        check=False,
        env={**os.environ, **environ},
    )
    return done.returncode, msgspec.json.decode(done.stdout, type=DeviceReport), done


def infer(device: ApplyDevice) -> float | None:
    """Return the factor that the device multiplies with, or None if it does not answer."""
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


def wait(condition: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def deliver(
    device: ApplyDevice, number: int, factor: float, golden: float | None = None, soak_s: float = 0
) -> Path:
    package = scaling_package(
        device.publisher, factor, golden_factor=factor if golden is None else golden
    )
    return device.deliver(number, package, soak_s=soak_s)


class Served:
    """``edge-agent serve``, started by the test as a supervisor would."""

    def __init__(self, device: ApplyDevice) -> None:
        self._device = device
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [*AGENT, "serve", "--config", str(self._device.config_path)]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def again(self) -> None:
        self.process.wait(20)
        self.process = self._start()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait(20)


@pytest.fixture
def served(device: ApplyDevice) -> Iterator[Served]:
    served = Served(device)
    yield served
    served.stop()


def test_delivered_releases_are_installed_refused_and_kept_over_a_restart(
    device: ApplyDevice, served: Served
) -> None:
    assert apply(device, deliver(device, 1, 2.0))[0] == 0
    assert infer(device) == 2.0
    one = device.folder / "artifacts-1"
    code, report, _ = apply(device, deliver(device, 2, 3.0, golden=5.0))
    assert (code, report.reason, report.active_release) == (10, "golden-failed", 1)
    assert infer(device) == 2.0
    assert apply(device, one)[0] == 0
    assert apply(device, deliver(device, 3, 4.0, soak_s=0.2))[0] == 0
    assert infer(device) == 4.0
    served.process.kill()
    served.again()
    wait(lambda: infer(device) == 4.0, "the runtime serves the active version by itself")


def test_the_runtime_that_is_served_is_the_supervisor_s_own_child(
    device: ApplyDevice, served: Served
) -> None:
    control = ControlClient(device.state_dir / "runtime.sock")
    wait((device.state_dir / "runtime.sock").exists, "no control socket")
    status = control.status()
    assert status.pid == served.process.pid
    assert (status.ready, status.release) == (False, 0)


def test_a_runtime_that_is_killed_in_the_first_soak_answers_nothing_afterwards(
    device: ApplyDevice, served: Served
) -> None:
    folder = deliver(device, 1, 2.0, soak_s=60.0)

    def kill_and_restart() -> None:
        wait(lambda: infer(device) == 2.0, "the new version does not answer")
        served.process.kill()
        served.again()

    killer = threading.Thread(target=kill_and_restart)
    killer.start()
    code, report, _ = apply(device, folder)
    killer.join()
    assert (code, report.reason, report.active_release) == (11, "runtime-crashed", 0)
    wait(lambda: infer(device) is None, "the version that fell back answers")


def test_a_running_runtime_can_be_told_to_answer_with_nothing(
    device: ApplyDevice, served: Served
) -> None:
    assert apply(device, deliver(device, 1, 2.0))[0] == 0
    control = ControlClient(device.state_dir / "runtime.sock")
    control.deactivate()
    assert infer(device) is None
    status = control.status()
    assert (status.ready, status.release, status.pid) == (False, 0, served.process.pid)


def test_a_nucleus_that_does_not_answer_makes_no_update_fail(
    device: ApplyDevice, served: Served
) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        path = device.folder / "ipc.sock"
        listener.bind(str(path))
        code, _, done = apply(
            device,
            deliver(device, 1, 2.0),
            AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT=str(path),
            SVCUID="secret-of-the-component",
            AWS_IOT_THING_NAME="lot-7",
        )
    assert code == 0
    assert b"the report did not reach ShadowReporter" in done.stderr
    assert b"secret-of-the-component" not in done.stderr


def test_the_shadow_document_is_the_whole_report() -> None:
    report = DeviceReport(application="plates", release=3)
    document = json.loads(shadow_update(report))
    assert document == {"state": {"reported": msgspec.to_builtins(report)}}
    assert shadow_topic("lot-7") == "$aws/things/lot-7/shadow/name/edgectl/update"


def test_a_wrong_configuration_is_exit_code_1(device: ApplyDevice) -> None:
    device.config_path.write_text("[device]\n")
    done = subprocess.run(
        [*AGENT, "apply", "--from", str(device.folder), "--config", str(device.config_path)],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert b"the device configuration cannot be read" in done.stderr
