"""A core device and a crowd against the whole emulated account, steered with boto3."""

from __future__ import annotations

import collections
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from edgectl_aws_greengrass.config import ROLE_ALIAS, AwsConfig
from edgectl_aws_greengrass.devicefiles import device_policy
from edgectl_aws_greengrass.emulator.account import RunningAccount
from edgectl_aws_greengrass.emulator.seed import seed
from edgectl_aws_greengrass.emulator.throttle import Throttle

HELLO = "com.example.Hello"
BUCKET = "artifacts-of-tests"
GROUP = "parking"


class Fleet:
    """An account, and processes that are its devices."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.account = RunningAccount(folder / "account", throttle=Throttle({}), minute_s=0.1)
        self.account.start()
        self.env = {**os.environ, **self.account.settings()}
        config = AwsConfig(bucket=BUCKET)
        seed(self.account.cloud, config, (GROUP,))
        self.processes: list[subprocess.Popen[bytes]] = []
        self.group_arn = self.account.cloud.arn("iot", f"thinggroup/{GROUP}")

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            region_name=self.env["AWS_REGION"],
            endpoint_url=self.env["AWS_ENDPOINT_URL"],
            aws_access_key_id=self.env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"],
        )

    def start(self, name: str, module: str, *arguments: str, **env: str) -> Path:
        """Start a device process; return the file of what it prints."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", f"edgectl_aws_greengrass.emulator.{module}", *arguments],
                    stdout=output,
                    stderr=output,
                    env={**self.env, **env},
                )
            )
        return log

    def core_device(self, thing: str) -> Path:
        """Enroll a thing by the API and start its nucleus; return its root folder."""
        iot = self.client("iot")
        made = iot.create_keys_and_certificate(setAsActive=True)
        alias = iot.describe_role_alias(roleAlias=ROLE_ALIAS)["roleAliasDescription"]
        arn = alias["roleAliasArn"]
        policy = device_policy(arn.split(":rolealias/")[0], arn)
        iot.create_policy(policyName=f"{thing}-policy", policyDocument=policy)
        iot.attach_policy(policyName=f"{thing}-policy", target=made["certificateArn"])
        iot.create_thing(thingName=thing)
        iot.attach_thing_principal(thingName=thing, principal=made["certificateArn"])
        iot.add_thing_to_thing_group(thingName=thing, thingGroupName=GROUP)
        root = self.folder / thing
        root.mkdir()
        (root / "cert.pem").write_text(made["certificatePem"])
        (root / "key.pem").write_text(made["keyPair"]["PrivateKey"])
        port = self.account.data.port
        options = {
            "awsRegion": self.env["AWS_REGION"],
            "iotRoleAlias": ROLE_ALIAS,
            "iotDataEndpoint": "localhost",
            "iotCredEndpoint": f"localhost:{port}",
            "greengrassDataPlanePort": port,
            "mqtt": {"port": self.account.broker.port},
        }
        system = {
            "certificateFilePath": str(root / "cert.pem"),
            "privateKeyPath": str(root / "key.pem"),
            "rootCaPath": str(self.account.ca_file),
            "rootpath": str(root),
            "thingName": thing,
        }
        services = {"aws.greengrass.Nucleus": {"configuration": options}}
        file = root / "config.yaml"
        file.write_text(yaml.safe_dump({"system": system, "services": services}))
        endpoint = f"https://localhost:{port}"
        arguments = ("--init-config", str(file), "--s3-endpoint", endpoint)
        self.start(thing, "nucleus", *arguments, HERE=str(root))
        return root

    def component(self, version: str, script: str) -> None:
        """Create a component version with one artifact and wait until it is deployable."""
        key = f"edgectl/blobs/{HELLO}-{version}/data.txt"
        self.client("s3").put_object(Bucket=BUCKET, Key=key, Body=version.encode())
        recipe = {
            "RecipeFormatVersion": "2020-01-25",
            "ComponentName": HELLO,
            "ComponentVersion": version,
            "Manifests": [
                {
                    "Platform": {"os": "linux", "runtime": "*"},
                    "Lifecycle": {"Startup": {"Script": script}},
                    "Artifacts": [{"Uri": f"s3://{BUCKET}/{key}"}],
                }
            ],
        }
        greengrass = self.client("greengrassv2")
        blob = json.dumps(recipe).encode()
        arn = greengrass.create_component_version(inlineRecipe=blob)["arn"]
        _until(
            lambda: (
                greengrass.describe_component(arn=arn)["status"]["componentState"] == "DEPLOYABLE"
            )
        )

    def deploy(self, target: str, version: str, merge: str = "{}") -> dict[str, Any]:
        update = {"merge": merge}
        components = {HELLO: {"componentVersion": version, "configurationUpdate": update}}
        policies = {"componentUpdatePolicy": {"action": "SKIP_NOTIFY_COMPONENTS"}}
        found: dict[str, Any] = self.client("greengrassv2").create_deployment(
            targetArn=target, components=components, deploymentPolicies=policies
        )
        return found

    def statuses(self, job_id: str) -> collections.Counter[str]:
        pages = self.client("iot").get_paginator("list_job_executions_for_job")
        return collections.Counter(
            each["jobExecutionSummary"]["status"]
            for page in pages.paginate(jobId=job_id)
            for each in page["executionSummaries"]
        )

    def close(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(30)
        self.account.stop()


def _until(check: Callable[[], Any], seconds: float = 40.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := check():
            return found
        time.sleep(0.1)
    raise AssertionError("it did not happen in time")


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    found = Fleet(tmp_path)
    yield found
    found.close()


def test_a_device_deploys_by_group_and_by_thing_and_the_cloud_knows_it(fleet: Fleet) -> None:
    fleet.component("1.0.0", "cat {artifacts:path}/data.txt >> $HERE/said")
    fleet.component("2.0.0", "exit 1")
    root = fleet.core_device("core-1")
    greengrass = fleet.client("greengrassv2")

    job_id = fleet.deploy(fleet.group_arn, "1.0.0")["iotJobId"]
    _until(lambda: fleet.statuses(job_id) == {"SUCCEEDED": 1})
    assert (root / "said").read_text() == "1.0.0"

    def installed() -> dict[str, str]:
        answer = greengrass.list_installed_components(coreDeviceThingName="core-1")
        return {
            each["componentName"]: each["lifecycleState"] for each in answer["installedComponents"]
        }

    _until(lambda: installed().get(HELLO) == "RUNNING")
    assert greengrass.get_core_device(coreDeviceThingName="core-1")["status"] == "HEALTHY"

    thing_arn = fleet.account.cloud.arn("iot", "thing/core-1")
    # The document is too long for the shadow, so the device has to ask for all of it.
    deployment_id = fleet.deploy(thing_arn, "1.0.0", json.dumps({"text": "x" * 8_000}))[
        "deploymentId"
    ]

    def effective() -> Any:
        answer = greengrass.list_effective_deployments(coreDeviceThingName="core-1")
        return {each["deploymentId"]: each for each in answer["effectiveDeployments"]}

    _until(
        lambda: effective().get(deployment_id, {}).get("coreDeviceExecutionStatus") == "COMPLETED"
    )
    job_id = fleet.deploy(fleet.group_arn, "2.0.0")["iotJobId"]
    _until(lambda: fleet.statuses(job_id) == {"FAILED": 1})
    details = fleet.client("iot").describe_job_execution(jobId=job_id, thingName="core-1")
    found = details["execution"]["statusDetails"]["detailsMap"]
    assert found["detailed-deployment-status"] == "FAILED_NO_STATE_CHANGE"  # the thing wants 1.0.0


def test_a_crowd_takes_a_deployment_and_full_disks_say_so(fleet: Fleet) -> None:
    fleet.component("1.0.0", "true")
    log = fleet.start(
        "crowd",
        "nucleus.crowd",
        *("--things", "12", "--thing-group", GROUP, "--name", "crowd", "--full-disks", "2"),
        *("--mqtt-port", str(fleet.account.broker.port)),
        *("--data-port", str(fleet.account.data.port)),
        *("--folder", str(fleet.folder / "crowd")),
    )
    _until(lambda: "connected" in log.read_text())
    made = fleet.deploy(fleet.group_arn, "1.0.0")
    _until(lambda: fleet.statuses(made["iotJobId"]) == {"SUCCEEDED": 10, "FAILED": 2})
    iot, greengrass = fleet.client("iot"), fleet.client("greengrassv2")
    execution = iot.describe_job_execution(jobId=made["iotJobId"], thingName="crowd-0001")
    details = execution["execution"]["statusDetails"]["detailsMap"]
    assert "DISK_SPACE_CRITICAL" in details["deployment-error-stack"]
    status = greengrass.get_deployment(deploymentId=made["deploymentId"])["deploymentStatus"]
    assert status == "ACTIVE"  # which says nothing of the two that failed
    devices = greengrass.list_core_devices(thingGroupArn=fleet.group_arn)["coreDevices"]
    assert len(devices) == 12

    iot.cancel_job(jobId=made["iotJobId"])  # as the abort criteria do
    again = fleet.deploy(fleet.group_arn, "1.0.0")
    _until(lambda: fleet.statuses(again["iotJobId"]) == {"SUCCEEDED": 10, "FAILED": 2})
