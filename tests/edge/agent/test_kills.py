"""SIGKILL of the agent at every persistence step and at random moments of an update.

After each one the device must be on the old or the new version, whole, and answer again; then the
update must end. Every other time the runtime is killed as well, as a power cut would.
"""

from __future__ import annotations

import random
import time

import pytest
from device import Device

from edge_components.contract.state import State

RANDOM_KILLS = 200


def assert_old_or_new(device: Device, old: int, new: int) -> None:
    record = device.assert_whole()
    assert record.active is not None
    assert record.active.number in {old, new}
    # An update that is still to be decided must leave something to fall back to.
    if record.update is not None and record.active.number == new:
        assert record.previous[0].number == old


def test_killed_at_every_persistence_step_the_device_stays_whole_and_finishes(
    device: Device,
) -> None:
    device.start()
    device.install(1, "v1")
    device.stop()
    server = device.server
    number = 1
    for step in range(1, 400):
        number += 1
        action = device.deploy(number, device.package(f"v{number}"), soak_s=0.01)
        device.start(kill_at=step)
        server.wait(lambda action=action: device.has_exited() or action.finished)
        if device.pid:
            assert action.finished == "success"
            break
        if step % 2:
            device.kill_runtime()
        assert_old_or_new(device, number - 1, number)
        device.start()
        device.wait_answer(f"v{number - 1}", f"v{number}")
        assert server.wait_closed(action.id) == "success", f"step {step}: {device.tail()}"
        assert device.wait_answer(f"v{number}")["release"] == number
        device.kill()
    assert step > 35, "the update has more persistence steps than that"


def kill_at_random(device: Device, seed: int, kills: int) -> None:
    chance = random.Random(seed)
    server = device.server
    device.start()
    device.install(1, "v1")
    device.kill()
    old = new = 1
    ended = {"success": 0, "failure": 0}
    open_action = None
    for _ in range(kills):
        if open_action is None:
            new = new + 1
            package = device.package(f"v{new}", size=chance.choice([0, 200_000]))
            open_action = device.deploy(new, package, soak_s=chance.choice([0, 0.05]))
        device.start()
        device.wait_answer(f"v{old}", f"v{new}")
        time.sleep(chance.random() * chance.choice([0.03, 0.35]))
        device.kill()
        if chance.random() < 0.4:
            device.kill_runtime()
        assert_old_or_new(device, old, new)
        outcome = device.record().outcome
        if open_action.finished:
            ended[open_action.finished] += 1
            assert outcome is not None
            assert outcome.action == open_action.id
            if open_action.finished == "success":
                assert outcome.state is State.HEALTHY
                old = new
            else:
                # Twice interrupted in the soak: back to the version before.
                assert outcome.state is State.ROLLED_BACK
            active = device.record().active
            assert active is not None
            assert active.number == old
            open_action = None
    assert ended["success"] >= kills // 50
    device.start()
    if open_action is not None:
        server.wait_closed(open_action.id)
    device.install(new + 1, "last")
    device.wait_answer("last")
    assert device.stop() == 0


def test_killed_at_random_moments_the_device_stays_whole(device: Device) -> None:
    kill_at_random(device, seed=20261122, kills=RANDOM_KILLS)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(5))
def test_killed_at_more_random_moments_the_device_stays_whole(device: Device, seed: int) -> None:
    kill_at_random(device, seed=seed, kills=RANDOM_KILLS)
