"""What happens to a device on a bad day: kills, an edgeHub that is away, tokens that end."""

from __future__ import annotations

import threading
import time

import pytest
from edge_device import EdgeDevice

MOST_STEPS = 400


@pytest.mark.slow
def test_without_an_edgehub_it_starts_with_what_is_there(device: EdgeDevice) -> None:
    device.start()
    device.install(1, "v1")
    device.stop()
    device.hub.stop()
    device.start()
    device.wait_answer("v1")
    device.hub.start()
    device.hub.until(lambda: device.hub.connects > 1)
    device.install(2, "v2")


def test_a_wish_made_while_the_device_was_away_is_read_when_it_is_back(
    device: EdgeDevice,
) -> None:
    device.start()
    device.install(1, "v1")
    device.hub.stop()
    device.wish(2, device.release(2, "v2"), tell=False)
    device.hub.start()
    device.until(desired=2, phase="healthy", current=2)


@pytest.mark.slow
def test_a_change_that_was_missed_is_noticed_by_the_next_one(device: EdgeDevice) -> None:
    device.start()
    one = device.install(1, "v1")
    two = device.release(2, "v2")
    device.wish(2, two, tell=False)
    device.hub.version += 1
    reads = device.hub.twin_reads
    device.hub.wish(device.wanted(2, two))
    device.until(desired=2, phase="healthy", current=2)
    assert device.hub.twin_reads > reads
    assert one.package.digest != two.package.digest


def test_a_connection_that_is_cut_comes_back_and_reports_again(device: EdgeDevice) -> None:
    device.start()
    device.install(1, "v1")
    device.hub.cut()
    device.hub.until(lambda: device.hub.connects == 2)
    device.hub.until(lambda: device.hub.twin_reads == 2)
    device.install(2, "v2")


@pytest.mark.slow
def test_a_twin_that_cannot_be_read_at_first_is_read_later(device: EdgeDevice) -> None:
    device.hub.twin_status = 503
    device.wish(1, device.release(1, "v1"))
    device.start()
    device.hub.until(lambda: device.hub.twin_reads > 1)
    device.hub.twin_status = 200
    device.until(desired=1, phase="healthy", current=1)


def test_a_token_is_renewed_before_it_ends(device: EdgeDevice) -> None:
    device.start(token_s=2)
    device.install(1, "v1")
    device.hub.until(lambda: device.hub.connects >= 3)
    assert device.hub.refusals == []
    assert device.hub.workload.signed >= 3


@pytest.mark.slow
def test_a_daemon_that_does_not_sign_yet_is_asked_again(device: EdgeDevice) -> None:
    device.hub.workload.refuses = True
    device.wish(1, device.release(1, "v1"))
    device.start()
    deadline = time.monotonic() + 10
    while "module not found" not in device.tail():
        assert time.monotonic() < deadline, device.tail()
        time.sleep(0.01)
    device.hub.workload.refuses = False
    device.until(desired=1, phase="healthy", current=1)


@pytest.mark.slow
def test_a_module_whose_key_changed_is_let_in_with_the_new_one(device: EdgeDevice) -> None:
    device.start()
    device.install(1, "v1")
    device.hub.workload.key = b"x" * 32
    device.hub.cut()
    device.hub.until(lambda: device.hub.connects == 2)


def kill_at_each_step(device: EdgeDevice, first: int, stride: int) -> int:
    """Update from number to number, killed at a later step each time; return how many there are."""
    number = 1
    for step in range(first, MOST_STEPS, stride):
        number += 1
        one = device.release(number, f"v{number}", soak_s=0.01)
        device.start(kill_at=step)
        device.wish(number, one)
        deadline = time.monotonic() + 20
        while not (killed := device.has_exited()):
            last = device.hub.last()
            if (last.get("desired"), last.get("phase")) == (number, "healthy"):
                break
            assert time.monotonic() < deadline, (step, device.tail())
            time.sleep(0.01)
        if not killed:
            device.stop()
            return step
        record = device.assert_whole()
        assert record.active is not None
        assert record.active.number in {number - 1, number}
        if step % 2:
            device.kill_runtime()
        device.start()
        device.until(desired=number, phase="healthy", current=number)
        device.wait_answer(f"v{number}")
        device.kill() if step % 3 else device.stop()
    raise AssertionError("the update never ended")


def test_killed_at_some_persistence_steps_the_update_ends(device: EdgeDevice) -> None:
    device.start()
    device.install(1, "v1")
    device.stop()
    assert kill_at_each_step(device, first=9, stride=29) > 20


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_every_persistence_step_the_update_ends(device: EdgeDevice) -> None:
    device.start()
    device.install(1, "v1")
    device.stop()
    assert kill_at_each_step(device, first=1, stride=1) > 20


def test_killed_while_it_fetches_it_continues_where_it_was(device: EdgeDevice) -> None:
    device.start()
    device.install(1, "v1")
    size = 3_000_000
    one = device.release(2, "v2", size=size)
    digest = next(d for d, data in one.package.blobs.items() if len(data) == size)
    partial = device.state_dir / "store/blobs/sha256" / f"{digest.removeprefix('sha256:')}.partial"
    held = threading.Event()
    device.registry.cut = [1_200_000]
    device.registry.gates[digest] = 1, held
    device.wish(2, one)
    deadline = time.monotonic() + 20
    while not partial.exists() or partial.stat().st_size < 1_000_000:
        assert time.monotonic() < deadline, device.tail()
        time.sleep(0.005)
    device.kill()
    held.set()
    device.registry.cut, device.registry.ranges = [], []
    device.start()
    device.until(desired=2, phase="healthy", current=2)
    starts = [int(asked.removeprefix("bytes=").rstrip("-")) for asked in device.registry.ranges]
    assert max(starts) >= 1_000_000


def test_killed_in_its_soak_a_device_without_a_hub_still_ends_it(device: EdgeDevice) -> None:
    device.start()
    device.install(1, "v1")
    device.wish(2, device.release(2, "v2", soak_s=0.5))
    device.until(desired=2, phase="verifying", current=2)
    device.kill()
    device.hub.stop()
    device.registry.answers = [(503, {})] * 100_000
    device.start()
    deadline = time.monotonic() + 15
    while (record := device.record()).update is not None or record.outcome is None:
        assert time.monotonic() < deadline, device.tail()
        time.sleep(0.02)
    assert record.active is not None
    assert record.active.number == 2
    device.wait_answer("v2")
