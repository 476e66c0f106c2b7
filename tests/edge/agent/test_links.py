"""Downloads over links that drop, stall, throttle and lie."""

from __future__ import annotations

import pytest
from ddi_server import DdiServer
from device import Device

BIG = 300_000


@pytest.fixture
def running(device: Device, server: DdiServer) -> Device:
    device.start()
    device.install(5, "old")
    server.faults.only = "bin$"
    server.sent_bytes = 0
    return device


def test_download_that_drops_is_resumed_where_it_broke_off(
    running: Device, server: DdiServer
) -> None:
    server.faults.drop_every = 40_000
    running.install(6, "new", size=BIG)
    running.wait_answer("new")
    assert server.sent_bytes < BIG + 40_000, "bytes were sent twice"
    ranged = [h for _, _, h in server.requests if "Range" in h]
    assert len(ranged) >= 6
    assert all("If-Range" in headers for headers in ranged)


def test_download_goes_on_after_the_agent_was_killed(running: Device, server: DdiServer) -> None:
    server.faults.delay_s, server.faults.piece = 0.02, 10_000
    running.deploy(6, running.package("new", size=BIG))
    server.wait(lambda: server.sent_bytes > BIG // 2)
    running.kill()
    server.faults.delay_s = 0
    server.sent_bytes = 0
    running.start()
    assert server.wait_closed("a6") == "success"
    assert server.sent_bytes < BIG * 0.75


def test_slow_link_is_not_given_up(running: Device, server: DdiServer) -> None:
    server.faults.piece, server.faults.delay_s = 3000, 0.02
    server.faults.drop_every = 9000
    running.install(6, "new", size=100_000)


def test_stalled_download_times_out_and_resumes(running: Device, server: DdiServer) -> None:
    server.faults.stalls = 1
    running.install(6, "new", size=BIG)
    assert any("Range" in headers for _, _, headers in server.requests)


def test_busy_hub_is_asked_again(running: Device, server: DdiServer) -> None:
    action = running.deploy(6, running.package("new"))
    server.faults.unavailable = 4
    assert server.wait_closed(action.id) == "success"


@pytest.mark.parametrize("ranges", ["ignored", "wrong", "refused"])
def test_server_that_gets_ranges_wrong_costs_time_only(
    running: Device, server: DdiServer, ranges: str
) -> None:
    server.faults.ranges = ranges
    server.faults.drop_every, server.faults.drops = 40_000, 2
    running.install(6, "new", size=BIG)
    running.wait_answer("new")


def test_byte_that_is_corrupted_once_is_fetched_again(running: Device, server: DdiServer) -> None:
    server.faults.corrupt = 1
    running.install(6, "new", size=BIG)
    running.wait_answer("new")


def test_truncated_answer_is_completed(running: Device, server: DdiServer) -> None:
    server.faults.truncate = 2
    running.install(6, "new", size=BIG)


def test_bytes_that_are_always_corrupt_are_refused(running: Device, server: DdiServer) -> None:
    server.faults.corrupt = 1000
    running.deploy(6, running.package("new", size=BIG))
    assert server.wait_closed("a6") == "failure"
    assert server.attributes["edgectl_reason"] == "digest-mismatch"
    running.wait_answer("old")


def test_corrupt_release_document_is_refused(running: Device, server: DdiServer) -> None:
    server.faults.only, server.faults.corrupt = "release", 1000
    running.deploy(6, running.package("new"))
    assert server.wait_closed("a6") == "failure"
    assert server.attributes["edgectl_reason"] == "digest-mismatch"


def test_link_that_brings_nothing_is_given_up_in_the_end(
    running: Device, server: DdiServer
) -> None:
    server.faults.drop_every = 1
    server.faults.ranges = "ignored"
    running.deploy(6, running.package("new", size=BIG))
    assert server.wait_closed("a6") == "failure"
    assert server.attributes["edgectl_reason"] == "download-failed"
    running.wait_answer("old")
    server.faults.drop_every = 0
    running.install(7, "newer", size=BIG)


def test_token_is_not_sent_to_another_server(running: Device, server: DdiServer) -> None:
    other = DdiServer()
    try:
        action = running.deploy(6, running.package("new"))
        with server.lock:
            other._blobs.update(server._blobs)
            server.download_url = other.url
        server.wait(lambda: any(path.startswith("/files/") for _, path, _ in other.requests))
        assert all("Authorization" not in headers for _, _, headers in other.requests)
        assert action.open or action.finished == "failure"
    finally:
        other.stop()


def test_hub_that_is_away_at_boot_does_not_stop_the_device_from_answering(
    running: Device, server: DdiServer
) -> None:
    assert running.stop() == 0
    server.stop()
    running.start()
    running.wait_answer("old")
    server.start()
    running.install(6, "new")
    running.wait_answer("new")
