"""Request rates as documented, faults on demand, and what is counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests
from azure.iot.hub import IoTHubConfigurationManager, IoTHubRegistryManager
from azure.iot.hub.models import QuerySpecification
from azure_module import token
from msrest.exceptions import HttpOperationError

from edgectl_azure_iot_edge.emulator.account import RunningAccount
from edgectl_azure_iot_edge.emulator.hub.errors import HubError
from edgectl_azure_iot_edge.emulator.hub.rates import Rates, rates
from edgectl_azure_iot_edge.emulator.hub.room import HubRoom
from edgectl_azure_iot_edge.emulator.hub.settings import HubSettings

MakeAccount = Callable[[HubSettings], RunningAccount]
THROTTLED = (429, "ThrottlingBacklogTimeout")


@pytest.fixture
def strict(start_account: MakeAccount, monkeypatch: pytest.MonkeyPatch) -> RunningAccount:
    found = start_account(HubSettings(metrics_s=3600.0))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(found.ca_file))
    return found


def owner(account: RunningAccount) -> str:
    return account.site.find(HubRoom).connection_string("iothubowner")


def refusal(work: Callable[[], object]) -> Any:
    with pytest.raises(HttpOperationError) as caught:
        work()
    return caught.value.response


def verdict(response: Any) -> tuple[int, str]:
    return response.status_code, response.headers["iothub-errorcode"]


def statistics(account: RunningAccount) -> requests.Response:
    """Ask once: the SDK would try again by itself."""
    key = account.site.find(HubRoom).hub.policies["iothubowner"].primary
    return requests.get(
        f"{account.url}/statistics/devices",
        params={"api-version": "2021-04-12"},
        headers={"Authorization": token("", key, policy="iothubowner")},
        timeout=20,
    )


def post(account: RunningAccount, **fault: Any) -> None:
    answer = requests.post(f"{account.url}/emulator/faults", json=fault, timeout=20)
    assert answer.status_code == 200, answer.text


def test_twenty_configuration_calls_and_twenty_queries_a_minute(strict: RunningAccount) -> None:
    deployments = IoTHubConfigurationManager.from_connection_string(owner(strict))
    registry = IoTHubRegistryManager.from_connection_string(owner(strict))
    for _ in range(20):
        deployments.get_configurations()
        registry.query_iot_hub(QuerySpecification(query="select * from devices"))
    response = refusal(deployments.get_configurations)
    assert verdict(response) == THROTTLED
    assert "Operation type: ConfigurationRead" in response.json()["Message"]
    # a real hub sends no Retry-After with its 429, and closes the connection
    assert "Retry-After" not in response.headers
    query = QuerySpecification(query="select * from devices")
    assert verdict(refusal(lambda: registry.query_iot_hub(query))) == THROTTLED
    counts = requests.get(f"{strict.url}/emulator/calls", timeout=20).json()
    assert counts["peak_per_minute"]["rate.Query"] == 21
    assert counts["throttled"] == {"hub.ListConfigurations": 1, "hub.QueryTwins": 1}


@pytest.mark.parametrize(
    ("tier", "units", "kind", "a_minute"),
    [
        ("S1", 1, "Registry", 100),
        ("S2", 3, "Registry", 300),
        ("S3", 1, "Registry", 5000),
        ("S1", 2, "Query", 40),
        ("S3", 1, "Query", 1000),
        ("S3", 4, "Configuration", 80),
        ("S1", 1, "TwinWrite", 3000),
        ("S2", 20, "TwinWrite", 6000),
        ("S3", 1, "TwinRead", 30000),
        ("S1", 1, "DirectMethod", 2400),
    ],
)
def test_rates_are_as_documented(tier: Any, units: int, kind: str, a_minute: float) -> None:
    found = rates(HubSettings(tier=tier, units=units))[kind]
    assert round(found * 60) == a_minute


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ({"code": "ServerError", "status": 500}, 500),
        ({"code": "ServiceUnavailable", "status": 503, "retry_after_s": 3}, 503),
        ({"code": "ThrottlingException", "status": 429}, 429),
        ({"code": "PreconditionFailed", "status": 412}, 412),
    ],
)
def test_a_call_can_be_made_to_fail_once(
    account: RunningAccount, fault: dict[str, Any], status: int
) -> None:
    post(account, operation="hub.GetDeviceStatistics", message="on demand", **fault)
    response = statistics(account)
    assert verdict(response) == (status, fault["code"])
    assert response.headers.get("Retry-After") == ("3" if "retry_after_s" in fault else None)
    assert statistics(account).status_code == 200


def test_a_connection_can_be_cut(account: RunningAccount) -> None:
    post(account, operation="hub.GetDeviceStatistics", times=1)
    with pytest.raises(requests.ConnectionError):
        statistics(account)
    assert statistics(account).status_code == 200


def test_a_fault_that_is_none_is_refused(account: RunningAccount) -> None:
    answer = requests.post(f"{account.url}/emulator/faults", json={"operation": 1}, timeout=20)
    assert answer.status_code == 400


def test_nothing_is_below_the_control_routes_but_what_is_known(account: RunningAccount) -> None:
    assert requests.get(f"{account.url}/emulator/nothing", timeout=20).status_code == 404


def test_what_is_over_the_rate_of_a_second_waits_and_is_refused_when_it_waits_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = Rates(HubSettings())
    found.replace({"TwinWrite": 20.0})
    for _ in range(30):
        found.take("TwinWrite", "TwinWrite")
    monkeypatch.setattr("edgectl_azure_iot_edge.emulator.hub.rates.MAX_QUEUED_S", 0.0)
    with pytest.raises(HubError) as caught:
        for _ in range(30):
            found.take("TwinWrite", "TwinWrite")
    assert caught.value.code == "ThrottlingBacklogTimeout"
