"""The runtime is kept running: started again, adopted, ended, told the right version."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest
from ddi_server import DdiServer
from device import Device, Zygote

from edge_components.agent.notify import notify


@pytest.fixture
def serving(device: Device) -> Device:
    device.start()
    device.install(1, "one")
    return device


def runtime_pid(device: Device) -> int:
    found = device.wait_answer("one")
    pid: int = found["pid"]
    return pid


def test_runtime_that_dies_is_started_again(serving: Device) -> None:
    before = runtime_pid(serving)
    os.kill(before, signal.SIGKILL)
    serving.server.wait(lambda: (a := serving.ask()) and a["pid"] != before)


def test_runtime_that_hangs_is_replaced(serving: Device) -> None:
    before = runtime_pid(serving)
    os.kill(before, signal.SIGSTOP)
    serving.server.wait(lambda: (a := serving.ask()) and a["pid"] != before, 30)


def test_runtime_survives_its_agent_and_is_adopted(serving: Device) -> None:
    before = runtime_pid(serving)
    serving.kill()
    assert runtime_pid(serving) == before
    serving.start()
    serving.install(2, "two")
    assert serving.wait_answer("two")["pid"] == before
    assert serving.stop() == 0
    assert serving.ask() is None, "an adopted runtime ends with the agent"


def test_adopted_runtime_that_dies_is_started_again(serving: Device) -> None:
    before = runtime_pid(serving)
    serving.kill()
    serving.start()
    serving.server.wait(lambda: "adopted" in serving.tail())
    os.kill(before, signal.SIGKILL)
    serving.server.wait(lambda: (a := serving.ask()) and a["pid"] != before)


def test_runtime_that_does_not_come_back_is_reported(serving: Device, server: DdiServer) -> None:
    model = serving.state_dir / "store/versions/1/package/int8/model.onnx"
    model.chmod(0o644)
    model.write_bytes(model.read_bytes().replace(b'"one"', b'"one'))
    serving.kill_runtime()
    server.wait(lambda: server.attributes["edgectl_state"] == "failed")
    assert server.attributes["edgectl_reason"] == "runtime-not-ready"
    assert server.attributes["edgectl_active_release"] == "0"
    serving.install(2, "two")
    serving.wait_answer("two")


def test_state_folder_with_a_long_path_works(
    fast_folder: Path, zygote: Zygote, server: DdiServer
) -> None:
    folder = fast_folder / ("x" * 90) / ("y" * 60)
    folder.mkdir(parents=True)
    device = Device(folder, zygote, server)
    try:
        device.start()
        device.install(1, "one")
        device.install(2, "two")
        device.wait_answer("two")
        assert device.stop() == 0
    finally:
        device.cleanup()


def test_service_manager_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(path))
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        notify("READY=1")
        assert channel.recv(100) == b"READY=1"
