"""What a limited user may do is what its policies say, with dependent actions and resources."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from botocore.exceptions import ClientError

from edgectl_aws_greengrass.emulator.account import RunningAccount
from edgectl_aws_greengrass.emulator.policy import allows

Clients = Callable[..., Any]
_names = count()


@pytest.fixture
def limited(account: RunningAccount) -> Iterator[Callable[..., dict[str, str]]]:
    """Make a user that may do what the statements say; return its keys for a client."""

    def make(*statements: dict[str, Any]) -> dict[str, str]:
        policy = {"Version": "2012-10-17", "Statement": list(statements)}
        name = f"user-{next(_names)}"
        key, secret = account.cloud.callers.new_user(name, policy)
        return {"aws_access_key_id": key, "aws_secret_access_key": secret}

    yield make


def allow(*actions: str, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": resource, **more}


def test_a_denied_action_is_named_with_its_resource(
    clients: Clients, limited: Callable[..., Any], account: RunningAccount
) -> None:
    keys = limited(allow("iot:DescribeThing"))
    with pytest.raises(ClientError) as caught:
        clients("greengrassv2", **keys).get_deployment(deploymentId="x")
    error = caught.value.response["Error"]
    assert error["Code"] == "AccessDeniedException"
    assert "is not authorized to perform: greengrass:GetDeployment on resource:" in error["Message"]
    assert account.cloud.arn("greengrass", "deployments:x") in error["Message"]


def test_everybody_may_ask_who_it_is(clients: Clients, limited: Callable[..., Any]) -> None:
    keys = limited(allow("iot:DescribeThing"))
    assert ":user/user-" in clients("sts", **keys).get_caller_identity()["Arn"]


def test_an_object_outside_the_allowed_prefix_is_denied(
    clients: Clients, limited: Callable[..., Any]
) -> None:
    clients("s3").create_bucket(Bucket="prefixes")
    mine = clients("s3", **limited(allow("s3:PutObject", resource="arn:aws:s3:::prefixes/mine/*")))
    mine.put_object(Bucket="prefixes", Key="mine/a", Body=b"")
    with pytest.raises(ClientError, match="AccessDenied"):
        mine.put_object(Bucket="prefixes", Key="theirs/a", Body=b"")
    with pytest.raises(ClientError, match="403"):
        mine.head_object(Bucket="prefixes", Key="mine/a")


def test_a_deployment_needs_the_job_permissions_that_it_depends_on(
    clients: Clients, limited: Callable[..., Any], greengrass: Any
) -> None:
    group = greengrass.group("dependent", "dependent-1")
    without = clients("greengrassv2", **limited(allow("greengrass:*")))
    with pytest.raises(ClientError, match="iot:DescribeThingGroup"):
        without.create_deployment(targetArn=group)
    some = allow("iot:DescribeThingGroup", "iot:CreateJob", "iot:DescribeJob", "iot:CancelJob")
    enough = clients("greengrassv2", **limited(allow("greengrass:CreateDeployment"), some))
    assert enough.create_deployment(targetArn=group)["deploymentId"]


def test_membership_needs_the_thing_and_the_group(
    clients: Clients, limited: Callable[..., Any], greengrass: Any
) -> None:
    group = greengrass.group("both", "both-1")
    some = clients("iot", **limited(allow("iot:AddThingToThingGroup", resource=group)))
    with pytest.raises(ClientError, match="thing/both-1"):
        some.add_thing_to_thing_group(thingGroupName="both", thingName="both-1")


def test_tagging_at_creation_needs_its_own_permission(
    clients: Clients, limited: Callable[..., Any], greengrass: Any
) -> None:
    group = greengrass.group("tagged")
    keys = limited(allow("greengrass:CreateDeployment", "iot:*"))
    some = clients("greengrassv2", **keys)
    with pytest.raises(ClientError, match="greengrass:TagResource"):
        some.create_deployment(targetArn=group, tags={"a": "b"})
    assert some.create_deployment(targetArn=group)["deploymentId"]


def test_a_training_job_needs_pass_role(clients: Clients, limited: Callable[..., Any]) -> None:
    sagemaker = clients("sagemaker", **limited(allow("sagemaker:*")))
    role = "arn:aws:iam::123456789012:role/trainer"
    with pytest.raises(ClientError, match=f"iam:PassRole on resource: {role}"):
        sagemaker.create_training_job(
            TrainingJobName="job",
            RoleArn=role,
            OutputDataConfig={"S3OutputPath": "s3://bucket"},
        )


def test_an_artifact_that_the_creator_cannot_read_fails_the_component(
    clients: Clients,
    limited: Callable[..., Any],
    greengrass: Any,
    until: Callable[..., Any],
) -> None:
    s3 = clients("s3")
    s3.create_bucket(Bucket="unreadable")
    s3.put_object(Bucket="unreadable", Key="a", Body=b"x")
    recipe = greengrass.recipe()
    recipe["Manifests"][0]["Artifacts"] = [{"Uri": "s3://unreadable/a"}]
    keys = limited(allow("greengrass:*"))
    made = clients("greengrassv2", **keys).create_component_version(
        inlineRecipe=json.dumps(recipe).encode()
    )
    until(lambda: greengrass.state(made["arn"]) == "FAILED")
    status = greengrass.api.describe_component(arn=made["arn"])["status"]
    assert list(status["errors"]) == ["s3://unreadable/a"]


@pytest.mark.parametrize(
    ("statement", "action", "resource", "allowed"),
    [
        (allow("s3:Get*", resource="arn:aws:s3:::b/*"), "s3:GetObject", "arn:aws:s3:::b/k", True),
        (allow("S3:getobject"), "s3:GetObject", "arn:aws:s3:::b/k", True),
        (
            allow("s3:GetObject", resource="arn:aws:s3:::b/?"),
            "s3:GetObject",
            "arn:aws:s3:::b/kk",
            False,
        ),
        (allow("*", resource="arn:aws:s3:::c/*"), "s3:GetObject", "arn:aws:s3:::b/k", False),
        (
            {"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"},
            "s3:GetObject",
            "arn:aws:s3:::b/k",
            False,
        ),
        (
            {"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:s3:::b/*"},
            "s3:GetObject",
            "arn:aws:s3:::b/k",
            False,
        ),
        (
            allow("s3:GetObject", Condition={"StringEquals": {"a:b": "c"}}),
            "s3:GetObject",
            "r",
            True,
        ),
        (
            allow("s3:GetObject", Condition={"StringLike": {"a:b": "d*"}}),
            "s3:GetObject",
            "r",
            False,
        ),
        (allow("s3:GetObject", Condition={"NeverHeard": {"a:b": "c"}}), "s3:GetObject", "r", False),
        (allow("s3:GetObject", resource="arn:${a:b}"), "s3:GetObject", "arn:c", True),
        (allow("s3:GetObject", resource="arn:${no:such}"), "s3:GetObject", "arn:", False),
    ],
)
def test_a_statement_allows_what_it_says(
    statement: dict[str, Any], action: str, resource: str, allowed: bool
) -> None:
    assert allows([{"Statement": [statement]}], action, resource, {"a:b": "c"}) is allowed


def test_a_deny_wins_and_one_with_an_unknown_condition_too() -> None:
    everything = allow("*")
    deny = {"Effect": "Deny", "Action": "s3:Put*", "Resource": "*"}
    doubtful = {**deny, "Condition": {"NeverHeard": {"a:b": "c"}}}
    context = {"a:b": "c"}
    for denial in (deny, doubtful):
        documents = [{"Statement": everything}, {"Statement": [denial]}]
        assert not allows(documents, "s3:PutObject", "r", context)
        assert allows(documents, "s3:GetObject", "r", context)
