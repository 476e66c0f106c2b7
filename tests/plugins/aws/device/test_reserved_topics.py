"""Jobs, shadows and fleet status over MQTT, as the nucleus uses them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from aws_cloud import FakeCloud
from aws_mqtt import Device

from edgectl.emulation import mqtt
from edgectl_aws_greengrass.emulator.broker import reserved, topics

MakeDevice = Callable[..., Device]
JOBS = "$aws/things/core-1/jobs"
NS = "namespace-aws-gg-deployment"
SHADOW = "$aws/things/core-1/shadow/name/AWSManagedGreengrassV2Deployment"


def test_the_next_job_is_described_with_its_document(device: MakeDevice, cloud: FakeCloud) -> None:
    cloud.jobs.add("core-1", "job-1", {"deploymentId": "d-1"})
    client = device()
    client.subscribe(f"{JOBS}/$next/{NS}/get/accepted")
    client.publish(f"{JOBS}/$next/{NS}/get", {"includeJobDocument": True, "clientToken": "t-1"})
    topic, answer = client.next()
    execution = answer["execution"]
    assert topic == f"{JOBS}/$next/{NS}/get/accepted"
    assert answer["clientToken"] == "t-1"
    assert execution["jobDocument"] == {"deploymentId": "d-1"}
    assert (execution["jobId"], execution["status"]) == ("job-1", "QUEUED")
    assert isinstance(execution["queuedAt"], int)
    assert (execution["versionNumber"], execution["executionNumber"]) == (1, 1)


def test_without_a_job_there_is_no_execution_key(device: MakeDevice) -> None:
    client = device()
    client.subscribe(f"{JOBS}/$next/{NS}/get/accepted")
    client.publish(f"{JOBS}/$next/{NS}/get", {"clientToken": "t"})
    assert set(client.next()[1]) == {"timestamp", "clientToken"}


def test_a_job_is_updated_with_a_version_that_is_text_as_nucleus_lite_sends_it(
    device: MakeDevice, cloud: FakeCloud
) -> None:
    cloud.jobs.add("core-1", "job-1", {})
    client = device()
    client.subscribe(f"{JOBS}/job-1/{NS}/update/+")
    client.publish(
        f"{JOBS}/job-1/{NS}/update",
        {"status": "IN_PROGRESS", "expectedVersion": "1", "clientToken": "jobs-nucleus-lite"},
    )
    topic, answer = client.next()
    assert topic.endswith("/update/accepted")
    assert answer["clientToken"] == "jobs-nucleus-lite"
    assert cloud.jobs.get("core-1", "job-1").status == "IN_PROGRESS"


def test_a_stale_version_is_rejected_with_the_present_state(
    device: MakeDevice, cloud: FakeCloud
) -> None:
    cloud.jobs.add("core-1", "job-1", {})
    cloud.jobs.update("core-1", "job-1", "IN_PROGRESS", {"a": "b"})
    client = device()
    client.subscribe(f"{JOBS}/job-1/{NS}/update/rejected")
    client.publish(f"{JOBS}/job-1/{NS}/update", {"status": "SUCCEEDED", "expectedVersion": 1})
    answer = client.next()[1]
    assert answer["code"] == "VersionMismatch"
    assert answer["executionState"] == {
        "status": "IN_PROGRESS",
        "statusDetails": {"a": "b"},
        "versionNumber": 2,
    }


def test_an_update_of_an_ended_job_is_rejected(device: MakeDevice, cloud: FakeCloud) -> None:
    cloud.jobs.add("core-1", "job-1", {})
    cloud.jobs.cancel("core-1", "job-1")
    client = device()
    client.subscribe(f"{JOBS}/job-1/{NS}/update/rejected")
    client.publish(f"{JOBS}/job-1/{NS}/update", {"status": "SUCCEEDED", "clientToken": "x"})
    answer = client.next()[1]
    assert (answer["code"], answer["clientToken"]) == ("InvalidStateTransition", "x")


def test_text_that_is_no_json_is_rejected(device: MakeDevice) -> None:
    client = device()
    client.subscribe(f"{JOBS}/$next/{NS}/get/rejected")
    client.publish(f"{JOBS}/$next/{NS}/get", b"{")
    assert client.next()[1]["code"] == "InvalidJson"


def test_a_new_job_is_told_on_both_notice_topics(device: MakeDevice, cloud: FakeCloud) -> None:
    client = device()
    client.subscribe(f"{JOBS}/notify-{NS}", f"{JOBS}/notify-next-{NS}")
    cloud.jobs.add("core-1", "job-1", {"deploymentId": "d-1"})
    told = dict([client.next(), client.next()])
    assert [job["jobId"] for job in told[f"{JOBS}/notify-{NS}"]["jobs"]["QUEUED"]] == ["job-1"]
    following = told[f"{JOBS}/notify-next-{NS}"]["execution"]
    assert following["jobDocument"] == {"deploymentId": "d-1"}


def test_the_end_of_the_last_job_is_told_without_an_execution(
    device: MakeDevice, cloud: FakeCloud
) -> None:
    cloud.jobs.add("core-1", "job-1", {})
    client = device()
    client.subscribe(f"{JOBS}/notify-next-{NS}", f"{JOBS}/$next/{NS}/get/accepted")
    client.publish(f"{JOBS}/$next/{NS}/get", {})  # what is there at subscription is known by now
    client.next()
    cloud.jobs.cancel("core-1", "job-1")
    topic, told = client.next()
    assert topic == f"{JOBS}/notify-next-{NS}"
    assert "execution" not in told


def test_a_job_in_progress_is_not_told_again(device: MakeDevice, cloud: FakeCloud) -> None:
    client = device()
    client.subscribe(f"{JOBS}/notify-next-{NS}")
    cloud.jobs.add("core-1", "job-1", {})
    assert client.next()[1]["execution"]["jobId"] == "job-1"
    cloud.jobs.update("core-1", "job-1", "IN_PROGRESS", None)
    cloud.jobs.add("core-1", "job-2", {})
    cloud.jobs.update("core-1", "job-1", "SUCCEEDED", None)
    assert client.next()[1]["execution"]["jobId"] == "job-2"


def test_pending_jobs_and_start_next(device: MakeDevice, cloud: FakeCloud) -> None:
    cloud.jobs.add("core-1", "job-1", {"x": 1})
    client = device()
    client.subscribe(f"{JOBS}/get/accepted", f"{JOBS}/start-next/accepted")
    client.publish(f"{JOBS}/get", {"clientToken": "a"})
    assert [job["jobId"] for job in client.next()[1]["queuedJobs"]] == ["job-1"]
    client.publish(f"{JOBS}/start-next", {"statusDetails": {"k": "v"}})
    execution = client.next()[1]["execution"]
    assert (execution["status"], execution["statusDetails"]) == ("IN_PROGRESS", {"k": "v"})


def test_a_named_shadow_is_got_updated_and_deleted(device: MakeDevice, cloud: FakeCloud) -> None:
    client = device()
    client.subscribe(f"{SHADOW}/get/+", f"{SHADOW}/update/+", f"{SHADOW}/delete/+")
    client.publish(f"{SHADOW}/get", {"clientToken": "t"})
    topic, answer = client.next()
    assert topic == f"{SHADOW}/get/rejected"
    assert (answer["code"], answer["clientToken"]) == (404, "t")
    client.publish(f"{SHADOW}/update", {"state": {"reported": {"status": "SUCCEEDED"}}})
    assert client.next()[0] == f"{SHADOW}/update/accepted"
    client.publish(f"{SHADOW}/get", b"")
    assert client.next()[1]["state"] == {"reported": {"status": "SUCCEEDED"}}
    client.publish(f"{SHADOW}/update", {"state": {}, "version": 7})
    topic, answer = client.next()
    assert (topic, answer["code"]) == (f"{SHADOW}/update/rejected", 409)
    client.publish(f"{SHADOW}/delete", b"")
    assert client.next()[0] == f"{SHADOW}/delete/accepted"


def test_fleet_status_goes_to_the_service_and_to_no_rule(
    device: MakeDevice, cloud: FakeCloud, until: Any
) -> None:
    topic = "$aws/things/core-1/greengrassv2/health/json"
    device().publish(topic, {"thing": "core-1", "ggcVersion": "2.6"})
    until(lambda: cloud.greengrass.health == [{"thing": "core-1", "ggcVersion": "2.6"}])
    assert cloud.published == []


@pytest.mark.parametrize(
    ("topic", "found"),
    [
        (f"{JOBS}/$next/{NS}/get", "DescribeJob"),
        (f"{JOBS}/j/get", "DescribeJob"),
        (f"{JOBS}/j/{NS}/update", "UpdateJob"),
        (f"{JOBS}/get", "PendingJobs"),
        (f"{JOBS}/start-next", "StartNextJob"),
        ("$aws/things/t/shadow/get", "Shadow"),
        ("$aws/things/t/shadow/name/n/update", "Shadow"),
        ("$aws/things/t/greengrassv2/health/json", "Health"),
        (f"{JOBS}/j/{NS}/get/accepted", "NoneType"),
        ("$aws/things/t/shadow/name/n/update/delta", "NoneType"),
        ("site/things/t/jobs/get", "NoneType"),
    ],
)
def test_a_topic_says_what_it_asks_for(topic: str, found: str) -> None:
    assert type(reserved.parse(topic)).__name__ == found


@pytest.mark.parametrize(
    ("name", "topic", "taken"),
    [
        ("a/+/c", "a/b/c", True),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("#", "$aws/things/x", False),
        ("+/things", "$aws/things", False),
        ("a/+", "a/b/c", False),
        ("a/b", "a/b/c", False),
        ("+", "", True),
    ],
)
def test_filters_and_topics_meet_as_mqtt_says(name: str, topic: str, taken: bool) -> None:
    assert mqtt.topics.matches(name, topic) is taken


def test_reserved_topics_may_have_more_levels() -> None:
    assert not topics.topic_fault(f"{SHADOW}/a/b/c/d/e/f/g")
    assert topics.topic_fault("a/b/c/d/e/f/g/h/i")
    assert not topics.topic_fault("$aws/rules/rule/a/b/c/d/e/f/g/h")
