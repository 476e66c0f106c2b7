"""Documented request rates, counted calls, and faults that were asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.request import Request, urlopen

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError

from edgectl.emulation import Calls
from edgectl_aws_greengrass.emulator.account import RunningAccount
from edgectl_aws_greengrass.emulator.throttle import RATES, Throttle
from edgectl_aws_greengrass.emulator.wire import ServiceError, model

Clients = Callable[..., Any]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _taken(throttle: Throttle, service: str, operation: str, calls: int) -> int:
    taken = 0
    for _ in range(calls):
        try:
            throttle.take(service, operation)
        except ServiceError:
            continue
        taken += 1
    return taken


def test_the_greengrass_control_plane_takes_30_calls_a_second_over_all_operations() -> None:
    clock = Clock()
    throttle = Throttle(clock=clock)
    first = _taken(throttle, "greengrassv2", "GetDeployment", 20)
    assert first + _taken(throttle, "greengrassv2", "ListDeployments", 20) == 30
    clock.now += 0.5
    assert _taken(throttle, "greengrassv2", "ListDeployments", 40) == 15


def test_component_versions_are_made_one_a_second() -> None:
    clock = Clock()
    throttle = Throttle(clock=clock)
    assert _taken(throttle, "greengrassv2", "CreateComponentVersion", 5) == 1
    clock.now += 0.9
    assert _taken(throttle, "greengrassv2", "CreateComponentVersion", 5) == 0
    clock.now += 0.1
    assert _taken(throttle, "greengrassv2", "CreateComponentVersion", 5) == 1


def test_a_refused_call_costs_nothing() -> None:
    clock = Clock()
    throttle = Throttle({"greengrassv2": 2.0, "greengrassv2.CreateComponentVersion": 1.0}, clock)
    assert _taken(throttle, "greengrassv2", "CreateComponentVersion", 9) == 1
    assert _taken(throttle, "greengrassv2", "GetDeployment", 9) == 1


def test_every_rate_is_of_an_operation_that_exists() -> None:
    for name in RATES:
        service, operation = name.split(".")
        assert operation in model(service).operation_names


@pytest.mark.parametrize(("service", "status"), [("greengrassv2", 429), ("iot", 400)])
def test_a_throttled_call_has_the_services_own_status(
    account: RunningAccount, clients: Clients, service: str, status: int
) -> None:
    account.cloud.throttle.rates = {service: 0.001}
    try:
        client = clients(service)
        call = client.list_components if service == "greengrassv2" else client.list_things
        call()
        with pytest.raises(ClientError) as caught:
            call()
    finally:
        account.cloud.throttle.rates = {}
    answer = caught.value.response
    assert answer["Error"]["Code"] == "ThrottlingException"
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == status


def test_the_clients_retry_survives_throttling(account: RunningAccount, clients: Clients) -> None:
    patient = clients("greengrassv2", config=Config(retries={"total_max_attempts": 6}))
    account.cloud.throttle.rates = {"greengrassv2.ListComponents": 2.0}
    try:
        answers = [patient.list_components() for _ in range(4)]
    finally:
        account.cloud.throttle.rates = {}
    assert any(answer["ResponseMetadata"]["RetryAttempts"] for answer in answers)


def test_calls_are_counted_with_their_peak(account: RunningAccount, clients: Clients) -> None:
    control = f"{account.url}/_edgectl/calls"
    with urlopen(Request(control, method="DELETE")):
        pass
    for _ in range(3):
        clients("iot").list_things()
    with urlopen(control) as answer:
        counts = json.load(answer)
    assert counts["total"] == {"iot.ListThings": 3}
    assert 1 <= counts["peak_per_second"]["iot.ListThings"] <= 3


def test_calls_that_were_too_many_are_counted_apart(
    account: RunningAccount, clients: Clients
) -> None:
    once = clients("iot", config=Config(retries={"total_max_attempts": 1}))
    account.cloud.calls.reset()
    account.cloud.throttle.rates = {"iot.ListThings": 0.001}
    try:
        once.list_things()
        with pytest.raises(ClientError, match="ThrottlingException"):
            once.list_things()
    finally:
        account.cloud.throttle.rates = {}
    counts = account.cloud.calls.counts()
    assert (counts.total, counts.throttled) == ({"iot.ListThings": 2}, {"iot.ListThings": 1})


def test_the_peak_is_of_any_second() -> None:
    clock = Clock()
    calls = Calls(clock)
    for at in (0.0, 0.4, 0.9, 1.1, 1.3, 5.0):
        clock.now = 100.0 + at
        calls.count("iot", "ListThings")
    assert calls.counts().peak_per_second["iot"] == 4


def test_a_fault_hits_the_calls_that_it_is_for_and_ends(
    account: RunningAccount, clients: Clients
) -> None:
    _fault(account, operation="iot.List*", code="ServiceUnavailableException", status=503, skip=1)
    iot = clients("iot")
    iot.list_things()
    with pytest.raises(ClientError, match="ServiceUnavailable"):
        iot.list_thing_groups()
    iot.list_things()


def test_a_fault_without_a_code_cuts_the_connection(
    account: RunningAccount, clients: Clients
) -> None:
    _fault(account, operation="sts.GetCallerIdentity")
    with pytest.raises(ConnectionClosedError):
        clients("sts").get_caller_identity()
    assert clients("sts").get_caller_identity()["Account"] == account.cloud.account


@pytest.mark.parametrize(
    ("service", "operation"),
    [("iot", "list_ota_updates"), ("greengrassv2", "get_connectivity_info")],
)
def test_what_nobody_built_is_refused_by_name(
    clients: Clients, service: str, operation: str
) -> None:
    arguments = {"thingName": "t"} if service == "greengrassv2" else {}
    with pytest.raises(ClientError) as caught:
        getattr(clients(service), operation)(**arguments)
    assert caught.value.response["Error"]["Code"] == "NotImplemented"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501


def test_faults_are_cleared(account: RunningAccount, clients: Clients) -> None:
    _fault(account, operation="*", code="InternalFailure", status=500, times=None)
    with urlopen(Request(f"{account.url}/_edgectl/faults", method="DELETE")):
        pass
    clients("iot").list_things()


def _fault(account: RunningAccount, **fault: Any) -> None:
    body = json.dumps(fault).encode()
    with urlopen(Request(f"{account.url}/_edgectl/faults", data=body, method="POST")):
        pass
