"""Topic rules: what they take, what they do, and that an unknown kind is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from edgectl_aws_greengrass.emulator.account import RunningAccount
from edgectl_aws_greengrass.emulator.iot.rules import topic_matches

Clients = Callable[..., Any]


def role(clients: Clients, name: str, *actions: str, service: str = "iot") -> str:
    trust = {
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Principal": {"Service": f"{service}.amazonaws.com"},
    }
    iam = clients("iam")
    arn: str = iam.create_role(RoleName=name, AssumeRolePolicyDocument=_policy(trust))["Role"][
        "Arn"
    ]
    if actions:
        allow = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
        iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=_policy(allow))
    return arn


def _policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def create(clients: Clients, name: str, sql: str, **action: Any) -> None:
    payload = {"sql": sql, "actions": [action], "ruleDisabled": False}
    clients("iot").create_topic_rule(ruleName=name, topicRulePayload=payload)


def test_a_message_becomes_an_object_named_by_time_topic_and_id(
    account: RunningAccount, clients: Clients
) -> None:
    s3 = clients("s3")
    s3.create_bucket(Bucket="from-rules")
    arn = role(clients, "to-s3", "s3:PutObject")
    key = "t/${timestamp()}-${topic(2)}-${newuuid()}-${clientid()}.json"
    to_s3 = {"roleArn": arn, "bucketName": "from-rules", "key": key}
    create(clients, "to_s3", "SELECT * FROM 'edge/+/telemetry'", s3=to_s3)
    account.cloud.publish("edge/thing-1/telemetry", b'{"a": 1}', "thing-1")
    account.cloud.publish("edge/thing-1/other", b'{"a": 2}', "thing-1")
    (found,) = s3.list_objects_v2(Bucket="from-rules")["Contents"]
    stamp, *middle = found["Key"].removeprefix("t/").split("-")
    assert stamp.isdigit()
    assert "-".join(middle).startswith("thing-1-")
    assert found["Key"].endswith("-thing-1.json")
    content = s3.get_object(Bucket="from-rules", Key=found["Key"])["Body"].read()
    assert content == b'{"a": 1}'


def test_a_message_is_published_again(account: RunningAccount, clients: Clients) -> None:
    heard: list[tuple[str, bytes]] = []
    account.cloud.on_publish(lambda topic, payload: heard.append((topic, payload)))
    arn = role(clients, "again", "iot:Publish")
    again = {"roleArn": arn, "topic": "copy/${topic(2)}"}
    create(clients, "again", "select * from 'orig/#'", republish=again)
    account.cloud.publish("orig/a/b", b"1", "thing")
    assert heard == [("copy/a", b"1")]


def test_a_message_through_the_api_reaches_rules_and_devices(
    account: RunningAccount, clients: Clients
) -> None:
    heard: list[str] = []
    account.cloud.on_publish(lambda topic, _: heard.append(topic))
    clients("s3").create_bucket(Bucket="api-rules")
    arn = role(clients, "api-s3", "s3:PutObject")
    to_s3 = {"roleArn": arn, "bucketName": "api-rules", "key": "k"}
    create(clients, "api_s3", "SELECT * FROM 'from/api'", s3=to_s3)
    clients("iot-data").publish(topic="from/api", payload=b"{}")
    assert heard == ["from/api"]
    assert clients("s3").list_objects_v2(Bucket="api-rules")["KeyCount"] == 1


def test_a_rule_whose_role_may_not_write_fails_silently(
    account: RunningAccount, clients: Clients
) -> None:
    clients("s3").create_bucket(Bucket="silent-rules")
    arn = role(clients, "powerless")
    to_s3 = {"roleArn": arn, "bucketName": "silent-rules", "key": "k"}
    create(clients, "silent", "SELECT * FROM 'silent'", s3=to_s3)
    account.cloud.publish("silent", b"{}", "thing")
    account.cloud.publish("silent", b"not json", "thing")
    assert clients("s3").list_objects_v2(Bucket="silent-rules")["KeyCount"] == 0
    mine = [text for text in account.cloud.rules.failures if text.startswith("silent:")]
    assert "s3:PutObject" in mine[0]
    assert len(mine) == 2


def test_a_disabled_rule_does_nothing(account: RunningAccount, clients: Clients) -> None:
    clients("s3").create_bucket(Bucket="disabled-rules")
    arn = role(clients, "disabled", "s3:PutObject")
    to_s3 = {"roleArn": arn, "bucketName": "disabled-rules", "key": "k"}
    create(clients, "disabled", "SELECT * FROM 'disabled'", s3=to_s3)
    clients("iot").disable_topic_rule(ruleName="disabled")
    account.cloud.publish("disabled", b"{}", "thing")
    assert clients("s3").list_objects_v2(Bucket="disabled-rules")["KeyCount"] == 0


def test_what_is_not_understood_is_refused(clients: Clients) -> None:
    arn = role(clients, "refused", "s3:PutObject")
    to_s3 = {"roleArn": arn, "bucketName": "b", "key": "k"}
    with pytest.raises(ClientError, match="SqlParse"):
        create(clients, "r1", "SELECT a FROM 'b'", s3=to_s3)
    with pytest.raises(ClientError, match="no rule action"):
        create(clients, "r2", "SELECT * FROM 'b'", sns={"roleArn": arn, "targetArn": "t"})
    with pytest.raises(ClientError, match="cannot substitute"):
        wrong = {**to_s3, "key": "${get_thing_shadow()}"}
        create(clients, "r3", "SELECT * FROM 'b'", s3=wrong)
    other = role(clients, "of-lambda", service="lambda")
    with pytest.raises(ClientError, match="unable to assume"):
        create(clients, "r4", "SELECT * FROM 'b'", s3={**to_s3, "roleArn": other})


@pytest.mark.parametrize(
    ("wanted", "topic", "matches"),
    [
        ("a/+/c", "a/b/c", True),
        ("a/+/c", "a/b/d", False),
        ("a/+", "a/b/c", False),
        ("a/#", "a/b/c", True),
        ("a/#", "a", True),
        ("a/b", "a/b", True),
        ("+/+", "a", False),
    ],
)
def test_topic_filters(wanted: str, topic: str, *, matches: bool) -> None:
    assert topic_matches(wanted, topic) is matches
