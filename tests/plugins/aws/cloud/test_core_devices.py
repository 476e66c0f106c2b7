"""Core devices: known by what they last said, however long ago."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.request import Request, urlopen

import pytest
from botocore.exceptions import ClientError

from edgectl_aws_greengrass.emulator.account import RunningAccount
from edgectl_aws_greengrass.emulator.ports import CloudError

STACK = ["DEPLOYMENT_FAILURE", "ARTIFACT_DOWNLOAD_ERROR", "IO_ERROR", "DISK_SPACE_CRITICAL"]


def say(greengrass: Any, who: str, **more: Any) -> None:
    message = {
        "ggcVersion": "2.14.3",
        "thing": who,
        "platform": "linux",
        "architecture": "amd64",
        "runtime": "aws_nucleus_classic",
        "overallDeviceStatus": "HEALTHY",
        "sequenceNumber": 1,
        "messageType": "COMPLETE",
        "components": [],
        **more,
    }
    greengrass.cloud.greengrass.device_status(who, json.dumps(message).encode())


def component(name: str, status: str = "RUNNING", **more: Any) -> dict[str, Any]:
    return {"componentName": name, "version": "1.0.0", "status": status, "isRoot": True, **more}


def test_a_device_is_there_from_its_first_message(greengrass: Any) -> None:
    greengrass.group("first", "first-1", "first-2")
    with pytest.raises(ClientError, match="ResourceNotFound"):
        greengrass.api.get_core_device(coreDeviceThingName="first-1")
    say(greengrass, "first-1")
    found = greengrass.api.get_core_device(coreDeviceThingName="first-1")
    assert (found["status"], found["coreVersion"]) == ("HEALTHY", "2.14.3")


def test_devices_are_listed_by_group_and_status(greengrass: Any) -> None:
    group = greengrass.group("listed", "listed-1", "listed-2")
    say(greengrass, "listed-1")
    say(greengrass, "listed-2", overallDeviceStatus="UNHEALTHY")
    assert _names(greengrass, thingGroupArn=group) == ["listed-1", "listed-2"]
    assert _names(greengrass, thingGroupArn=group, status="UNHEALTHY") == ["listed-2"]
    assert _names(greengrass, thingGroupArn=group, runtime="aws_nucleus_lite") == []


def test_a_complete_message_replaces_and_a_partial_one_adds(greengrass: Any) -> None:
    greengrass.group("parts", "parts-1")
    say(greengrass, "parts-1", components=[component("a"), component("b")])
    broken = component("b", "BROKEN", statusDetails={"statusCodes": ["RUN_ERROR"]})
    say(greengrass, "parts-1", messageType="PARTIAL", components=[broken])
    listed = greengrass.api.list_installed_components(coreDeviceThingName="parts-1")
    found = {c["componentName"]: c for c in listed["installedComponents"]}
    assert found["a"]["lifecycleState"] == "RUNNING"
    assert found["b"]["lifecycleStatusCodes"] == ["RUN_ERROR"]
    say(greengrass, "parts-1", components=[component("c")])
    listed = greengrass.api.list_installed_components(coreDeviceThingName="parts-1")
    assert [c["componentName"] for c in listed["installedComponents"]] == ["c"]


def test_dependencies_are_listed_only_when_all_are_asked_for(greengrass: Any) -> None:
    greengrass.group("topology", "topology-1")
    parts = [component("root"), component("dependency", isRoot=False)]
    say(greengrass, "topology-1", components=parts)
    names = [
        [
            c["componentName"]
            for c in greengrass.api.list_installed_components(
                coreDeviceThingName="topology-1", topologyFilter=which
            )["installedComponents"]
        ]
        for which in ("ROOT", "ALL")
    ]
    assert names == [["root"], ["dependency", "root"]]


def test_effective_deployments_have_the_devices_own_words(greengrass: Any) -> None:
    group = greengrass.group("words", "words-1")
    made = greengrass.deploy(group)
    say(greengrass, "words-1")
    details = {
        "detailed-deployment-status": "FAILED_ROLLBACK_COMPLETE",
        "deployment-failure-cause": "no space",
    }
    greengrass.cloud.jobs.update("words-1", made["iotJobId"], "FAILED", details)
    information = {
        "status": "FAILED",
        "deploymentId": made["deploymentId"],
        "statusDetails": {"errorStack": STACK, "errorTypes": ["DEVICE_ERROR"]},
    }
    say(greengrass, "words-1", deploymentInformation=information)
    (found,) = _effective(greengrass, "words-1")
    assert (found["coreDeviceExecutionStatus"], found["reason"]) == ("FAILED", "no space")
    assert found["statusDetails"] == {"errorStack": STACK, "errorTypes": ["DEVICE_ERROR"]}
    assert found["iotJobId"] == made["iotJobId"]


def test_a_group_deployment_ends_as_succeeded_a_single_ones_as_completed(greengrass: Any) -> None:
    group = greengrass.group("ends", "ends-1")
    made = greengrass.deploy(group)
    say(greengrass, "ends-1")
    greengrass.cloud.jobs.update("ends-1", made["iotJobId"], "SUCCEEDED", {})
    target = greengrass.cloud.arn("iot", "thing/ends-1")
    greengrass.deploy(target)
    reported = {
        "fleetConfigurationArnForStatus": greengrass.cloud.arn(
            "greengrass", "configuration:thing/ends-1:1"
        ),
        "status": "SUCCEEDED",
    }
    payload = json.dumps({"state": {"reported": reported}}).encode()
    greengrass.cloud.shadows.update("ends-1", "AWSManagedGreengrassV2Deployment", payload)
    entries = _effective(greengrass, "ends-1")
    found = {entry["targetArn"]: entry["coreDeviceExecutionStatus"] for entry in entries}
    assert found == {group: "SUCCEEDED", target: "COMPLETED"}


def test_only_the_latest_revision_of_a_target_is_effective(greengrass: Any) -> None:
    group = greengrass.group("revisions", "revisions-1")
    greengrass.deploy(group)
    second = greengrass.deploy(group)
    say(greengrass, "revisions-1")
    (found,) = _effective(greengrass, "revisions-1")
    assert (found["deploymentId"], found["coreDeviceExecutionStatus"]) == (
        second["deploymentId"],
        "QUEUED",
    )


def test_a_status_can_be_made_an_old_one(greengrass: Any, account: RunningAccount) -> None:
    greengrass.group("stale", "stale-1")
    say(greengrass, "stale-1")
    body = json.dumps({"thing": "stale-1", "seconds": 90_000}).encode()
    with urlopen(Request(f"{account.url}/_edgectl/stale", data=body, method="POST")):
        pass
    found = greengrass.api.get_core_device(coreDeviceThingName="stale-1")
    age = datetime.now(UTC) - found["lastStatusUpdateTimestamp"]
    assert (found["status"], age > timedelta(hours=24)) == ("HEALTHY", True)


def test_a_device_is_forgotten_and_comes_back(greengrass: Any) -> None:
    greengrass.group("forgotten", "forgotten-1")
    say(greengrass, "forgotten-1")
    greengrass.api.delete_core_device(coreDeviceThingName="forgotten-1")
    with pytest.raises(ClientError, match="ResourceNotFound"):
        greengrass.api.delete_core_device(coreDeviceThingName="forgotten-1")
    say(greengrass, "forgotten-1")
    assert greengrass.api.get_core_device(coreDeviceThingName="forgotten-1")


@pytest.mark.parametrize(
    "wrong",
    [
        {"thing": "another"},
        {"overallDeviceStatus": "FINE"},
        {"components": [component("a", "DANCING")]},
        {"components": "none"},
    ],
)
def test_a_message_that_no_nucleus_sends_is_refused(greengrass: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(CloudError):
        say(greengrass, "refused-1", **wrong)


def _names(greengrass: Any, **filters: str) -> list[str]:
    pages = greengrass.api.get_paginator("list_core_devices").paginate(
        **filters, PaginationConfig={"PageSize": 1}
    )
    return [d["coreDeviceThingName"] for page in pages for d in page["coreDevices"]]


def _effective(greengrass: Any, thing: str) -> list[dict[str, Any]]:
    answer = greengrass.api.list_effective_deployments(coreDeviceThingName=thing)
    return list(answer["effectiveDeployments"])
