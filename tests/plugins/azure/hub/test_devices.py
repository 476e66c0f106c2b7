"""What devices and modules do on the hub's MQTT port, and what cuts them off."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import Twin, TwinProperties
from azure_module import WAIT_S, Module, token, until
from hypothesis import given
from hypothesis import strategies as st

from edgectl_azure_iot_edge.emulator.account import RunningAccount
from edgectl_azure_iot_edge.emulator.events import Event
from edgectl_azure_iot_edge.emulator.hub.mqtt import topics
from edgectl_azure_iot_edge.emulator.hub.rates import rates
from edgectl_azure_iot_edge.emulator.hub.room import HubRoom
from edgectl_azure_iot_edge.emulator.hub.settings import HubSettings
from edgectl_azure_iot_edge.emulator.rooms import AzureFault

MakeDevice = Callable[..., Any]
Connect = Callable[..., Module]
NOT_AUTHORIZED = 5


def events_of(account: RunningAccount, device_id: str) -> list[Event]:
    log = account.site.events
    everything = log.read(log.partition_of(device_id), 0, limit=100_000)
    return [e for e in everything if e.annotations["iothub-connection-device-id"] == device_id]


def desired(values: dict[str, Any]) -> Twin:
    return Twin(properties=TwinProperties(desired=values))


def test_a_device_reads_its_properties_without_metadata(
    registry: IoTHubRegistryManager, new_device: MakeDevice, connect: Connect
) -> None:
    device_id = new_device().device_id
    registry.update_twin(
        device_id, Twin(tags={"secret": 1}, properties=desired({"a": 1}).properties)
    )
    assert connect(device_id).twin() == {
        "desired": {"a": 1, "$version": 2},
        "reported": {"$version": 1},
    }


def test_reported_properties_merge_and_get_a_version(
    registry: IoTHubRegistryManager, new_device: MakeDevice, connect: Connect
) -> None:
    device_id = new_device().device_id
    device = connect(device_id)
    status, topic = device.report({"a": {"b": 1}, "c": 1})
    assert (status, topic.partition("&")[2]) == (204, "$version=2")
    device.report({"c": None})
    reported = registry.get_twin(device_id).properties.reported
    assert {k: v for k, v in reported.items() if k != "$metadata"} == {
        "a": {"b": 1},
        "$version": 3,
    }


def test_what_a_device_reports_moves_the_twins_version_and_not_its_etag(
    registry: IoTHubRegistryManager, new_device: MakeDevice, connect: Connect
) -> None:
    device_id = new_device().device_id
    before = registry.get_twin(device_id)
    connect(device_id).report({"a": 1})
    after = registry.get_twin(device_id)
    assert (after.etag, after.version) == (before.etag, before.version + 1)


@pytest.mark.parametrize(
    ("patch", "status"),
    [({"bad key": 1}, 400), ([1], 400), ({f"k{n}": "x" * 4000 for n in range(9)}, 400)],
)
def test_a_report_that_cannot_be_is_refused(
    new_device: MakeDevice, connect: Connect, patch: Any, status: int
) -> None:
    assert connect(new_device().device_id).report(patch)[0] == status


def test_a_change_of_desired_properties_is_told_as_a_patch(
    registry: IoTHubRegistryManager, new_device: MakeDevice, connect: Connect
) -> None:
    device_id = new_device().device_id
    device = connect(device_id)
    registry.update_twin(device_id, desired({"a": {"b": 1}, "c": 1}))
    registry.update_twin(device_id, desired({"c": None}))
    registry.replace_twin(device_id, desired({"d": 1}))
    told = [device.desired.get(timeout=WAIT_S) for _ in range(3)]
    assert told == [
        {"a": {"b": 1}, "c": 1, "$version": 2},
        {"c": None, "$version": 3},
        {"a": None, "d": 1, "$version": 4},
    ]


def test_a_module_has_a_connection_and_a_twin_of_its_own(
    registry: IoTHubRegistryManager, new_device: MakeDevice, connect: Connect
) -> None:
    device_id = new_device().device_id
    registry.create_module_with_sas(device_id, "m", "", None, None)
    module = connect(f"{device_id}/m")
    module.report({"a": 1})
    assert registry.get_module_twin(device_id, "m").properties.reported["a"] == 1
    assert registry.get_module(device_id, "m").connection_state == "Connected"
    assert registry.get_device(device_id).connection_state == "Disconnected"
    module.close()
    state = lambda: registry.get_module(device_id, "m").connection_state  # noqa: E731
    until(state, lambda found: found == "Disconnected")


def test_telemetry_goes_to_the_built_in_endpoint_with_what_the_hub_adds(
    account: RunningAccount,
    registry: IoTHubRegistryManager,
    new_device: MakeDevice,
    connect: Connect,
) -> None:
    device_id = new_device().device_id
    registry.create_module_with_sas(device_id, "m", "", None, None)
    module = connect(f"{device_id}/m")
    bag = "level=warn&with%20space=a%26b&%24.ct=application%2Fjson&%24.ce=utf-8&%24.mid=7"
    module.send(b'{"t": 1}', bag)
    (event,) = until(lambda: events_of(account, device_id))
    assert event.body == b'{"t": 1}'
    assert event.properties == {"level": "warn", "with space": "a&b"}
    assert event.system == {
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "message-id": "7",
    }
    assert event.annotations["iothub-connection-module-id"] == "m"
    method = json.loads(str(event.annotations["iothub-connection-auth-method"]))
    assert (method["scope"], method["type"]) == ("module", "sas")


def test_messages_of_a_device_keep_their_order(
    account: RunningAccount, new_device: MakeDevice, connect: Connect
) -> None:
    device_id = new_device().device_id
    device = connect(device_id)
    for number in range(50):
        device.send(str(number).encode())
    found = until(lambda: events_of(account, device_id), lambda e: len(e) == 50)
    assert [int(event.body) for event in found] == list(range(50))
    numbers = [event.sequence_number for event in found]
    assert numbers == sorted(numbers)


def test_a_will_becomes_a_message_when_the_connection_is_lost(
    account: RunningAccount, new_device: MakeDevice, connect: Connect
) -> None:
    device_id = new_device().device_id
    device = connect(device_id, ready=False)
    device.client.will_set(f"devices/{device_id}/messages/events/why=lost", b"gone", qos=1)
    device.ready()
    sock = device.client.socket()
    assert sock is not None
    sock.shutdown(2)
    found = until(lambda: events_of(account, device_id))
    assert (found[0].body, found[0].properties) == (b"gone", {"why": "lost"})


@pytest.mark.parametrize(
    "make",
    [
        lambda d, key: token(f"devices/{d}", key, life_s=-5),
        lambda d, key: token("devices/somebody", key),
        lambda d, _: token(f"devices/{d}", "QUFBQUFBQUFBQUFBQUFBQUFBQUE="),
        lambda d, _: "SharedAccessSignature sr=x",
        lambda d, _: "",
    ],
)
def test_a_token_that_is_not_good_connects_nobody(
    account: RunningAccount,
    new_device: MakeDevice,
    connect: Connect,
    make: Callable[[str, str], str],
) -> None:
    device = new_device()
    key = device.authentication.symmetric_key.primary_key
    bad = connect(device.device_id, ready=False, token=make(device.device_id, key))
    assert bad.connect() == NOT_AUTHORIZED


def test_a_disabled_device_does_not_connect(new_device: MakeDevice, connect: Connect) -> None:
    device_id = new_device(status="disabled").device_id
    assert connect(device_id, ready=False).connect() == NOT_AUTHORIZED


@pytest.mark.parametrize("username", ["localhost/other/?api-version=2018-06-30", "localhost/{d}"])
def test_the_user_name_names_hub_client_and_version(
    new_device: MakeDevice, connect: Connect, username: str
) -> None:
    device_id = new_device().device_id
    name = username.format(d=device_id)
    assert connect(device_id, ready=False, username=name).connect() == NOT_AUTHORIZED


def test_edge_hub_connects_modules_on_their_behalf_and_others_may_not(
    registry: IoTHubRegistryManager, new_device: MakeDevice, connect: Connect
) -> None:
    edge, plain = new_device(edge=True), new_device()
    for device in (edge, plain):
        registry.create_module_with_sas(device.device_id, "m", "", None, None)
    keys = [device.authentication.symmetric_key.primary_key for device in (edge, plain)]
    behalf = token(f"devices/{edge.device_id}", keys[0])
    assert connect(f"{edge.device_id}/m", ready=False, token=behalf).connect() == 0
    wrong = token(f"devices/{plain.device_id}", keys[1])
    refused = connect(f"{plain.device_id}/m", ready=False, token=wrong).connect()
    assert refused == NOT_AUTHORIZED


def test_the_end_of_a_token_ends_the_connection(new_device: MakeDevice, connect: Connect) -> None:
    device = new_device()
    key = device.authentication.symmetric_key.primary_key
    short = token(f"devices/{device.device_id}", key, life_s=2)
    found = connect(device.device_id, token=short)
    assert found.gone.wait(WAIT_S)


def test_a_second_connection_takes_the_place_of_the_first(
    new_device: MakeDevice, connect: Connect
) -> None:
    device_id = new_device().device_id
    first = connect(device_id)
    second = connect(device_id)
    assert first.gone.wait(WAIT_S)
    assert second.twin()["desired"]["$version"] == 1


def test_only_the_hubs_own_topics_can_be_subscribed(
    new_device: MakeDevice, connect: Connect
) -> None:
    device = connect(new_device().device_id)
    assert device.subscribe("$iothub/twin/res/#", "mine/#", "#") == [1, 128, 128]


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("mine", b""),
        ("devices/other/messages/events/", b""),
        ("$iothub/twin/GET/", b""),
        ("devices/{d}/messages/events/", b"x" * (256 * 1024 + 1)),
    ],
)
def test_what_the_hub_does_not_take_ends_the_connection(
    new_device: MakeDevice, connect: Connect, topic: str, payload: bytes
) -> None:
    device_id = new_device().device_id
    device = connect(device_id)
    device.client.publish(topic.format(d=device_id), payload, qos=1)
    assert device.gone.wait(WAIT_S)


def test_a_connection_can_be_cut_on_demand_and_comes_back(
    account: RunningAccount, new_device: MakeDevice, connect: Connect
) -> None:
    device_id = new_device().device_id
    device = connect(device_id, again=True)
    assert account.site.find(HubRoom).devices.disconnect(device_id, None) == 1
    assert device.gone.wait(WAIT_S)
    until(device.client.is_connected)


def test_a_twin_request_can_be_made_to_fail(
    account: RunningAccount, new_device: MakeDevice, connect: Connect
) -> None:
    device = connect(new_device().device_id)
    fault = AzureFault(operation="device.TwinGet", code="ServerError", status=500)
    account.site.faults.add(fault)
    assert device.ask("$iothub/twin/GET/", b"")[0] == 500
    assert device.ask("$iothub/twin/GET/", b"")[0] == 200


def test_devices_connect_no_faster_than_documented() -> None:
    assert [rates(HubSettings(tier="S1", units=n))["Connect"] for n in (1, 9)] == [100, 108]


NAMES = st.text("ab/$.?&=%#-", max_size=40)


@given(NAMES)
def test_any_topic_is_understood_or_refused(topic: str) -> None:
    for name in (topic, f"$iothub/{topic}", f"devices/d/messages/events/{topic}"):
        try:
            topics.asked(name, "d", None)
        except topics.TopicError:
            continue


def test_a_device_is_found_by_when_it_was_last_seen(
    registry: IoTHubRegistryManager, new_device: MakeDevice, connect: Connect
) -> None:
    device_id = new_device().device_id
    began = time.time()
    connect(device_id)
    seen = registry.get_twin(device_id).last_activity_time
    assert seen.timestamp() >= began - 1


def test_a_device_that_is_disabled_or_deleted_loses_its_connections(
    registry: IoTHubRegistryManager, new_device: MakeDevice, connect: Connect
) -> None:
    first, second = new_device(), new_device()
    registry.create_module_with_sas(second.device_id, "m", "", None, None)
    connections = [connect(first.device_id), connect(second.device_id)]
    module = connect(f"{second.device_id}/m")
    registry.delete_module(second.device_id, "m")
    assert module.gone.wait(WAIT_S)
    key = first.authentication.symmetric_key.primary_key
    registry.update_device_with_sas(first.device_id, first.etag, key, key, "disabled")
    registry.delete_device(second.device_id)
    assert [connection.gone.wait(WAIT_S) for connection in connections] == [True, True]


def test_an_id_may_hold_a_percent_sign(
    registry: IoTHubRegistryManager, new_device: MakeDevice, name: str
) -> None:
    assert new_device().device_id == name
    odd = f"{name}%41"
    registry.create_device_with_sas(odd, None, None, "enabled")
    assert registry.get_twin(odd).device_id == odd
