"""The module on a device: what its twin names is fetched, checked, served and reported."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
from edge_device import EdgeDevice
from edge_packages import Publisher

from edge_components.contract.release import MANIFEST_FILE, RELEASE_FILE
from edge_components.contract.twin import parse_report


def test_a_release_that_the_twin_names_is_served_and_reported(device: EdgeDevice) -> None:
    device.start()
    one = device.install(1, "v1")
    device.wait_answer("v1")
    report = device.hub.last()
    assert report["package"] == report["active"] == one.package.digest
    assert report["application"] == "plates"
    assert report["reason"] == ""


@pytest.mark.slow
def test_a_newer_release_takes_over_and_the_older_one_is_kept(device: EdgeDevice) -> None:
    device.start()
    device.install(1, "v1")
    device.install(2, "v2")
    device.wait_answer("v2")
    assert device.hub.last()["previous"] == 1
    assert parse_report(device.hub.last()) is not None


def test_a_release_whose_golden_check_fails_never_takes_traffic(device: EdgeDevice) -> None:
    device.start()
    device.install(1, "v1")
    device.wish(2, device.release(2, "bad", check="golden"))
    report = device.until(desired=2, phase="failed")
    assert report["reason"] == "golden-failed"
    assert report["current"] == 1
    assert device.ask() == "v1"


def test_a_release_that_fails_in_its_soak_falls_back(device: EdgeDevice) -> None:
    device.start()
    device.install(1, "v1")
    device.wish(2, device.release(2, "bad", serve="errors", soak_s=5.0))
    report = device.until(desired=2, phase="rolled_back")
    assert report["reason"] == "soak-failed"
    assert report["current"] == 1
    device.wait_answer("v1")


@pytest.mark.slow
def test_the_same_wish_twice_is_one_order(device: EdgeDevice) -> None:
    device.start()
    device.hub.repeats = 3
    one = device.install(1, "v1")
    device.wish(1, one)
    device.wish(1, one)
    assert device.hub.call("ping")[0] == 200
    fetched = [path for path in device.registry.counts if "/blobs/" in path]
    assert all(device.registry.counts[path] == 1 for path in fetched)


def test_an_older_number_that_is_not_kept_is_refused(device: EdgeDevice) -> None:
    device.start()
    old = device.install(1, "v1")
    for number in (2, 3):
        device.install(number, f"v{number}")
    device.wish(1, old)
    report = device.until(desired=1, phase="failed")
    assert report["reason"] == "release-not-newer"
    assert report["current"] == 3
    assert device.ask() == "v3"


def test_the_version_before_is_taken_back_when_the_twin_names_it_again(
    device: EdgeDevice,
) -> None:
    device.start()
    before = device.install(1, "v1")
    device.install(2, "v2")
    device.wish(1, before)
    report = device.until(desired=1, phase="healthy", current=1)
    assert report["active"] == before.package.digest
    device.wait_answer("v1")


def test_of_two_wishes_in_a_row_the_older_is_superseded(device: EdgeDevice) -> None:
    device.start()
    device.install(1, "v1")
    slow = device.release(2, "v2", soak_s=600.0)
    device.wish(2, slow)
    device.until(desired=2, phase="verifying", current=2)
    device.install(3, "v3")
    device.wait_answer("v3")
    assert [v.number for v in device.record().kept()] == [3, 1]


def test_of_two_wishes_while_files_are_fetched_only_the_newer_is_carried_out(
    device: EdgeDevice,
) -> None:
    device.start()
    device.install(1, "v1")
    stuck = device.release(2, "v2", size=300_000)
    weights = max(stuck.package.blobs, key=lambda digest: len(stuck.package.blobs[digest]))
    held = threading.Event()
    device.registry.gates[weights] = 0, held
    device.wish(2, stuck)
    device.until(desired=2, phase="downloading")
    newer = device.release(3, "v3")
    device.wish(3, newer)
    held.set()
    device.until(desired=3, phase="healthy", current=3)
    assert all(report["current"] != 2 for report in device.hub.reports)


@pytest.mark.slow
def test_what_names_something_else_than_it_says_is_refused(device: EdgeDevice) -> None:
    device.start()
    one = device.release(7, "v7")
    device.hub.wish({**device.wanted(8, one), "release": 8})
    report = device.until(desired=8, phase="failed")
    assert report["reason"] == "bad-package"
    assert "release 7" in report["detail"]


def test_a_publisher_that_is_not_trusted_is_refused(device: EdgeDevice) -> None:
    device.start()
    device.wish(1, device.release(1, "v1", signer=Publisher()))
    report = device.until(desired=1, phase="failed")
    assert report["reason"] == "untrusted-publisher"


@pytest.mark.slow
def test_a_wish_that_cannot_be_read_changes_nothing(device: EdgeDevice) -> None:
    device.start()
    device.install(1, "v1")
    device.hub.wish({"release": "two"})
    assert device.hub.call("ping")[0] == 200
    assert device.hub.last()["desired"] == 1
    device.install(3, "v3")


def test_a_registry_that_is_away_is_reported_and_asked_again(device: EdgeDevice) -> None:
    device.start()
    one = device.release(1, "v1")
    device.registry.answers = [(503, {})] * 10_000
    device.wish(1, one)
    report = device.until(desired=1, phase="failed")
    assert report["reason"] == "download-failed"
    device.registry.answers = []
    device.until(desired=1, phase="healthy", current=1)


@pytest.mark.slow
def test_a_device_without_a_wish_reports_that_nothing_is_there(device: EdgeDevice) -> None:
    device.start()
    report = device.until(desired=0, phase="pending")
    assert report["current"] == 0


@pytest.mark.slow
def test_a_runtime_that_ends_by_itself_is_started_again(device: EdgeDevice) -> None:
    device.start()
    device.install(1, "v1")
    device.kill_runtime()
    device.wait_answer("v1")
    status, answer = device.hub.call("status")
    assert status == 200
    assert answer["restarts"] >= 1


def lay_out(folder: Path, device: EdgeDevice, number: int, answer: str) -> Path:
    """Lay a release out as the image of ``bake: true`` has it."""
    one = device.release(number, answer)
    folder.mkdir()
    for digest, data in one.package.blobs.items():
        (folder / digest.removeprefix("sha256:")).write_bytes(data)
    (folder / RELEASE_FILE).write_bytes(one.envelope)
    (folder / MANIFEST_FILE).write_bytes(one.package.manifest_bytes)
    (folder / "model.sig").write_bytes(one.package.signature)
    return folder


def test_a_release_in_the_image_needs_no_registry(device: EdgeDevice, fast_folder: Path) -> None:
    baked = lay_out(fast_folder / "baked", device, 4, "v4")
    one = device.registry.published[-1]
    device.start(baked=baked)
    device.until(desired=4, phase="healthy", current=4)
    device.wish(4, one)
    device.hub.call("ping")
    assert device.hub.last()["phase"] == "healthy"
    assert not device.registry.counts


@pytest.mark.slow
def test_what_the_twin_names_wins_over_what_the_image_brings(
    device: EdgeDevice, fast_folder: Path
) -> None:
    baked = lay_out(fast_folder / "baked", device, 4, "v4")
    device.start(baked=baked)
    device.until(desired=4, phase="healthy", current=4)
    device.install(5, "v5")
    device.stop()
    device.start(baked=baked)
    device.until(desired=5, phase="healthy", current=5)
    device.wait_answer("v5")


def test_a_report_fits_into_a_twin_whatever_the_detail(device: EdgeDevice) -> None:
    device.start()
    one = device.release(1, "v1", application="x" * 50_000)
    device.wish(1, one)
    report = device.until(desired=1, phase="failed")
    assert len(json.dumps(report)) < 4096


@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
def test_told_to_end_it_drains_and_the_next_one_goes_on(number: int, device: EdgeDevice) -> None:
    device.start()
    device.install(1, "v1")
    if number:
        device.wish(2, device.release(2, "v2", soak_s=600.0 if number == 1 else 0.3))
        device.until(desired=2, phase="verifying", current=2)
    assert device.stop() == 0
    deadline = time.monotonic() + 5
    while device.ask() is not None:
        assert time.monotonic() < deadline, "the runtime outlives its module"
    device.start()
    device.wait_answer("v1" if number == 0 else "v2")
