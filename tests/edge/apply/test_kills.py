"""SIGKILL of ``edge-agent apply`` at every persistence step, of the runtime too every other time.

After each one the device must be on the old or the new version, whole; the same order again must
end.
"""

from __future__ import annotations

from pathlib import Path

from apply_device import ApplyDevice

MOST_STEPS = 400


def kill_at_each_step(device: ApplyDevice, *, soak_s: float = 0.01) -> int:
    """Update the device from number to number, killed at one step later each time."""
    number = 1
    for step in range(1, MOST_STEPS):
        number += 1
        folder = device.deliver(number, device.package(f"v{number}"), soak_s=soak_s)
        code, _ = device.apply(folder, kill_at=step)
        if code == 0:
            return step
        assert code == -9
        if step % 2 and device.keeper is not None:
            device.keeper.kill()
        record = device.assert_whole()
        assert record.active is not None
        assert record.active.number in {number - 1, number}
        device.wait_answer(f"v{number - 1}", f"v{number}")
        code, report = device.apply(folder)
        assert code == 0, f"step {step}: {report} {device.tail()}"
        device.wait_answer(f"v{number}")
    raise AssertionError("the update never ended")


def test_killed_at_every_persistence_step_the_device_stays_whole_and_the_order_ends(
    device: ApplyDevice,
) -> None:
    device.serve()
    device.install(1, "v1")
    steps = kill_at_each_step(device)
    assert steps > 35, "an update has more persistence steps than that"


def test_killed_at_every_step_of_a_fall_back_the_version_before_answers_again(
    device: ApplyDevice,
) -> None:
    device.serve()
    good = device.install(1, "good")
    bad = device.package("bad", serve="errors")
    for number in range(2, MOST_STEPS):
        folder = device.deliver(number, bad, soak_s=5.0)
        code, _ = device.apply(folder, kill_at=number + 20)
        if code == 11:
            break
        assert code == -9
        assert device.assert_whole().kept()[-1].number == 1
        # The supervisor repeats the order, or takes it back.
        if number % 2:
            assert device.apply(folder)[0] == 11, device.tail()
        assert device.apply(good)[0] == 0, device.tail()
        device.wait_answer("good")
    else:
        raise AssertionError("the fall back never ended")
    assert number > 10


def test_killed_at_every_step_of_going_back_the_order_ends(device: ApplyDevice) -> None:
    device.serve()
    before: Path = device.install(1, "v1")
    for step in range(1, MOST_STEPS):
        number = step + 1
        newer = device.install(number, f"v{number}")
        code, _ = device.apply(before, kill_at=step)
        device.assert_whole()
        if code == 0:
            break
        assert code == -9
        assert device.apply(before)[0] == 0, device.tail()
        device.wait_answer(f"v{number - 1}")
        assert device.apply(newer)[0] == 0, device.tail()
        before = newer
    assert step > 3
