"""Deployments: replaced whole, carried by jobs or shadows, misleading in their status."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from edgectl_aws_greengrass.emulator.ports import (
    DEPLOYMENT_SHADOW,
    GREENGRASS_NAMESPACE,
    CloudError,
)

Clients = Callable[..., Any]


def job_of(greengrass: Any, thing: str) -> Any:
    return greengrass.cloud.jobs.next(thing, GREENGRASS_NAMESPACE)


def test_a_groups_deployment_reaches_its_things_as_a_job(greengrass: Any) -> None:
    greengrass.component()
    group = greengrass.group("reach", "reach-1", "reach-2")
    made = greengrass.api.create_deployment(
        targetArn=group,
        deploymentName="release",
        components={
            f"com.{greengrass.name}": {
                "componentVersion": "1.0.0",
                "configurationUpdate": {"merge": '{"a": {"b": "1"}}', "reset": ["/c"]},
                "runWith": {"posixUser": "u:g"},
            }
        },
        tags={"k": "v"},
    )
    execution = job_of(greengrass, "reach-2")
    assert (execution.job_id, execution.status) == (made["iotJobId"], "QUEUED")
    document = json.loads(execution.document)
    assert document["deploymentId"] == made["deploymentId"]
    assert document["configurationArn"].endswith(":configuration:thinggroup/reach:1")
    assert document["components"] == {
        f"com.{greengrass.name}": {
            "version": "1.0.0",
            "configurationUpdate": {"merge": {"a": {"b": "1"}}, "reset": ["/c"]},
            "runWith": {"posixUser": "u:g", "systemResourceLimits": None},
        }
    }
    assert document["failureHandlingPolicy"] == "ROLLBACK"
    found = greengrass.api.get_deployment(deploymentId=made["deploymentId"])
    assert found["deploymentPolicies"]["failureHandlingPolicy"] == "ROLLBACK"
    assert (found["revisionId"], found["tags"], found["isLatestForTarget"]) == (
        "1",
        {"k": "v"},
        True,
    )


def test_a_new_revision_replaces_the_component_set_and_cancels_the_old_job(greengrass: Any) -> None:
    greengrass.component()
    group = greengrass.group("replace", "replace-1", "replace-2")
    first = greengrass.deploy(group, **{greengrass.name: "1.0.0"})
    greengrass.cloud.jobs.start_next("replace-1", GREENGRASS_NAMESPACE, {})
    second = greengrass.deploy(group)
    listed = greengrass.api.list_deployments(targetArn=group, historyFilter="ALL")["deployments"]
    assert [(d["revisionId"], d["deploymentStatus"], d["isLatestForTarget"]) for d in listed] == [
        ("2", "ACTIVE", True),
        ("1", "CANCELED", False),
    ]
    jobs = greengrass.iot.list_job_executions_for_job(jobId=first["iotJobId"])
    states = {
        e["thingArn"].rpartition("/")[2]: e["jobExecutionSummary"]["status"]
        for e in jobs["executionSummaries"]
    }
    assert states == {"replace-1": "IN_PROGRESS", "replace-2": "CANCELED"}
    assert json.loads(job_of(greengrass, "replace-2").document)["components"] == {}
    latest = greengrass.api.list_deployments(targetArn=group)["deployments"]
    assert [d["deploymentId"] for d in latest] == [second["deploymentId"]]


def test_the_status_stays_active_whatever_fails(greengrass: Any) -> None:
    group = greengrass.group("misleads", "misleads-1")
    made = greengrass.deploy(group)
    greengrass.cloud.jobs.update("misleads-1", made["iotJobId"], "FAILED", {"a": "b"})
    found = greengrass.api.get_deployment(deploymentId=made["deploymentId"])
    assert found["deploymentStatus"] == "ACTIVE"


def test_a_later_member_gets_the_deployment_at_once(greengrass: Any) -> None:
    group = greengrass.group("later")
    made = greengrass.deploy(group)
    greengrass.iot.create_thing(thingName="later-1")
    greengrass.iot.add_thing_to_thing_group(thingGroupName="later", thingName="later-1")
    assert job_of(greengrass, "later-1").job_id == made["iotJobId"]
    greengrass.iot.remove_thing_from_thing_group(thingGroupName="later", thingName="later-1")
    assert job_of(greengrass, "later-1") is None


def test_a_things_deployment_travels_by_its_shadow(greengrass: Any) -> None:
    greengrass.component()
    greengrass.iot.create_thing(thingName="single")
    target = greengrass.cloud.arn("iot", "thing/single")
    made = greengrass.deploy(target, **{greengrass.name: "1.0.0"})
    assert "iotJobId" not in made
    shadow = json.loads(greengrass.cloud.shadows.get("single", DEPLOYMENT_SHADOW))
    desired = shadow["state"]["desired"]
    document = json.loads(desired["fleetConfig"])
    assert (desired["desiredStatus"], document["deploymentId"]) == (
        "SUCCEEDED",
        made["deploymentId"],
    )
    assert _status(greengrass, made) == "ACTIVE"
    _report(greengrass, "single", document["configurationArn"], "SUCCEEDED")
    assert _status(greengrass, made) == "COMPLETED"
    again = greengrass.deploy(target)
    assert (_status(greengrass, made), _status(greengrass, again)) == ("INACTIVE", "ACTIVE")


def test_canceling_spares_devices_that_have_begun(greengrass: Any) -> None:
    group = greengrass.group("cancel", "cancel-1", "cancel-2")
    made = greengrass.deploy(group)
    greengrass.cloud.jobs.start_next("cancel-1", GREENGRASS_NAMESPACE, {})
    greengrass.api.cancel_deployment(deploymentId=made["deploymentId"])
    assert job_of(greengrass, "cancel-1").status == "IN_PROGRESS"
    assert job_of(greengrass, "cancel-2") is None
    assert _status(greengrass, made) == "CANCELED"
    with pytest.raises(ClientError, match="ConflictException"):
        greengrass.api.cancel_deployment(deploymentId=made["deploymentId"])


def test_an_active_deployment_cannot_be_deleted(greengrass: Any) -> None:
    group = greengrass.group("delete", "delete-1")
    made = greengrass.deploy(group)
    with pytest.raises(ClientError, match="ConflictException"):
        greengrass.api.delete_deployment(deploymentId=made["deploymentId"])
    greengrass.api.cancel_deployment(deploymentId=made["deploymentId"])
    greengrass.api.delete_deployment(deploymentId=made["deploymentId"])
    with pytest.raises(ClientError, match="ResourceNotFound"):
        greengrass.api.get_deployment(deploymentId=made["deploymentId"])
    assert greengrass.deploy(group)
    revision = greengrass.api.list_deployments(targetArn=group)["deployments"][0]["revisionId"]
    assert revision == "2"


def test_a_subdeployment_belongs_to_one_parent(greengrass: Any) -> None:
    parent, other = greengrass.group("parent"), greengrass.group("other")
    canary = greengrass.group("canary", "canary-1")
    api = greengrass.api
    made = api.create_deployment(targetArn=canary, parentTargetArn=parent)
    document = json.loads(job_of(greengrass, "canary-1").document)
    assert document["parentTargetArn"] == parent
    listed = api.list_deployments(parentTargetArn=parent)["deployments"]
    assert [d["deploymentId"] for d in listed] == [made["deploymentId"]]
    assert listed[0]["parentTargetArn"] == parent
    for wrong in (other, canary):
        with pytest.raises(ClientError, match="ValidationException"):
            api.create_deployment(targetArn=canary, parentTargetArn=wrong)
    with pytest.raises(ClientError, match="thing group"):
        thing = greengrass.cloud.arn("iot", "thing/canary-1")
        api.create_deployment(targetArn=thing, parentTargetArn=parent)


def test_the_same_token_makes_one_deployment(greengrass: Any) -> None:
    group = greengrass.group("token")
    first = greengrass.api.create_deployment(targetArn=group, clientToken="deployment-token")
    again = greengrass.api.create_deployment(targetArn=group, clientToken="deployment-token")
    assert again["deploymentId"] == first["deploymentId"]


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"targetArn": "thinggroup/absent"}, "ResourceNotFoundException"),
        ({"targetArn": "thing/absent"}, "ResourceNotFoundException"),
        (
            {"components": {"com.absent": {"componentVersion": "1.0.0"}}},
            "ResourceNotFoundException",
        ),
        ({"components": {"com.x": {"componentVersion": "one"}}}, "ValidationException"),
        (
            {"iotJobConfiguration": {"timeoutConfig": {"inProgressTimeoutInMinutes": 10_081}}},
            "ValidationException",
        ),
        (
            {
                "iotJobConfiguration": {
                    "jobExecutionsRolloutConfig": {
                        "exponentialRate": {
                            "baseRatePerMinute": 5,
                            "incrementFactor": 2.0,
                            "rateIncreaseCriteria": {
                                "numberOfNotifiedThings": 1,
                                "numberOfSucceededThings": 1,
                            },
                        }
                    }
                }
            },
            "ValidationException",
        ),
    ],
)
def test_a_wrong_deployment_is_refused(greengrass: Any, wrong: dict[str, Any], code: str) -> None:
    if "targetArn" in wrong:
        wrong = {**wrong, "targetArn": greengrass.cloud.arn("iot", wrong["targetArn"])}
    else:
        wrong = {**wrong, "targetArn": greengrass.group("wrong")}
    with pytest.raises(ClientError) as caught:
        greengrass.api.create_deployment(**wrong)
    assert caught.value.response["Error"]["Code"] == code


def test_a_merge_that_is_no_object_is_refused(greengrass: Any) -> None:
    greengrass.component()
    group = greengrass.group("merge")
    for merge in ("[]", "{"):
        components = {
            f"com.{greengrass.name}": {
                "componentVersion": "1.0.0",
                "configurationUpdate": {"merge": merge},
            }
        }
        with pytest.raises(ClientError, match="merge is"):
            greengrass.api.create_deployment(targetArn=group, components=components)


def test_a_component_that_is_not_ready_cannot_be_deployed(greengrass: Any) -> None:
    blob = json.dumps(greengrass.recipe()).encode()
    greengrass.api.create_component_version(inlineRecipe=blob)
    with pytest.raises(ClientError, match="is REQUESTED"):
        greengrass.deploy(greengrass.group("early"), **{greengrass.name: "1.0.0"})


def test_a_large_document_is_asked_for_by_the_device(greengrass: Any) -> None:
    greengrass.component()
    group = greengrass.group("large", "large-1")
    merge = json.dumps({"value": "x" * 32_000})
    greengrass.api.create_deployment(
        targetArn=group,
        components={
            f"com.{greengrass.name}": {
                "componentVersion": "1.0.0",
                "configurationUpdate": {"merge": merge},
            }
        },
    )
    short = json.loads(job_of(greengrass, "large-1").document)
    assert (short["components"], short["requiredCapabilities"]) == ({}, ["LARGE_CONFIGURATION"])
    port = greengrass.cloud.greengrass
    whole = json.loads(port.configuration("large-1", short["configurationArn"]))
    component = whole["components"][f"com.{greengrass.name}"]
    assert component["configurationUpdate"]["merge"] == json.loads(merge)
    with pytest.raises(CloudError, match="could not be found"):
        port.configuration("large-1", short["configurationArn"] + "9")


def test_the_jobs_pace_and_abort_are_handed_on(greengrass: Any) -> None:
    things = [f"abort-{n}" for n in range(4)]
    group = greengrass.group("abort", *things)
    made = greengrass.api.create_deployment(
        targetArn=group,
        iotJobConfiguration={
            "jobExecutionsRolloutConfig": {"maximumPerMinute": 2},
            "abortConfig": {
                "criteriaList": [
                    {
                        "failureType": "FAILED",
                        "action": "CANCEL",
                        "thresholdPercentage": 50.0,
                        "minNumberOfExecutedThings": 1,
                    }
                ]
            },
        },
    )
    told = [thing for thing in things if job_of(greengrass, thing)]
    assert len(told) == 2
    greengrass.cloud.jobs.update(told[0], made["iotJobId"], "FAILED", {})
    assert _status(greengrass, made) == "CANCELED"
    assert [thing for thing in things if job_of(greengrass, thing)] == []


def _status(greengrass: Any, made: dict[str, Any]) -> str:
    found = greengrass.api.get_deployment(deploymentId=made["deploymentId"])
    return str(found["deploymentStatus"])


def _report(greengrass: Any, thing: str, arn: str, status: str) -> None:
    reported = {"fleetConfigurationArnForStatus": arn, "status": status, "statusDetails": {}}
    payload = json.dumps({"state": {"reported": reported}}).encode()
    greengrass.cloud.shadows.update(thing, DEPLOYMENT_SHADOW, payload)
