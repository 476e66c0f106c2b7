"""Queries over the API: pages, kinds of rows, jobs, and errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import QuerySpecification, Twin
from msrest.exceptions import HttpOperationError

MakeDevice = Callable[..., Any]


@pytest.fixture
def fleet(registry: IoTHubRegistryManager, new_device: MakeDevice, name: str) -> str:
    """Five devices with a tag of their own; return its value."""
    for number in range(5):
        device_id = new_device(edge=number == 0).device_id
        registry.update_twin(device_id, Twin(tags={"fleet": name, "n": number}))
    return name


def ask(registry: IoTHubRegistryManager, text: str, **paging: Any) -> Any:
    return registry.query_iot_hub(QuerySpecification(query=text), **paging)


def test_pages_together_are_the_whole_answer(registry: IoTHubRegistryManager, fleet: str) -> None:
    text = f"select * from devices where tags.fleet = '{fleet}'"
    seen: list[str] = []
    token = None
    sizes = []
    while True:
        page = ask(registry, text, continuation_token=token, max_item_count=2)
        seen += [twin.device_id for twin in page.items]
        sizes.append(len(page.items))
        token = page.continuation_token
        if token is None:
            break
    assert sizes == [2, 2, 1]
    assert len(set(seen)) == 5


def test_a_token_goes_with_its_query_only(registry: IoTHubRegistryManager, fleet: str) -> None:
    first = ask(registry, f"select * from devices where tags.fleet = '{fleet}'", max_item_count=1)
    with pytest.raises(HttpOperationError) as caught:
        ask(registry, "select * from devices", continuation_token=first.continuation_token)
    assert caught.value.response.headers["iothub-errorcode"] == "ArgumentInvalid"


def test_modules_are_a_collection_of_their_own(registry: IoTHubRegistryManager, fleet: str) -> None:
    text = f"select deviceId, moduleId from devices.modules where deviceId = '{fleet}'"
    page = registry.protocol.query.get_twins(QuerySpecification(query=text), raw=True)
    assert page.response.headers["x-ms-item-type"] == "Raw"
    found = sorted(row["moduleId"] for row in page.response.json())
    assert found == ["$edgeAgent", "$edgeHub"]


def test_aggregates_count_over_the_api(registry: IoTHubRegistryManager, fleet: str) -> None:
    text = f"select count() as n from devices where tags.fleet = '{fleet}' and tags.n > 1"
    page = registry.protocol.query.get_twins(QuerySpecification(query=text), raw=True)
    assert page.response.json() == [{"n": 3}]


def test_a_malformed_query_is_a_bad_request(registry: IoTHubRegistryManager) -> None:
    with pytest.raises(HttpOperationError) as caught:
        ask(registry, "select * from devices where tags.my-tag = 1")
    response = caught.value.response
    assert (response.status_code, response.headers["iothub-errorcode"]) == (
        400,
        "GenericBadRequest",
    )
    assert '\\"errorCode\\":400000' in response.text
