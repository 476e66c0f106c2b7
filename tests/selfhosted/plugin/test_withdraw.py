from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgectl import api
from edgectl.api import State

Publish = Callable[..., api.Release]
Deploy = Callable[..., api.DeployResult]


def withdraw(fleet: Any, release: int | None, *names: str) -> tuple[str, ...]:
    devices = tuple(fleet.name(name) for name in names) or None
    request = api.WithdrawRequest(
        target=fleet.target, application=fleet.application, release=release, devices=devices
    )
    found: tuple[str, ...] = fleet.provider.withdraw(request).devices
    return found


def test_an_open_assignment_is_canceled(fleet: Any, publish: Publish, deploy: Deploy) -> None:
    device = fleet.device("one")
    deploy(publish(1), "one")
    assert withdraw(fleet, 1) == (device.id,)
    links = device.poll()
    assert "deploymentBase" not in links
    assert "cancelAction" in links


def test_a_finished_device_is_left_alone(fleet: Any, publish: Publish, deploy: Deploy) -> None:
    done, waiting = fleet.device("done"), fleet.device("waiting")
    deploy(publish(1), "done", "waiting")
    done.report(1, State.HEALTHY, active_release=1)
    done.feedback("success")
    assert withdraw(fleet, 1) == (waiting.id,)
    assert fleet.observe(1)["done"].state is State.HEALTHY


def test_withdrawing_again_writes_nothing(
    fleet: Any, publish: Publish, deploy: Deploy, wire: Any
) -> None:
    fleet.enroll("one")
    deploy(publish(1), "one")
    withdraw(fleet, 1)
    wire.clear()
    assert withdraw(fleet, 1) == ()
    assert wire.writes == []


def test_only_the_named_devices_and_release(fleet: Any, publish: Publish, deploy: Deploy) -> None:
    for name in ("one", "two"):
        fleet.enroll(name)
    deploy(publish(1), "one")
    deploy(publish(2, seed="b"), "two")
    assert withdraw(fleet, 1, "two") == ()
    assert withdraw(fleet, 2, "two") == (fleet.name("two"),)
    assert fleet.observe(1)["one"].state is State.PENDING


def test_another_targets_devices_are_left_alone(
    fleet: Any, publish: Publish, deploy: Deploy
) -> None:
    device = fleet.device("one")
    deploy(publish(1), "one")
    other = api.Target(name="x", provider="selfhosted", selector={"tags": {"fleet": "none"}})
    request = api.WithdrawRequest(target=other, application=fleet.application, release=1)
    assert fleet.provider.withdraw(request).devices == ()
    assert "deploymentBase" in device.poll()


def test_removing_the_application_says_what_stays(
    fleet: Any, publish: Publish, deploy: Deploy, progress: list[str]
) -> None:
    done, waiting = fleet.device("done"), fleet.device("waiting")
    deploy(publish(1), "done", "waiting")
    done.feedback("success")
    assert withdraw(fleet, None) == (waiting.id,)
    assert any(line.startswith("1 devices keep running") for line in progress)


def test_capabilities_do_not_claim_that_an_application_can_be_removed(
    provider: api.Provider,
) -> None:
    found = provider.capabilities()
    assert not found.withdraw
    assert found.limits.max_file_bytes == 1 << 30
    assert found.limits.max_devices_per_call == 5000
