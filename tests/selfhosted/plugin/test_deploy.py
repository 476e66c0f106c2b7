from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgectl import api
from edgectl.api import State


def test_only_the_named_devices_get_the_release(
    fleet: Any, publish: Callable[..., Any], deploy: Callable[..., Any]
) -> None:
    one, two = fleet.device("one"), fleet.device("two")
    result = deploy(publish(1), "one")
    assert result.assigned == (one.id,)
    assert "deploymentBase" in one.poll()
    assert "deploymentBase" not in two.poll()


def test_deploying_again_writes_nothing(
    fleet: Any, publish: Callable[..., Any], deploy: Callable[..., Any], wire: Any
) -> None:
    fleet.device("one")
    release = publish(1)
    deploy(release, "one")
    wire.clear()
    result = deploy(release, "one")
    assert (result.assigned, result.unchanged) == ((), (fleet.name("one"),))
    assert wire.writes == []


def test_deploying_to_more_devices_assigns_only_the_new_ones(
    fleet: Any, publish: Callable[..., Any], deploy: Callable[..., Any], wire: Any
) -> None:
    for name in ("one", "two", "three"):
        fleet.enroll(name)
    release = publish(1)
    deploy(release, "one")
    wire.clear()
    result = deploy(release, "three", "one", "two", "two")
    assert result.assigned == (fleet.name("three"), fleet.name("two"))
    assert result.unchanged == (fleet.name("one"),)
    assert len(wire.writes) == 1


def test_a_finished_device_is_not_given_the_release_again(
    fleet: Any, publish: Callable[..., Any], deploy: Callable[..., Any], wire: Any
) -> None:
    device = fleet.device("one")
    release = publish(1)
    deploy(release, "one")
    device.report(1, State.HEALTHY, active_release=1)
    device.feedback("success")
    wire.clear()
    assert deploy(release, "one").unchanged == (device.id,)
    assert wire.writes == []


@pytest.mark.parametrize("own_agent", [True, False])
def test_a_device_that_failed_is_not_given_the_release_again(
    fleet: Any,
    publish: Callable[..., Any],
    deploy: Callable[..., Any],
    wire: Any,
    own_agent: bool,
) -> None:
    device = fleet.device("one")
    release = publish(1)
    deploy(release, "one")
    if own_agent:
        device.report(1, State.FAILED, reason="golden-failed")
    device.feedback("failure")
    wire.clear()
    assert deploy(release, "one").unchanged == (device.id,)
    assert wire.writes == []
    assert deploy(publish(2, seed="b"), "one").assigned == (device.id,)


@pytest.mark.parametrize("answered", [True, False])
def test_a_device_that_was_called_back_can_be_given_the_release_again(
    fleet: Any, publish: Callable[..., Any], deploy: Callable[..., Any], answered: bool
) -> None:
    device = fleet.device("one")
    release = publish(1)
    deploy(release, "one")
    request = api.WithdrawRequest(target=fleet.target, application=fleet.application, release=1)
    fleet.provider.withdraw(request)
    if answered:
        device.accept_cancel()
        device.report(1, State.SKIPPED, reason="canceled")
    assert fleet.observe(1) == {}
    assert deploy(release, "one").assigned == (device.id,)
    assert "deploymentBase" in device.poll()


def test_an_unknown_device_is_named_and_nothing_is_assigned(
    fleet: Any, publish: Callable[..., Any], deploy: Callable[..., Any]
) -> None:
    device = fleet.device("one")
    with pytest.raises(api.NotFoundError, match=f"does not know '{fleet.name('ghost')}'"):
        deploy(publish(1), "one", "ghost")
    assert "deploymentBase" not in device.poll()


def test_a_release_that_was_not_packaged_is_refused(
    fleet: Any, shop: Any, deploy: Callable[..., Any]
) -> None:
    fleet.enroll("one")
    with pytest.raises(api.NotFoundError, match=f"no release 4 of '{fleet.application}'"):
        deploy(shop.release(4, shop.package()), "one")


def test_a_newer_release_takes_the_place_of_an_open_one(
    fleet: Any, publish: Callable[..., Any], deploy: Callable[..., Any]
) -> None:
    fleet.enroll("one")
    deploy(publish(1), "one")
    result = deploy(publish(2, seed="b"), "one")
    assert result.assigned == (fleet.name("one"),)
    assert fleet.observe(2)["one"].state is State.PENDING


def test_calls_grow_with_pages_not_with_devices(
    fleet: Any,
    publish: Callable[..., Any],
    deploy: Callable[..., Any],
    wire: Any,
    server: Any,
) -> None:
    names = [fleet.name(f"cam-{n:03d}") for n in range(120)]
    with server.operator() as operator:
        bodies = [{"controllerId": name, "name": name} for name in names]
        operator.post("/rest/v1/targets", json=bodies).raise_for_status()
    release = publish(1)
    wire.clear()
    result = deploy(release, *(f"cam-{n:03d}" for n in range(120)))
    assert len(result.assigned) == 120
    assert len(wire.calls) <= 10
    assert len(wire.writes) == 1
