from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgectl import api


def target(**selector: Any) -> api.Target:
    return api.Target(name="lots", provider="selfhosted", selector=selector)


def test_the_selectors_devices_come_in_a_stable_order(fleet: Any) -> None:
    for name in ("b", "c", "a"):
        fleet.enroll(name)
    assert list(fleet.inventory()) == [fleet.name(n) for n in ("a", "b", "c")]


def test_every_tag_of_a_selector_has_to_be_there(fleet: Any, unique: str) -> None:
    fleet.enroll("one", labels={"site": f"east-{unique}"})
    fleet.enroll("two", labels={"site": f"west-{unique}"})
    both = target(tags={"fleet": unique, "site": f"east-{unique}"})
    assert list(fleet.inventory(target=both)) == [fleet.name("one")]


def test_devices_are_found_by_attribute_name_and_query(fleet: Any, unique: str) -> None:
    device = fleet.device("one")
    fleet.enroll("two")
    device.say(lane=f"left {unique}")
    expected = [fleet.name("one")]
    assert list(fleet.inventory(target=target(attributes={"lane": f"left {unique}"}))) == expected
    assert list(fleet.inventory(target=target(ids=expected))) == expected
    query = f"name==one-{unique},name==nobody-{unique}"
    assert list(fleet.inventory(target=target(q=query))) == expected


def test_a_star_in_a_value_is_a_star(fleet: Any, unique: str) -> None:
    fleet.enroll("one", labels={"lane": f"a-{unique}"})
    assert fleet.inventory(target=target(tags={"lane": f"*-{unique}"})) == {}


def test_a_value_with_quotes_and_operators_is_found_as_it_is(fleet: Any, unique: str) -> None:
    odd = f'{unique} "left"; lane, (1)'
    fleet.enroll("one", labels={"place": odd})
    fleet.enroll("two")
    found = fleet.inventory(target=target(tags={"place": odd}))
    assert list(found) == [fleet.name("one")]
    assert found[fleet.name("one")].labels["place"] == odd


def test_labels_come_back(fleet: Any, unique: str) -> None:
    fleet.enroll("one", labels={"site": f"east-{unique}"})
    device = fleet.inventory()[fleet.name("one")]
    assert device.labels["site"] == f"east-{unique}"
    assert device.labels["fleet"] == unique


def test_labels_come_back_also_where_there_are_more_tags_than_devices(
    fleet: Any, unique: str, server: Any
) -> None:
    fleet.enroll("one", labels={"site": f"east-{unique}"})
    with server.operator() as operator:
        bodies = [{"name": f"n{n}={unique}", "description": ""} for n in range(5)]
        operator.post("/rest/v1/targettags", json=bodies).raise_for_status()
    assert fleet.inventory()[fleet.name("one")].labels == {
        "site": f"east-{unique}",
        "fleet": unique,
        "hardware": "x86-64-cpu",
    }


def test_hardware_is_what_the_device_says(fleet: Any) -> None:
    device = fleet.device("one", hardware="raspberry-pi-4")
    assert fleet.inventory()[device.id].hardware == "raspberry-pi-4"
    device.report(0, api.State.PENDING)
    device.say(edgectl_hardware="jetson-nano")
    assert fleet.inventory()[device.id].hardware == "jetson-nano"


def test_the_last_call_is_told(fleet: Any) -> None:
    device = fleet.device("one")
    assert fleet.inventory()[device.id].last_seen is None
    device.say(os="linux")
    seen = fleet.inventory()[device.id].last_seen
    assert seen is None or seen > 1_600_000_000


def test_hardware_of_the_target_is_for_devices_that_say_none(
    fleet: Any, unique: str, server: Any
) -> None:
    with server.operator() as operator:
        name = fleet.name("bare")
        body = [{"controllerId": name, "name": name}]
        operator.post("/rest/v1/targets", json=body).raise_for_status()
    given = api.Target(
        name="lots", provider="selfhosted", selector={"ids": [name]}, hardware="arm64-cpu"
    )
    assert fleet.inventory(target=given)[name].hardware == "arm64-cpu"
    assert fleet.inventory(target=target(ids=[name]))[name].hardware is None


def test_a_large_fleet_is_listed_in_pages(fleet: Any, wire: Any, server: Any, unique: str) -> None:
    with server.operator() as operator:
        bodies = [{"controllerId": f"n{n:04d}-{unique}", "name": "x"} for n in range(600)]
        operator.post("/rest/v1/targets", json=bodies).raise_for_status()
    wire.clear()
    found = fleet.inventory(target=target(q=f"controllerid==n*-{unique}"))
    assert list(found) == [f"n{n:04d}-{unique}" for n in range(600)]
    assert len(wire.calls) < 200


def test_an_unknown_selector_key_is_named(provider: Any) -> None:
    with pytest.raises(api.ProjectError, match="unknown key 'thing_group'"):
        list(provider.inventory(api.InventoryRequest(target=target(thing_group="x"))))


def test_a_broken_query_of_the_user_is_the_servers_refusal(
    open_plugin: Callable[..., api.Provider],
) -> None:
    request = api.InventoryRequest(target=target(q="name=broken="))
    with pytest.raises(api.ProviderError, match="cannot list the devices of 'lots'"):
        list(open_plugin().inventory(request))
