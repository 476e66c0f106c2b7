"""``edgectl emulate azure``: one command from nothing to a subscription that answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.iot.hub import IoTHubConfigurationManager, IoTHubRegistryManager
from azure_module import until
from click.testing import CliRunner

from edgectl.api import ProjectError
from edgectl_azure_iot_edge.emulator.command import emulate

PROJECT = """
apiVersion: edgectl/v1
name: plates
version: 1.0.0
model: {path: model.onnx}
targets:
  lots: {provider: azure, selector: {tags: {site: parking}}, hardware: x86-64-cpu}
providers:
  azure:
    subscription_id: 00000000-0000-4000-8000-0000000000e1
    resource_group: edgectl
    iot_hub: edgectl-hub
    host: ${AZURE_HUB_HOST}
    units: 3
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "edgectl.yaml").write_text(PROJECT)
    return tmp_path


@pytest.fixture
def running(project: Path) -> Iterator[dict[str, Any]]:
    info = project / "info.json"
    command = [sys.executable, "-m", "edgectl.cli.main", "emulate", "azure", "--stop-on-eof"]
    command += ["--project", str(project), "--dir", str(project / "emulator"), "--devices", "0"]
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AZURE_", "IOTHUB_"))}
    with (project / "out").open("wb") as out:
        process = subprocess.Popen(
            [*command, "--info", str(info)], stdin=subprocess.PIPE, stdout=out, env=clean
        )
    until(lambda: info.exists() or process.poll() is not None)
    yield json.loads(info.read_bytes())
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(20) == 0


def test_the_hub_is_set_up_and_told_of(
    running: dict[str, Any], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = running["env"]
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", env["REQUESTS_CA_BUNDLE"])
    connection = env["IOTHUB_CONNECTION_STRING"]
    registry = IoTHubRegistryManager.from_connection_string(connection)
    assert registry.get_devices() == []
    deployments = IoTHubConfigurationManager.from_connection_string(connection)
    assert sorted(c.id for c in deployments.get_configurations()) == ["base", "other-team-logger"]
    assert (project / "info.json").stat().st_mode & 0o077 == 0


def test_what_is_printed_can_be_pasted_into_a_shell(running: dict[str, Any], project: Path) -> None:
    exports = [x for x in (project / "out").read_text().splitlines() if x.startswith("export ")]
    shown = subprocess.run(
        ["sh", "-c", "\n".join((*exports, "env"))],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    told = dict(line.split("=", 1) for line in shown.stdout.splitlines() if "=" in line)
    assert {name: told[name] for name in running["env"]} == running["env"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--device", "nothing"], "not TARGET/NAME"),
        (["--device", "lots/a=unknown"], "profiles:"),
        (["--crowd", "0", "lots"], "not in the range"),
        (["--tier", "S4"], "'S4' is not one of"),
        (["--units", "0"], "not in the range"),
    ],
)
def test_a_wrong_option_is_a_usage_error(project: Path, arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(emulate, ["--project", str(project), *arguments])
    assert (result.exit_code, said in result.output) == (2, True), result.output


def test_a_device_of_an_unknown_target_is_refused(project: Path) -> None:
    result = CliRunner().invoke(
        emulate, ["--project", str(project), "--device", "elsewhere/a=x86-64-cpu"]
    )
    assert isinstance(result.exception, ProjectError)
