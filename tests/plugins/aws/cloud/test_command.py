"""``edgectl emulate aws``: one command from nothing to an account that answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import CliRunner

from edgectl.api import ProjectError, ProviderError
from edgectl_aws_greengrass.emulator.command import emulate

PROJECT = """
apiVersion: edgectl/v1
name: plates
version: 1.0.0
model: {path: model.onnx}
targets:
  lots: {provider: aws, selector: {thing_group: parking}, hardware: x86-64-cpu}
providers:
  aws: {region: eu-west-1, bucket: some-models}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "edgectl.yaml").write_text(PROJECT)
    return tmp_path


@pytest.fixture
def running(project: Path, until: Callable[..., Any]) -> Iterator[dict[str, Any]]:
    info = project / "info.json"
    command = [sys.executable, "-m", "edgectl.cli.main", "emulate", "aws", "--stop-on-eof"]
    command += ["--project", str(project), "--dir", str(project / "emulator"), "--devices", "0"]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    with (project / "out").open("wb") as out:
        process = subprocess.Popen(
            [*command, "--info", str(info)], stdin=subprocess.PIPE, stdout=out, env=clean
        )
    until(info.exists)
    yield json.loads(info.read_bytes())
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(20) == 0


def test_the_account_is_set_up_for_the_project(running: dict[str, Any], project: Path) -> None:
    env = running["env"]

    def client(service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=env["AWS_ENDPOINT_URL"],
            region_name=env["AWS_REGION"],
            aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
        )

    assert client("sts").get_caller_identity()["Account"] == running["account"]
    assert [b["Name"] for b in client("s3").list_buckets()["Buckets"]] == ["some-models"]
    iot = client("iot")
    assert iot.describe_thing_group(thingGroupName="parking")["thingGroupArn"].split(":")[3] == (
        "eu-west-1"
    )
    alias = iot.describe_role_alias(roleAlias="GreengrassCoreTokenExchangeRoleAlias")
    assert alias["roleAliasDescription"]["roleArn"] == running["roles"]["device"]
    assert Path(running["ca_file"]).read_text().startswith("-----BEGIN CERTIFICATE")
    assert (project / "info.json").stat().st_mode & 0o077 == 0
    printed = (project / "out").read_text()
    assert f"export AWS_ENDPOINT_URL={env['AWS_ENDPOINT_URL']}\n" in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--device", "nothing"], "not TARGET/NAME"),
        (["--device", "lots/a=unknown"], "profiles:"),
        (["--disk", "a=much"], "not NAME=BYTES"),
        (["--crowd", "0", "lots"], "not in the range"),
    ],
)
def test_a_wrong_option_is_a_usage_error(project: Path, arguments: list[str], said: str) -> None:
    options = ["--project", str(project), "--dir", str(project / "e")]
    result = CliRunner().invoke(emulate, [*options, *arguments])
    assert (result.exit_code, said in result.output) == (2, True)


def test_a_second_emulator_leaves_the_folder_of_the_first_alone(
    running: dict[str, Any], project: Path
) -> None:
    assert running["devices"] == []
    arguments = ["--project", str(project), "--dir", str(project / "emulator")]
    done = CliRunner().invoke(emulate, arguments)
    assert isinstance(done.exception, ProviderError)
    assert done.exception.message == f"an emulator runs in '{project / 'emulator'}' already"


@pytest.mark.parametrize("given", [["--crowd", "2", "nowhere"], ["--device", "nowhere/a"]])
def test_an_unknown_target_is_found_before_anything_is_started(
    project: Path, given: list[str]
) -> None:
    arguments = ["--project", str(project), "--dir", str(project / "emulator"), *given]
    done = CliRunner().invoke(emulate, arguments)
    assert isinstance(done.exception, ProjectError)
    assert "nowhere" in done.exception.message
    assert not (project / "emulator" / "devices").exists()
