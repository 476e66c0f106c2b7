"""``telemetry`` reads back from the built-in endpoint what devices told, oldest first."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from azure_endpoint import NAME, Endpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_components.contract.telemetry import to_otlp
from edgectl import api
from edgectl.api import (
    AuthError,
    Kind,
    ProjectError,
    TelemetryRecord,
    TelemetryRequest,
    read_telemetry_cursor,
    record_page,
    records_in_order,
)
from edgectl_azure_iot_edge._sdk import endpoint as places
from edgectl_azure_iot_edge._sdk import telemetry as reading
from edgectl_azure_iot_edge._sdk.account import Account
from edgectl_azure_iot_edge._sdk.hub import CONNECTION_VARIABLE
from edgectl_azure_iot_edge._sdk.pace import Pace
from edgectl_azure_iot_edge._sdk.sas import parse_connection_string
from edgectl_azure_iot_edge.config import AzureConfig
from edgectl_azure_iot_edge.limits import documented_rates
from edgectl_azure_iot_edge.telemetry import (
    Arrival,
    known_until,
    parse_endpoint,
    records_of,
)

S = 10**9


def record(number: int, at_ns: int, **more: Any) -> TelemetryRecord:
    given_ = {"kind": Kind.EVENT, "application": "plates", "device": "d1", **more}
    return TelemetryRecord(id=f"r{number:04}", time_unix_ns=at_ns, **given_)


def test_what_is_not_telemetry_of_ours_is_left_out() -> None:
    for body in (b"", b"{}", b"not json", b'{"resourceLogs": 3}', b"\xff" * 10, b"x" * 300_000):
        assert records_of(Arrival(device="d1", at_ns=1, body=body)) == []


def test_the_hub_says_whose_records_they_are() -> None:
    body = to_otlp([record(1, 5, device="somebody-else")])
    assert [one.record.device for one in records_of(Arrival(device="d1", at_ns=9, body=body))] == [
        "d1"
    ]


ARRIVALS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 200), st.integers(0, 200)), max_size=14
)


@settings(max_examples=40)
@given(ARRIVALS, st.integers(1, 7), st.data())
def test_pages_are_the_whole_in_order_whatever_was_read_when(
    told: list[tuple[int, int, int]], limit: int, data: st.DataObject
) -> None:
    partitions: dict[str, list[Arrival]] = {str(number): [] for number in range(4)}
    for number, (partition, at_s, delay_s) in enumerate(sorted(told, key=lambda t: t[1] + t[2])):
        body = to_otlp([record(number, (1000 + at_s) * S)])
        arrival = Arrival(device="d1", at_ns=(1000 + at_s + delay_s) * S, body=body)
        partitions[str(partition)].append(arrival)
    whole = [one for a in partitions.values() for arrival in a for one in records_of(arrival)]
    expected = [one.record.id for one in sorted(whole, key=lambda one: one.place)]
    found: list[str] = []
    cursor = ""
    come = dict.fromkeys(partitions, 0)
    for _ in range(200):
        for name, arrivals in partitions.items():
            come[name] += data.draw(st.integers(1, 3)) if come[name] < len(arrivals) else 0
        behind = {
            name: None
            if come[name] >= len(arrivals)
            else (arrivals[come[name] - 1].at_ns if come[name] else 0)
            for name, arrivals in partitions.items()
        }
        placed = [one for n, a in partitions.items() for x in a[: come[n]] for one in records_of(x)]
        request = TelemetryRequest(target=TARGET, application="plates", limit=limit, cursor=cursor)
        until = known_until(behind)
        if until is not None and until <= read_telemetry_cursor(cursor).time_ns:
            continue
        page = record_page(records_in_order(placed, request, {"d1"}), limit, until)
        assert len(page.records) <= limit
        found += [one.id for one in page.records]
        cursor = page.next
        if not cursor:
            break
    assert found == expected


TARGET = api.Target(name="lots", provider="azure", selector={"devices": ["d1"]})


def test_a_connection_string_is_read_and_never_shown() -> None:
    found = parse_endpoint(
        "Endpoint=sb://ns.example/;SharedAccessKeyName=service;SharedAccessKey=c2VjcmV0;"
        "EntityPath=hub-1"
    )
    assert found is not None
    assert (found.host, found.port, found.name, found.policy) == (
        "ns.example",
        0,
        "hub-1",
        "service",
    )
    assert found.key == "c2VjcmV0"
    assert "c2VjcmV0" not in repr(found)
    assert parse_endpoint("HostName=hub.example;SharedAccessKey=x") is None


class Fleet:
    """A target with devices that tell what a test says."""

    def __init__(self, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
        self.endpoint = endpoint
        self.site = f"site-{secrets.token_hex(4)}"
        self.application = f"app-{secrets.token_hex(4)}"
        self.target = api.Target(
            name="lots", provider="azure", selector={"tags": {"site": self.site}}
        )
        self._numbers = 0
        for name, value in endpoint.account.settings().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(reading, "_LOGS", {})
        monkeypatch.setattr(places, "_KNOWN", {})

    def account(self, **config: Any) -> Account:
        settings = {
            "subscription_id": "s",
            "resource_group": "r",
            "iot_hub": self.endpoint.site.hub,
            "tier": "S3",
            "units": 200,
            **config,
        }
        found = msgspec.convert(settings, AzureConfig)
        return Account(found, Pace(documented_rates("S3", 200)))

    def add(self, name: str) -> str:
        registry = self.endpoint.hub.hub.registry
        device = f"{name}-{self.site}"
        registry.put_device(device, {"deviceId": device, "capabilities": {"iotEdge": True}}, None)
        registry.patch_twin(device, None, {"tags": {"site": self.site}}, None)
        return device

    def tell(self, device: str, *ages_s: float, **more: Any) -> list[TelemetryRecord]:
        """Have a device send one message with records of these ages."""
        now = time.time_ns()
        records = []
        for age in ages_s:
            self._numbers += 1
            fields = {"application": self.application, "device": device, **more}
            records.append(record(self._numbers, now - int(age * S), **fields))
        self.endpoint.tell(device, to_otlp(records))
        return records

    def read(self, account: Account | None = None, **wanted_: Any) -> list[TelemetryRecord]:
        """Read all pages."""
        account = account or self.account()
        fields = {"target": self.target, "application": self.application, **wanted_}
        request = TelemetryRequest(**fields)
        found: list[TelemetryRecord] = []
        while True:
            answer = reading.telemetry(account, request)
            assert len(answer.records) <= request.limit
            found += answer.records
            if not answer.next:
                return found
            request = msgspec.structs.replace(request, cursor=answer.next)


@pytest.fixture
def fleet(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    return Fleet(endpoint, monkeypatch)


def ids(records: list[TelemetryRecord]) -> list[str]:
    return [one.id for one in records]


def test_records_of_all_partitions_come_oldest_first_once_and_in_any_pages(fleet: Fleet) -> None:
    devices = [fleet.add(f"d{number}") for number in range(6)]
    told: list[TelemetryRecord] = []
    for age in (9.0, 3.0, 6.0):
        for at, device in enumerate(devices):
            told += fleet.tell(device, age + at / 100, age - 1 + at / 100)
    again = fleet.tell(devices[0], 1.0)
    fleet.endpoint.tell(devices[0], to_otlp(again))
    told += again
    account = fleet.account()
    expected = ids(sorted(told, key=lambda one: (one.time_unix_ns, one.id)))
    assert ids(fleet.read(account)) == expected
    assert ids(fleet.read(account, limit=3)) == expected
    middle = sorted(told, key=lambda one: one.time_unix_ns)[len(told) // 2].time_unix_ns
    assert ids(fleet.read(account, since_unix_ns=middle)) == [
        one.id
        for one in sorted(told, key=lambda one: (one.time_unix_ns, one.id))
        if one.time_unix_ns >= middle
    ]
    assert {one.device for one in fleet.read(account, device=devices[1])} == {devices[1]}


@pytest.mark.slow
def test_only_this_target_and_application_and_kind_are_read(fleet: Fleet) -> None:
    device = fleet.add("d1")
    stranger = Fleet.add(fleet, "stranger")
    fleet.endpoint.hub.hub.registry.patch_twin(stranger, None, {"tags": {"site": "other"}}, None)
    mine = fleet.tell(device, 5.0)
    health = fleet.tell(device, 4.0, kind=Kind.HEALTH)
    fleet.tell(stranger, 3.0)
    fleet.tell(device, 2.0, application="another")
    fleet.endpoint.tell(device, b'{"temperature": 21}')
    account = fleet.account()
    assert ids(fleet.read(account)) == ids(mine + health)
    assert ids(fleet.read(account, kind=Kind.HEALTH)) == ids(health)
    assert fleet.read(account, device=stranger) == []
    later = fleet.tell(device, 1.0)
    assert ids(fleet.read(account)) == ids(mine + health + later)


@pytest.mark.slow
def test_a_target_without_devices_asks_nobody(fleet: Fleet) -> None:
    calls = fleet.endpoint.site.calls.counts().total.get("eventhub.PutToken", 0)
    assert fleet.read() == []
    assert fleet.endpoint.site.calls.counts().total.get("eventhub.PutToken", 0) == calls


@pytest.mark.slow
def test_a_login_may_read(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    device = fleet.add("d1")
    told = fleet.tell(device, 1.0)
    monkeypatch.delenv(places.ENDPOINT_VARIABLE)
    monkeypatch.setattr(places, "connection_of", lambda _config: None)
    where = {"endpoint": f"localhost:{fleet.endpoint.room.port}", "event_hub": NAME}
    assert ids(fleet.read(fleet.account(telemetry=where))) == ids(told)


# The SDK's client leaves its socket to the collector where a login is refused.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("policy", ["service", "registryRead"])
def test_the_hub_itself_says_where_its_endpoint_is(fleet: Fleet, policy: str) -> None:
    connection = parse_connection_string(fleet.endpoint.hub.connection_string(policy))
    address = f"localhost:{fleet.endpoint.room.port}"
    if policy == "registryRead":
        with pytest.raises(AuthError, match="refused"):
            places.redirected(connection, address)
        return
    found = places.redirected(connection, address)
    assert (found.host, found.port, found.name) == ("localhost", fleet.endpoint.room.port, NAME)
    assert found.policy == "service"


@pytest.mark.slow
def test_a_hub_that_does_not_answer_is_named(fleet: Fleet) -> None:
    connection = parse_connection_string(fleet.endpoint.hub.connection_string("service"))
    with pytest.raises(api.UnreachableError, match="localhost"):
        places.redirected(connection, "localhost:1")


@pytest.mark.slow
def test_a_policy_that_may_not_read_is_told_what_it_needs(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add("d1")
    monkeypatch.setenv(
        places.ENDPOINT_VARIABLE, fleet.endpoint.room.connection_string("registryRead")
    )
    with pytest.raises(AuthError, match="ServiceConnect") as caught:
        fleet.read()
    assert "role" in str(caught.value.hint)


@pytest.mark.slow
def test_a_group_that_is_not_there_is_told(fleet: Fleet) -> None:
    device = fleet.add("d1")
    fleet.tell(device, 1.0)
    with pytest.raises(api.ProviderError, match="could not be found") as caught:
        fleet.read(fleet.account(telemetry={"consumer_group": "nobody"}))
    assert "consumer_group" in str(caught.value.hint)


def test_without_a_word_on_where_it_is_the_user_is_told_what_to_set(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = fleet.account()
    monkeypatch.setenv(places.ENDPOINT_VARIABLE, "Endpoint=nothing")
    with pytest.raises(ProjectError, match=places.ENDPOINT_VARIABLE):
        places.find_endpoint(account.config)
    monkeypatch.delenv(places.ENDPOINT_VARIABLE)
    monkeypatch.delenv(CONNECTION_VARIABLE)
    with pytest.raises(ProjectError, match="built-in endpoint"):
        places.find_endpoint(account.config)


def test_a_page_that_is_known_asks_nobody(fleet: Fleet) -> None:
    device = fleet.add("d1")
    told = [fleet.tell(device, 10.0 - number)[0] for number in range(5)]
    account = fleet.account()
    request = TelemetryRequest(target=fleet.target, application=fleet.application, limit=1)
    first = reading.telemetry(account, request)
    count: Callable[[], int] = lambda: fleet.endpoint.site.calls.counts().total[  # noqa: E731 - short
        "eventhub.Receive"
    ]
    before = count()
    rest: list[TelemetryRecord] = []
    cursor = first.next
    while cursor:
        answer = reading.telemetry(account, msgspec.structs.replace(request, cursor=cursor))
        rest += answer.records
        cursor = answer.next
    assert ids([*first.records, *rest]) == ids(told)
    assert count() == before
