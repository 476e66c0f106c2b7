"""Devices and modules as the official SDK creates, changes and removes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import Device, ExportImportDevice, Twin
from msrest.exceptions import HttpOperationError

MakeDevice = Callable[..., Any]


def refused(work: Callable[[], object]) -> tuple[int, str]:
    """Return status and error code of a refusal."""
    with pytest.raises(HttpOperationError) as caught:
        work()
    response = caught.value.response
    return response.status_code, response.headers["iothub-errorcode"]


def test_a_new_device_gets_keys_and_a_twin(
    registry: IoTHubRegistryManager, new_device: MakeDevice
) -> None:
    device = new_device()
    keys = device.authentication.symmetric_key
    assert keys.primary_key != keys.secondary_key
    twin = registry.get_twin(device.device_id)
    assert (twin.etag, twin.device_etag, twin.tags) == ("AAAAAAAAAAE=", device.etag, {})
    assert twin.properties.desired["$version"] == 1


def test_a_device_is_created_once(registry: IoTHubRegistryManager, new_device: MakeDevice) -> None:
    device = new_device()
    again = lambda: registry.create_device_with_sas(device.device_id, None, None, "enabled")  # noqa: E731
    assert refused(again) == (409, "DeviceAlreadyExists")


def test_an_edge_device_has_a_scope_and_the_system_modules(
    registry: IoTHubRegistryManager, new_device: MakeDevice
) -> None:
    device = new_device(edge=True)
    modules = {m.module_id: m for m in registry.get_modules(device.device_id)}
    assert sorted(modules) == ["$edgeAgent", "$edgeHub"]
    assert modules["$edgeAgent"].managed_by == "iotEdge"
    assert modules["$edgeAgent"].authentication.type == "none"
    assert device.device_scope.startswith(f"ms-azure-iot-edge://{device.device_id}-")


def test_an_update_needs_the_present_etag(
    registry: IoTHubRegistryManager, new_device: MakeDevice
) -> None:
    device = new_device()
    key = device.authentication.symmetric_key.primary_key
    change = lambda etag: registry.update_device_with_sas(  # noqa: E731
        device.device_id, etag, key, key, "disabled"
    )
    assert change(device.etag).status == "disabled"
    assert refused(lambda: change(device.etag)) == (412, "PreconditionFailed")


def test_a_device_that_is_not_there_is_neither_read_nor_updated_nor_deleted(
    registry: IoTHubRegistryManager, name: str
) -> None:
    missing = (404, "DeviceNotFound")
    assert refused(lambda: registry.get_device(name)) == missing
    assert refused(lambda: registry.delete_device(name)) == missing
    update = lambda: registry.update_device_with_sas(name, "*", None, None, "enabled")  # noqa: E731
    assert refused(update) == missing
    assert refused(lambda: registry.get_twin(name)) == missing


def test_deleting_a_device_takes_its_modules_with_it(
    registry: IoTHubRegistryManager, new_device: MakeDevice
) -> None:
    device_id = new_device(edge=True).device_id
    registry.delete_device(device_id)
    assert refused(lambda: registry.get_module(device_id, "$edgeAgent"))[0] == 404


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (("QUFB", "QUFB"), "Invalid device key length"),
        (("QUFBQUFBQUFBQUFBQUFBQUFBQUE=", None), "Either no keys or both keys can be set"),
        (("not base64!", "not base64!"), "A device key is not base64"),
    ],
)
def test_keys_that_cannot_be_are_refused(
    registry: IoTHubRegistryManager, name: str, keys: tuple[str, str | None], words: str
) -> None:
    with pytest.raises(HttpOperationError) as caught:
        registry.create_device_with_sas(name, *keys, "enabled")
    assert caught.value.response.json()["Message"] == f"ErrorCode:ArgumentInvalid;{words}"


def test_an_id_with_a_space_is_refused(registry: IoTHubRegistryManager) -> None:
    bad = lambda: registry.create_device_with_sas("a b", None, None, "enabled")  # noqa: E731
    assert refused(bad) == (400, "ArgumentInvalid")


def test_a_thumbprint_is_hexadecimal(registry: IoTHubRegistryManager, name: str) -> None:
    good = "AB" * 20
    made = registry.create_device_with_x509(name, good, good, "enabled")
    assert made.authentication.x509_thumbprint.primary_thumbprint == good
    bad = lambda: registry.create_device_with_x509(f"{name}-b", "AB:CD", "AB:CD", "enabled")  # noqa: E731
    assert refused(bad) == (400, "ArgumentInvalid")


def test_modules_come_and_go_with_their_own_errors(
    registry: IoTHubRegistryManager, new_device: MakeDevice
) -> None:
    device_id = new_device().device_id
    made = registry.create_module_with_sas(device_id, "m", "me", None, None)
    assert (made.module_id, made.managed_by) == ("m", "me")
    again = lambda: registry.create_module_with_sas(device_id, "m", "", None, None)  # noqa: E731
    assert refused(again) == (409, "ModuleAlreadyExistsOnDevice")
    system = lambda: registry.create_module_with_sas(device_id, "$mine", "", None, None)  # noqa: E731
    assert refused(system) == (400, "ArgumentInvalid")
    registry.delete_module(device_id, "m")
    assert refused(lambda: registry.get_module(device_id, "m")) == (404, "ModuleNotFound")
    assert refused(lambda: registry.get_module_twin(device_id, "m")) == (404, "DeviceNotFound")


def test_a_device_has_up_to_fifty_modules(
    registry: IoTHubRegistryManager, new_device: MakeDevice
) -> None:
    device_id = new_device().device_id
    for number in range(50):
        registry.create_module_with_sas(device_id, f"m{number}", "", None, None)
    more = lambda: registry.create_module_with_sas(device_id, "one-more", "", None, None)  # noqa: E731
    assert refused(more) == (413, "TooManyModulesOnDevice")


def test_bulk_does_what_it_can_and_tells_of_the_rest(
    registry: IoTHubRegistryManager, name: str
) -> None:
    new = [ExportImportDevice(id=f"{name}-{n}", import_mode="create") for n in range(3)]
    assert registry.bulk_create_or_update_devices(new).is_successful
    twice = [
        ExportImportDevice(id=f"{name}-0", import_mode="create"),
        ExportImportDevice(id=f"{name}-1", import_mode="updateTwin", tags={"a": 1}),
        ExportImportDevice(id=f"{name}-2", import_mode="delete"),
    ]
    result = registry.bulk_create_or_update_devices(twice)
    (error,) = result.errors
    assert not result.is_successful
    assert (error.device_id, error.error_code) == (f"{name}-0", "DeviceAlreadyExists")
    assert registry.get_twin(f"{name}-1").tags == {"a": 1}
    assert refused(lambda: registry.get_device(f"{name}-2"))[0] == 404


def test_statistics_count_devices(registry: IoTHubRegistryManager, new_device: MakeDevice) -> None:
    before = registry.get_device_registry_statistics()
    new_device()
    new_device(status="disabled")
    after = registry.get_device_registry_statistics()
    assert after.total_device_count == before.total_device_count + 2
    assert after.disabled_device_count == before.disabled_device_count + 1
    assert registry.get_service_statistics().connected_device_count >= 0


def test_a_twin_keeps_its_etag_until_the_service_writes(
    registry: IoTHubRegistryManager, new_device: MakeDevice
) -> None:
    device_id = new_device().device_id
    first = registry.get_twin(device_id)
    second = registry.update_twin(device_id, Twin(tags={"site": "a"}), first.etag)
    assert (first.etag, second.etag) == ("AAAAAAAAAAE=", "AAAAAAAAAAI=")
    stale = lambda: registry.update_twin(device_id, Twin(tags={"site": "b"}), first.etag)  # noqa: E731
    assert refused(stale) == (412, "PreconditionFailed")


def test_a_leaf_device_has_the_scope_of_its_parent(
    registry: IoTHubRegistryManager, new_device: MakeDevice, name: str
) -> None:
    parent = new_device(edge=True)
    leaf = Device(device_id=f"{name}-leaf", device_scope=parent.device_scope)
    made = registry.protocol.devices.create_or_update_identity(leaf.device_id, leaf)
    assert (made.device_scope, made.parent_scopes) == (parent.device_scope, [parent.device_scope])
    lone = Device(device_id=f"{name}-lone", parent_scopes=[parent.device_scope])
    made = registry.protocol.devices.create_or_update_identity(lone.device_id, lone)
    assert (made.device_scope, made.parent_scopes) == (None, None)


def test_a_device_becomes_an_edge_device_and_ceases_to_be_one(
    registry: IoTHubRegistryManager, new_device: MakeDevice
) -> None:
    device = new_device()
    key = device.authentication.symmetric_key.primary_key
    change = lambda edge: registry.update_device_with_sas(  # noqa: E731
        device.device_id, "*", key, key, "enabled", edge
    )
    assert change(True).device_scope.startswith("ms-azure-iot-edge://")
    assert len(registry.get_modules(device.device_id)) == 2
    assert change(False).device_scope is None
    assert registry.get_modules(device.device_id) == []


def test_an_update_without_keys_gets_new_ones(
    registry: IoTHubRegistryManager, new_device: MakeDevice
) -> None:
    device = new_device()
    bare = Device(device_id=device.device_id, status="enabled")
    made = registry.protocol.devices.create_or_update_identity(device.device_id, bare, "*")
    before, after = device.authentication.symmetric_key, made.authentication.symmetric_key
    assert before.primary_key != after.primary_key
