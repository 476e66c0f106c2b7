"""A virtual device as a process: killed, started again, told to end."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from azure_devices import Runner, Service, eventually, manifest, module, shell

from edgectl.emulation.registry import RegistryServer
from edgectl_azure_iot_edge.emulator.edge.__main__ import main
from edgectl_azure_iot_edge.emulator.edge.settings import SettingsError, read_settings

CONFIG = """\
trust_bundle_cert = "file://{ca}"

[provisioning]
source = "manual"
connection_string = "HostName={hub};DeviceId=d1;SharedAccessKey={key}"

[agent.env]
CoolOffTimeUnitInSeconds = "0"
"""
Start = Callable[[], subprocess.Popen[bytes]]


@pytest.fixture
def start(tmp_path: Path, service: Service, registry: RegistryServer) -> Iterator[Start]:
    folder = tmp_path / "devices" / "d1"
    folder.mkdir(parents=True)
    config = folder / "config.toml"
    key = service.add_device("d1")
    config.write_text(CONFIG.format(ca=service.account.ca_file, hub=service.host, key=key))
    arguments = ["--config", str(config), "--folder", str(folder), "--cycle", "0.3"]
    arguments += ["--mqtt-port", str(service.room.devices.port)]
    running: list[subprocess.Popen[bytes]] = []

    def begin() -> subprocess.Popen[bytes]:
        module_name = "edgectl_azure_iot_edge.emulator.edge"
        with (tmp_path / "device.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module_name, *arguments], stdout=log, stderr=log
            )
        running.append(process)
        return process

    yield begin
    for process in running:
        if process.poll() is None:
            process.terminate()
        process.wait(30)


def test_a_killed_device_comes_back_as_it_was_and_without_its_hub(
    start: Start, devices: Runner, service: Service, tmp_path: Path
) -> None:
    image = devices.push("app", shell("echo $$ >> /data/pids; exec sleep 1000"))
    options = {"HostConfig": {"Binds": ["/data:/data"]}}
    pids = tmp_path / "devices" / "d1" / "root" / "data" / "pids"
    first = start()
    service.deploy("d1", manifest({"app": module(image, options=options)}))
    eventually(lambda: service.reported("d1")["lastDesiredStatus"]["code"] == 200)
    before = eventually(lambda: pids.read_text().split())
    first.send_signal(signal.SIGKILL)
    first.wait(30)
    devices.faults("d1", network_cut=True)
    second = start()
    eventually(lambda: len(pids.read_text().split()) == 2)
    eventually(lambda: _has_ended(int(before[0])))
    devices.faults("d1")
    found = eventually(
        lambda: (
            (app := service.reported("d1")["modules"]["app"])["restartCount"] == 1
            and app["runtimeStatus"] == "running"
            and app
        )
    )
    assert found["exitCode"] == 137
    second.terminate()
    assert second.wait(30) == 0
    assert service.reported("d1")["lastDesiredStatus"]["code"] == 406
    eventually(lambda: _has_ended(int(pids.read_text().split()[1])))


def _has_ended(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return stat.rsplit(")", 1)[-1].split()[0] == "Z"


def test_a_configuration_without_a_hub_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.toml"
    for text in ("", '[provisioning]\nsource = "dps"\n', '[provisioning]\nsource = "manual"\n'):
        file.write_text(text)
        assert main(["--config", str(file), "--folder", str(tmp_path)]) == 2
        assert "[provisioning]" in capsys.readouterr().err


def test_the_runtime_s_other_way_to_name_a_device_is_read(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(
        'hostname = "gate"\n[provisioning]\nsource = "manual"\niothub_hostname = "hub:1"\n'
        'device_id = "d"\n[provisioning.authentication]\nmethod = "sas"\n'
        'device_id_pk = { value = "a2V5" }\n[agent.config]\nimage = "agent:1"\n'
    )
    found = read_settings(file, tmp_path)
    assert (found.host, found.port, found.device_id, found.key) == ("hub", 1, "d", "a2V5")
    assert (found.hostname, found.agent_image, found.trust) == ("gate", "agent:1", None)
    file.write_text("no toml")
    with pytest.raises(SettingsError, match="cannot be read"):
        read_settings(file, tmp_path)
