"""What devices told, through the topic rule into the bucket, and read back."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from edgectl.api import (
    Kind,
    ProjectError,
    Provider,
    Target,
    TelemetryRecord,
    TelemetryRequest,
    to_otlp,
)
from edgectl_aws_greengrass._sdk import telemetry as reading
from edgectl_aws_greengrass._sdk.account import Account
from edgectl_aws_greengrass._sdk.pace import shared_pace
from edgectl_aws_greengrass._sdk.telemetry import ensure_rule
from edgectl_aws_greengrass.config import AwsConfig

S = 10**9


@pytest.fixture
def application(unique: str) -> str:
    return f"plates-{unique}"


@pytest.fixture
def account(site: Any, aws: Provider) -> Account:
    del aws  # it sets the environment
    return Account(
        AwsConfig(bucket="edgectl-work", telemetry_role=site.roles["rule"]), shared_pace()
    )


@pytest.fixture
def rule(account: Account, application: str) -> None:
    ensure_rule(account, application)


def record(application: str, device: str, at_ns: int, kind: Kind = Kind.EVENT) -> TelemetryRecord:
    return TelemetryRecord(
        id=str(uuid.uuid4()), kind=kind, time_unix_ns=at_ns, device=device, application=application
    )


@pytest.fixture
def told(site: Any, application: str, unique: str, rule: None) -> list[TelemetryRecord]:
    """Two devices, whose batches overlap in time; one message is sent twice."""
    del rule
    now = time.time_ns()
    one = [record(application, f"one-{unique}", now - n * S) for n in (9, 7, 5)]
    two = [record(application, f"two-{unique}", now - n * S, Kind.HEALTH) for n in (8, 6, 4)]
    site.tell(f"one-{unique}", application, to_otlp(one))
    site.tell(f"two-{unique}", application, to_otlp(two))
    site.tell(f"one-{unique}", application, to_otlp(one))
    return sorted([*one, *two], key=lambda entry: entry.time_unix_ns)


Read = Callable[..., list[TelemetryRecord]]


@pytest.fixture
def read(aws: Provider, group: Target, application: str) -> Read:
    def read(**wanted: Any) -> list[TelemetryRecord]:
        request = TelemetryRequest(target=group, application=application)
        request = msgspec.structs.replace(request, **wanted)
        return [entry for page in aws.telemetry(request) for entry in page.records]

    return read


def test_what_devices_told_comes_back_once_and_oldest_first(
    read: Read, told: list[TelemetryRecord]
) -> None:
    assert read() == told


@pytest.mark.parametrize("limit", [1, 2, 4])
def test_small_pages_give_the_same(read: Read, told: list[TelemetryRecord], limit: int) -> None:
    assert read(limit=limit) == told


def test_one_device_one_kind_and_a_time_can_be_asked_for(
    read: Read, told: list[TelemetryRecord], unique: str
) -> None:
    assert read(device=f"one-{unique}") == [r for r in told if r.device == f"one-{unique}"]
    assert read(kind=Kind.HEALTH) == [r for r in told if r.kind is Kind.HEALTH]
    assert read(since_unix_ns=told[3].time_unix_ns) == told[3:]


def test_a_device_of_another_target_is_left_out(
    read: Read, site: Any, application: str, told: list[TelemetryRecord]
) -> None:
    stranger = record(application, "stranger", time.time_ns())
    site.tell("stranger", application, to_otlp([stranger]))
    assert stranger not in read()
    assert read(device="stranger") == []
    assert read() == told


@pytest.mark.parametrize("data", [b"{}", b"[1]", b'{"resourceLogs": 3}', b'{"a": "b"}'])
def test_what_is_no_record_on_the_topic_is_left_out(
    read: Read, site: Any, application: str, unique: str, told: list[TelemetryRecord], data: bytes
) -> None:
    site.tell(f"one-{unique}", application, data)
    assert read() == told


def test_many_messages_are_read_page_by_page(
    read: Read,
    site: Any,
    application: str,
    unique: str,
    rule: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    del rule
    monkeypatch.setattr(reading, "MAX_BATCHES_A_PAGE", 8)
    now = time.time_ns()
    thing = f"one-{unique}"
    wanted = []
    put = site.client("s3").put_object
    for minute in range(30, 0, -1):
        arrived = now - minute * 60 * S
        wanted.append(record(application, thing, arrived - S))
        key = f"edgectl/telemetry/{application}/{arrived // 10**6}-{thing}-{uuid.uuid4()}.json"
        put(Bucket="edgectl-work", Key=key, Body=to_otlp(wanted[-1:]))
    assert read(limit=7) == wanted
    assert read(since_unix_ns=wanted[20].time_unix_ns) == wanted[20:]


def test_the_rule_is_made_once_and_brought_up_to_date(
    account: Account, site: Any, application: str, rule: None
) -> None:
    del rule
    ensure_rule(account, application)
    rules = site.client("iot").list_topic_rules()["rules"]
    ours = [entry for entry in rules if application.replace("-", "_") in entry["ruleName"]]
    assert len(ours) == 1
    moved = msgspec.structs.replace(account.config, prefix="elsewhere")
    name = ours[0]["ruleName"]
    found = site.client("iot").get_topic_rule(ruleName=name)["rule"]
    assert found["actions"][0]["s3"]["key"].startswith(f"edgectl/telemetry/{application}/")
    ensure_rule(Account(moved, shared_pace()), application)
    assert site.client("iot").get_topic_rule(ruleName=name)["rule"] == found


def test_a_rule_that_somebody_changed_is_put_right(
    account: Account, site: Any, application: str, rule: None
) -> None:
    del rule
    iot = site.client("iot")
    rules = iot.list_topic_rules()["rules"]
    name = next(r["ruleName"] for r in rules if application.replace("-", "_") in r["ruleName"])
    found = iot.get_topic_rule(ruleName=name)["rule"]
    action = {"s3": {**found["actions"][0]["s3"], "key": "elsewhere/${timestamp()}"}}
    payload = {"sql": found["sql"], "actions": [action]}
    iot.replace_topic_rule(ruleName=name, topicRulePayload=payload)
    ensure_rule(account, application)
    again = iot.get_topic_rule(ruleName=name)["rule"]
    assert again["actions"][0]["s3"]["key"] == found["actions"][0]["s3"]["key"]


def test_without_a_role_there_is_no_rule_and_reading_says_which_setting_is_missing(
    open_aws: Any, site: Any, group: Target, application: str
) -> None:
    aws = open_aws(telemetry_role=None)
    with pytest.raises(ProjectError, match="telemetry_role"):
        list(aws.telemetry(TelemetryRequest(target=group, application=application)))
    ensure_rule(Account(AwsConfig(bucket="edgectl-work"), shared_pace()), application)
    rules = site.client("iot").list_topic_rules()["rules"]
    assert not [r for r in rules if application.replace("-", "_") in r["ruleName"]]
