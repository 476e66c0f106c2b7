"""Tags and properties: merging, versions, metadata, and the limits of what a twin holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import Twin, TwinProperties
from hypothesis import given
from hypothesis import strategies as st
from msrest.exceptions import HttpOperationError

from edgectl_azure_iot_edge.emulator.hub.twin import difference, merged, size_of

MakeDevice = Callable[..., Any]
KB = 1024
NESTED = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=3),
    lambda inner: (
        st.dictionaries(st.text("xyz", min_size=1, max_size=2), inner, max_size=3)
        | st.lists(inner, max_size=2)
    ),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text("xyz", min_size=1, max_size=2), NESTED, max_size=3)


def without_null(value: Any) -> Any:
    """Return what a twin can hold of a document: no null as a member."""
    if isinstance(value, dict):
        return {key: without_null(item) for key, item in value.items() if item is not None}
    return value


def desired(values: dict[str, Any]) -> Twin:
    return Twin(properties=TwinProperties(desired=values))


def refused(work: Callable[[], object]) -> str:
    with pytest.raises(HttpOperationError) as caught:
        work()
    assert caught.value.response.status_code == 400
    message: str = caught.value.response.json()["Message"]
    return message


def test_a_patch_merges_objects_removes_nulls_and_replaces_arrays(
    registry: IoTHubRegistryManager, new_device: MakeDevice
) -> None:
    device_id = new_device().device_id
    registry.update_twin(device_id, Twin(tags={"a": {"b": 1, "c": 2}, "list": [1, 2], "e": {}}))
    twin = registry.update_twin(device_id, Twin(tags={"a": {"b": None}, "list": [3]}))
    assert twin.tags == {"a": {"c": 2}, "list": [3], "e": {}}


def test_each_write_of_desired_properties_gets_the_next_version(
    registry: IoTHubRegistryManager, new_device: MakeDevice
) -> None:
    device_id = new_device().device_id
    versions = [
        registry.update_twin(device_id, desired({"a": 1})).properties.desired["$version"]
        for _ in range(3)
    ]
    assert versions == [2, 3, 4]


def test_metadata_tell_the_version_that_wrote_each_key(
    registry: IoTHubRegistryManager, new_device: MakeDevice
) -> None:
    device_id = new_device().device_id
    registry.update_twin(device_id, desired({"a": {"b": 1}, "c": 1}))
    found = registry.update_twin(device_id, desired({"c": 2})).properties.desired["$metadata"]
    written = {key: found[key]["$lastUpdatedVersion"] for key in ("a", "c")}
    assert written == {"a": 2, "c": 3}
    assert found["a"]["b"]["$lastUpdatedVersion"] == 2


def test_a_replacement_leaves_nothing_of_before(
    registry: IoTHubRegistryManager, new_device: MakeDevice
) -> None:
    device_id = new_device().device_id
    registry.update_twin(device_id, Twin(tags={"a": 1}, properties=desired({"x": 1}).properties))
    twin = registry.replace_twin(
        device_id, Twin(tags={"b": 1}, properties=desired({"y": 1}).properties)
    )
    assert twin.tags == {"b": 1}
    assert {k for k in twin.properties.desired if not k.startswith("$")} == {"y"}
    twin = registry.replace_twin(device_id, Twin(tags={"c": 1}))
    assert {k for k in twin.properties.desired if not k.startswith("$")} == set()


def test_a_module_has_a_twin_of_its_own(
    registry: IoTHubRegistryManager, new_device: MakeDevice
) -> None:
    device_id = new_device().device_id
    registry.create_module_with_sas(device_id, "m", "", None, None)
    registry.update_module_twin(device_id, "m", desired({"a": 1}))
    assert registry.get_module_twin(device_id, "m").properties.desired["a"] == 1
    assert "a" not in registry.get_twin(device_id).properties.desired


@pytest.mark.parametrize("key", ["with.dot", "with$dollar", "with#sharp", "with space", "a\x01b"])
def test_keys_that_cannot_be_are_refused(
    registry: IoTHubRegistryManager, new_device: MakeDevice, key: str
) -> None:
    device_id = new_device().device_id
    said = refused(lambda: registry.update_twin(device_id, Twin(tags={"a": {key: 1}})))
    assert said.startswith("ErrorCode:ArgumentInvalid;")


def test_nesting_ends_at_ten_levels(
    registry: IoTHubRegistryManager, new_device: MakeDevice
) -> None:
    device_id = new_device().device_id
    deep: dict[str, Any] = {"leaf": 1}
    for _ in range(9):
        deep = {"n": deep}
    registry.update_twin(device_id, Twin(tags=deep))
    assert "deeper" in refused(lambda: registry.update_twin(device_id, Twin(tags={"n": deep})))


def test_a_text_has_up_to_four_kilobytes(
    registry: IoTHubRegistryManager, new_device: MakeDevice
) -> None:
    device_id = new_device().device_id
    registry.update_twin(device_id, Twin(tags={"a": "x" * 4 * KB}))
    over = lambda: registry.update_twin(device_id, Twin(tags={"a": "x" * (4 * KB + 1)}))  # noqa: E731
    assert "4096" in refused(over)


def test_tags_have_up_to_eight_kilobytes(
    registry: IoTHubRegistryManager, new_device: MakeDevice
) -> None:
    device_id = new_device().device_id
    registry.update_twin(device_id, Twin(tags={"a": "x" * 4000, "b": "x" * 4000}))
    assert "tags" in refused(lambda: registry.update_twin(device_id, Twin(tags={"c": "x" * 200})))
    assert "c" not in registry.get_twin(device_id).tags


def test_desired_properties_have_up_to_32_kilobytes_and_may_shrink(
    registry: IoTHubRegistryManager, new_device: MakeDevice
) -> None:
    device_id = new_device().device_id
    for number in range(8):
        registry.update_twin(device_id, desired({f"k{number}": "x" * 4000}))
    said = refused(lambda: registry.update_twin(device_id, desired({"k8": "x" * 4000})))
    assert "properties.desired" in said
    registry.update_twin(device_id, desired({"k0": None}))
    registry.update_twin(device_id, desired({"k8": "x" * 4000}))


def test_a_number_counts_eight_bytes_and_a_truth_four() -> None:
    assert size_of({"ab": 1, "c": True, "d": "xyz", "e": None, "f": [1, "é"]}) == 31


@given(OBJECTS, OBJECTS)
def test_a_difference_makes_one_document_of_the_other(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    start, wanted = without_null(before), without_null(after)
    assert merged(start, difference(start, wanted)) == wanted


@given(OBJECTS, OBJECTS)
def test_merging_a_patch_twice_changes_nothing_more(
    values: dict[str, Any], patch: dict[str, Any]
) -> None:
    once = merged(without_null(values), patch)
    assert merged(once, patch) == once
