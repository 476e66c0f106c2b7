"""Modes, cancellations, repeated orders and two agents on one store."""

from __future__ import annotations

from ddi_server import DdiServer
from device import Device


def _slow(server: DdiServer) -> None:
    server.faults.delay_s, server.faults.piece, server.faults.only = 0.05, 2000, "bin$"


def test_skipped_install_downloads_and_waits(device: Device, server: DdiServer) -> None:
    device.start()
    action = device.deploy(1, device.package("one"), update="skip")
    server.wait(lambda: [f for f in action.feedback if "waits" in f["details"][-1]])
    assert action.feedback[-1]["execution"] == "downloaded"
    assert device.ask() is None
    assert device.record().active is None
    server.sent_bytes = 0
    action.update = "attempt"
    assert server.wait_closed("a1") == "success"
    device.wait_answer("one")


def test_closed_maintenance_window_downloads_and_waits_for_it(
    device: Device, server: DdiServer
) -> None:
    device.start()
    action = device.deploy(1, device.package("one", size=100_000), window="unavailable")
    server.wait(lambda: [f for f in action.feedback if f["execution"] == "downloaded"])
    server.sent_bytes = 0
    action.window = "available"
    assert server.wait_closed("a1") == "success"
    assert server.sent_bytes < 50_000, "the weights were fetched again"


def test_skipped_download_does_nothing(device: Device, server: DdiServer) -> None:
    device.start()
    action = device.deploy(1, device.package("one"), download="skip", update="skip")
    seen = server.polls
    server.wait(lambda: server.polls > seen + 5)
    assert action.feedback == []
    assert server.sent_bytes == 0


def test_cancel_during_the_download_is_accepted_and_the_old_version_stays(
    device: Device, server: DdiServer
) -> None:
    device.start()
    device.install(5, "old")
    _slow(server)
    action = device.deploy(6, device.package("new", size=500_000))
    server.wait(lambda: list((device.state_dir / "store/blobs/sha256").glob("*.partial")))
    server.cancel("a6")
    assert server.wait_closed("a6") == "canceled"
    assert action.cancel_feedback[-1]["execution"] == "closed"
    assert server.attributes["edgectl_state"] == "skipped"
    assert server.attributes["edgectl_reason"] == "canceled"
    device.wait_answer("old")
    server.faults.delay_s = 0
    device.install(7, "newer")


def test_cancel_of_a_held_update_is_accepted(device: Device, server: DdiServer) -> None:
    device.start()
    action = device.deploy(1, device.package("one"), update="skip")
    server.wait(lambda: [f for f in action.feedback if "waits" in f["details"][-1]])
    server.cancel("a1")
    assert server.wait_closed("a1") == "canceled"
    assert device.record().update is None


def test_cancel_after_the_switch_is_rejected_and_the_update_goes_on(
    device: Device, server: DdiServer
) -> None:
    device.start()
    action = device.deploy(1, device.package("one"), soak_s=1)
    device.wait_answer("one")
    server.cancel("a1")
    assert server.wait_closed("a1") == "success"
    assert [s["execution"] for s in action.cancel_feedback] == ["rejected"]


def test_cancel_of_an_unknown_action_is_accepted(device: Device, server: DdiServer) -> None:
    device.deploy(1, device.package("one"))
    server.cancel("a1")
    device.start()
    assert server.wait_closed("a1") == "canceled"


def test_another_order_takes_the_place_of_one_that_downloads(
    device: Device, server: DdiServer
) -> None:
    device.start()
    device.install(5, "old")
    _slow(server)
    device.deploy(6, device.package("new", size=500_000))
    server.wait(lambda: list((device.state_dir / "store/blobs/sha256").glob("*.partial")))
    del server.actions["a6"]
    server.faults.delay_s = 0
    device.deploy(7, device.package("newer"))
    assert server.wait_closed("a7") == "success"
    device.wait_answer("newer")


def test_outcome_is_reported_after_a_kill_and_the_update_is_not_done_again(
    device: Device, server: DdiServer
) -> None:
    server.faults.refuse_feedback = 503
    device.start()
    device.deploy(1, device.package("one"))
    server.wait(lambda: device.record().outcome)
    device.kill()
    server.faults.refuse_feedback = 0
    server.sent_bytes = 0
    device.start()
    assert server.wait_closed("a1") == "success"
    assert server.sent_bytes == 0
    assert server.attributes["edgectl_state"] == "healthy"


def test_closing_feedback_waits_for_the_attributes(device: Device, server: DdiServer) -> None:
    device.start()
    server.wait(lambda: server.attributes)
    server.faults.attributes_down = True
    action = device.deploy(1, device.package("one"))
    device.wait_answer("one")
    server.wait(lambda: device.record().outcome)
    seen = len(server.requests)
    server.wait(lambda: len(server.requests) > seen + 5)
    assert action.open
    server.faults.attributes_down = False
    assert server.wait_closed("a1") == "success"


def test_hub_that_forgot_the_action_does_not_block_the_next(
    device: Device, server: DdiServer
) -> None:
    device.start()
    device.deploy(1, device.package("one"), soak_s=0.5)
    device.wait_answer("one")
    del server.actions["a1"]
    server.wait(lambda: (o := device.record().outcome) and o.delivered)
    device.install(2, "two")


def test_failed_release_may_be_ordered_again_by_another_action(
    device: Device, server: DdiServer
) -> None:
    device.start()
    package = device.package("one", size=30_000)
    device.configure()
    server.faults.corrupt, server.faults.only = 99, "bin$"
    device.deploy(1, package)
    assert server.wait_closed("a1") == "failure"
    server.faults.corrupt = 0
    device.deploy(1, package, action="retry")
    # Signing anew gives another envelope around the same release.
    assert server.wait_closed("retry") == "success"


def test_second_agent_on_the_store_is_refused(device: Device, server: DdiServer) -> None:
    device.start()
    device.install(1, "one")
    first = device.pid
    device.start()
    assert device.wait_exit() == 3
    assert "in use by another agent" in device.tail()
    device.pid = first
    device.wait_answer("one")
    assert device.stop() == 0
