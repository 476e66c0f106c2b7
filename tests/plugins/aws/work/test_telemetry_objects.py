"""How messages lie in S3, and the topic rule that brings them there."""

from __future__ import annotations

import uuid

import pytest

from edgectl_aws_greengrass import telemetry as objects

S = 10**9
NOW = 1_790_000_000 * S


def test_a_key_says_when_and_who() -> None:
    key = f"edgectl/telemetry/plates/1790000000123-lot-7:a_b-{uuid.uuid4()}.json"
    read = objects.read_key(key)
    assert read is not None
    assert (read.thing, read.arrived_ns) == ("lot-7:a_b", 1_790_000_000_123_999_999)


@pytest.mark.parametrize("name", ["x.json", "1790000000123-d.json", "", "readme.txt"])
def test_what_no_rule_wrote_is_left_alone(name: str) -> None:
    assert objects.read_key(f"edgectl/telemetry/plates/{name}") is None


def test_keys_of_a_time_begin_at_that_time() -> None:
    key = f"p/{NOW // 10**6}-d-{uuid.uuid4()}.json"
    assert objects.first_key("p/", NOW) < key
    assert objects.first_key("p/", NOW + 10**6) > key


def test_rules_of_two_applications_have_names_of_their_own() -> None:
    names = {objects.rule_name("edgectl", "edgectl", name) for name in ("a-b", "a_b", "a.b")}
    assert len(names) == 3
    assert all(name.replace("_", "").isalnum() and len(name) <= 128 for name in names)


def test_a_rule_is_the_same_with_what_the_service_adds() -> None:
    wanted = objects.rule_payload(bucket="b", prefix="p", application="plates", role="arn:r")
    action = {"s3": {**wanted["actions"][0]["s3"], "cannedAcl": "private"}}
    present = {**wanted, "ruleName": "x", "createdAt": 1, "actions": [action]}
    assert objects.same_rule(present, wanted)
    other = objects.rule_payload(bucket="c", prefix="p", application="plates", role="arn:r")
    assert not objects.same_rule(other, wanted)
    assert not objects.same_rule({**present, "ruleDisabled": True}, wanted)
