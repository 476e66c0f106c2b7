"""Scheduled jobs and direct methods, from the cloud to a device and back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import requests
from azure.iot.hub import IoTHubJobManager, IoTHubRegistryManager
from azure.iot.hub.models import CloudToDeviceMethod, JobRequest, QuerySpecification, Twin
from azure_module import Module, token, until
from msrest.exceptions import HttpOperationError

from edgectl_azure_iot_edge.emulator.account import RunningAccount
from edgectl_azure_iot_edge.emulator.hub.room import HubRoom
from edgectl_azure_iot_edge.emulator.hub.settings import HubSettings

MakeDevice = Callable[..., Any]
Connect = Callable[..., Module]
PING = CloudToDeviceMethod(method_name="ping", payload={"n": 1}, response_timeout_in_seconds=5)


def refused(work: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(HttpOperationError) as caught:
        work()
    response = caught.value.response
    return response.status_code, response.headers["iothub-errorcode"]


def update(condition: str, **tags: Any) -> JobRequest:
    return JobRequest(
        type="scheduleUpdateTwin",
        update_twin=Twin(etag="*", tags=tags),
        query_condition=condition,
        max_execution_time_in_seconds=60,
    )


def finished(jobs: IoTHubJobManager, job_id: str) -> Any:
    return until(
        lambda: jobs.get_scheduled_job(job_id), lambda j: j.status not in {"queued", "running"}
    )


@pytest.fixture
def fleet(registry: IoTHubRegistryManager, new_device: MakeDevice) -> list[str]:
    found = [new_device().device_id for _ in range(3)]
    for device_id in found[:2]:
        registry.update_twin(device_id, Twin(tags={"of": found[0]}))
    return found


def test_a_job_updates_the_twins_that_its_condition_takes(
    registry: IoTHubRegistryManager, jobs: IoTHubJobManager, fleet: list[str]
) -> None:
    taken = jobs.create_scheduled_job(fleet[0], update(f"tags.of = '{fleet[0]}'", w=1))
    assert taken.status == "queued"
    done = finished(jobs, fleet[0])
    assert (done.status, done.device_job_statistics.succeeded_count) == ("completed", 2)
    tags = [registry.get_twin(device_id).tags.get("w") for device_id in fleet]
    assert tags == [1, 1, None]


def test_a_jobs_devices_can_be_queried(
    registry: IoTHubRegistryManager, jobs: IoTHubJobManager, fleet: list[str]
) -> None:
    jobs.create_scheduled_job(fleet[1], update(f"deviceId IN ['{fleet[2]}']", w=2))
    finished(jobs, fleet[1])
    text = f"select * from devices.jobs where devices.jobs.jobId = '{fleet[1]}'"
    page = registry.protocol.query.get_twins(QuerySpecification(query=text), raw=True)
    assert page.response.headers["x-ms-item-type"] == "DeviceJob"
    (row,) = page.response.json()
    assert (row["deviceId"], row["status"], row["jobType"]) == (
        fleet[2],
        "completed",
        "scheduleUpdateTwin",
    )


def test_a_job_id_is_used_once(jobs: IoTHubJobManager, name: str) -> None:
    jobs.create_scheduled_job(name, update("deviceId = 'nobody'"))
    finished(jobs, name)
    again = lambda: jobs.create_scheduled_job(name, update("deviceId = 'nobody'"))  # noqa: E731
    assert refused(again) == (409, "JobAlreadyExists")


def test_an_unknown_job_is_answered_as_unknown(jobs: IoTHubJobManager, name: str) -> None:
    found = jobs.get_scheduled_job(name)
    assert (found.type, found.status) == ("unknown", "unknown")


def test_a_twin_job_takes_the_etag_star_only(jobs: IoTHubJobManager, name: str) -> None:
    job = update("*", a=1)
    job.update_twin.etag = "AAAAAAAAAAE="
    assert refused(lambda: jobs.create_scheduled_job(name, job)) == (400, "ArgumentInvalid")


def test_a_job_with_a_malformed_condition_is_refused(jobs: IoTHubJobManager, name: str) -> None:
    job = lambda: jobs.create_scheduled_job(name, update("tags.a ="))  # noqa: E731
    assert refused(job) == (400, "ArgumentInvalid")


def test_a_standard_hub_of_size_one_does_one_job_at_a_time(
    jobs: IoTHubJobManager, name: str
) -> None:
    later = update("deviceId = 'nobody'")
    later.start_time = "2099-01-01T00:00:00Z"
    assert jobs.create_scheduled_job(f"{name}-1", later).status == "scheduled"
    second = lambda: jobs.create_scheduled_job(f"{name}-2", update("*"))  # noqa: E731
    assert refused(second) == (429, "ThrottlingMaxActiveJobCountExceeded")
    assert jobs.cancel_scheduled_job(f"{name}-1").status == "cancelled"
    jobs.create_scheduled_job(f"{name}-2", update("deviceId = 'nobody'"))
    assert finished(jobs, f"{name}-2").status == "completed"


def test_jobs_are_listed_by_type_and_status(
    account: RunningAccount, jobs: IoTHubJobManager, name: str
) -> None:
    jobs.create_scheduled_job(name, update("deviceId = 'nobody'"))
    finished(jobs, name)
    key = account.site.find(HubRoom).hub.policies["service"].primary
    listed = requests.get(  # the SDK cannot read the list that the service answers
        f"{account.url}/jobs/v2/query",
        params={"api-version": "2021-04-12", "jobType": "scheduleUpdateTwin"},
        headers={"Authorization": token("", key, policy="service")},
        timeout=20,
    )
    assert name in [job["jobId"] for job in listed.json()]


def test_a_job_calls_a_method_and_keeps_the_answers(
    registry: IoTHubRegistryManager,
    jobs: IoTHubJobManager,
    new_device: MakeDevice,
    connect: Connect,
) -> None:
    on, off = new_device().device_id, new_device().device_id
    connect(on).methods["ping"] = lambda payload: (200, payload)
    request = JobRequest(
        type="scheduleDeviceMethod",
        cloud_to_device_method=PING,
        query_condition=f"deviceId IN ['{on}', '{off}']",
    )
    jobs.create_scheduled_job(on, request)
    done = finished(jobs, on)
    assert (done.status, done.device_job_statistics.failed_count) == ("failed", 1)
    text = f"select * from devices.jobs where jobId = '{on}'"
    page = registry.protocol.query.get_twins(QuerySpecification(query=text), raw=True)
    by_device = {row["deviceId"]: row for row in page.response.json()}
    assert by_device[on]["outcome"]["deviceMethodResponse"] == {"status": 200, "payload": {"n": 1}}
    assert by_device[off]["error"]["code"] == "404103"


def test_a_method_reaches_a_module_and_its_answer_comes_back(
    registry: IoTHubRegistryManager, new_device: MakeDevice, connect: Connect
) -> None:
    device_id = new_device().device_id
    registry.create_module_with_sas(device_id, "m", "", None, None)
    connect(f"{device_id}/m").methods["ping"] = lambda payload: (418, {"got": payload})
    answer = registry.invoke_device_module_method(device_id, "m", PING)
    assert (answer.status, answer.payload) == (418, {"got": {"n": 1}})


def test_a_device_that_is_not_connected_is_not_online(
    registry: IoTHubRegistryManager, new_device: MakeDevice
) -> None:
    device_id = new_device().device_id
    with pytest.raises(HttpOperationError) as caught:
        registry.invoke_device_method(device_id, PING)
    response = caught.value.response
    assert (response.status_code, response.headers["iothub-errorcode"]) == (404, "DeviceNotOnline")
    assert '\\"errorCode\\":404103' in response.text


def test_a_method_may_wait_for_the_device_to_connect(
    registry: IoTHubRegistryManager, new_device: MakeDevice, connect: Connect
) -> None:
    device_id = new_device().device_id
    patient = CloudToDeviceMethod(
        method_name="ping", response_timeout_in_seconds=10, connect_timeout_in_seconds=10
    )
    answers: list[Any] = []
    call = threading.Thread(
        target=lambda: answers.append(registry.invoke_device_method(device_id, patient))
    )
    call.start()
    module = connect(device_id, ready=False)
    module.methods["ping"] = lambda _: (200, "late")
    module.ready()
    call.join(20)
    assert [answer.payload for answer in answers] == ["late"]


def test_a_device_that_does_not_answer_times_out(
    account: RunningAccount,
    registry: IoTHubRegistryManager,
    new_device: MakeDevice,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgectl_azure_iot_edge.emulator.hub.methods._RESPONSE_S", range(301))
    device_id = new_device().device_id
    connect(device_id)
    quick = CloudToDeviceMethod(method_name="ping", response_timeout_in_seconds=0)
    refusal = refused(lambda: registry.invoke_device_method(device_id, quick))
    assert refusal == (504, "GatewayTimeout")


@pytest.mark.parametrize(
    "method",
    [
        CloudToDeviceMethod(method_name="", response_timeout_in_seconds=5),
        CloudToDeviceMethod(method_name="x", response_timeout_in_seconds=4),
        CloudToDeviceMethod(method_name="x", connect_timeout_in_seconds=301),
    ],
)
def test_a_method_that_cannot_be_is_refused(
    registry: IoTHubRegistryManager, new_device: MakeDevice, method: CloudToDeviceMethod
) -> None:
    device_id = new_device().device_id
    refusal = refused(lambda: registry.invoke_device_method(device_id, method))
    assert refusal == (400, "ArgumentInvalid")


def test_a_payload_has_up_to_128_kilobytes(
    registry: IoTHubRegistryManager, new_device: MakeDevice
) -> None:
    device_id = new_device().device_id
    large = CloudToDeviceMethod(method_name="x", payload="x" * (128 << 10))
    refusal = refused(lambda: registry.invoke_device_method(device_id, large))
    assert refusal == (413, "MessageTooLarge")


def test_a_jobs_devices_are_done_at_the_documented_rate(
    start_account: Callable[[HubSettings], RunningAccount], monkeypatch: pytest.MonkeyPatch
) -> None:
    account = start_account(HubSettings(throttle=True, metrics_s=3600.0))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(account.ca_file))
    hub = account.site.find(HubRoom).hub
    assert hub.rates.current["JobDevice"] == 10.0
    for _ in range(10):
        assert hub.rates.wait_s("JobDevice") == 0.0
    assert hub.rates.wait_s("JobDevice") > 0.0
