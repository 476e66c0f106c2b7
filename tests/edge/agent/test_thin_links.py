"""Devices behind links that are slow, or that others need during the day."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from bundles import make_bundle
from ddi_server import TOKEN, DdiServer
from device import Device
from edge_packages import make_release

from edge_components.agent.backoff import Backoff
from edge_components.agent.download import Download, DownloadPolicy, Memory
from edge_components.agent.http import HubHttp, Timeouts
from edge_components.contract.device import HubSection
from edge_components.contract.release import NetworkSettings
from edge_components.contract.window import Hours
from edge_components.update.link import Link, Listener

WEIGHTS = 300_000


def shut() -> NetworkSettings:
    """Return a window that opens in six hours."""
    begins = datetime.now(UTC) + timedelta(hours=6)
    begin = begins.hour * 60 + begins.minute
    hours = Hours(begin=begin, end=(begin + 60) % 1440, days=tuple(range(7)))
    return NetworkSettings(hours=hours, zone="UTC")


def wait_held(server: DdiServer, release: int) -> None:
    """Wait until the device says that a release waits for its window."""
    server.wait(
        lambda: (
            server.attributes.get("edgectl_reason") == "download-window"
            and server.attributes.get("edgectl_release") == str(release)
        )
    )


def fetched(server: DdiServer) -> set[str]:
    """Return the names of the files that were asked for."""
    paths = [path for method, path, _headers in server.requests if method == "GET"]
    return {path.rpartition("/")[2] for path in paths if path.startswith("/files/")}


def large(files: dict[str, bytes]) -> str:
    """Return the name of the weights."""
    return max(files, key=lambda name: len(files[name]))


@pytest.fixture
def held(device: Device) -> Device:
    """A device that runs release 1, and waits for the window of release 2."""
    device.start()
    device.install(1, "one")
    device.deploy(2, device.package("two", size=WEIGHTS), network=shut())
    wait_held(device.server, 2)
    return device


def test_a_closed_window_holds_back_files_and_not_the_manifest(held: Device) -> None:
    server = held.server
    files = server.actions["a2"].files
    assert {"edgectl-release.json", "edgectl-manifest.json", "model.sig"} <= fetched(server)
    assert large(files) not in fetched(server)
    assert server.attributes["edgectl_state"] == "downloading"
    assert server.attributes["edgectl_detail"].startswith("waits for its download window until ")
    details = [said for one in server.actions["a2"].feedback for said in one["details"]]
    assert any("waits for its download window" in said for said in details)
    assert held.wait_answer("one")


def test_a_device_that_is_killed_while_it_waits_waits_again(held: Device) -> None:
    server = held.server
    held.kill()
    server.attributes.clear()
    held.start()
    wait_held(server, 2)
    assert large(server.actions["a2"].files) not in fetched(server)
    held.wait_answer("one")
    held.assert_whole()


def test_an_order_that_is_taken_back_while_a_device_waits_ends(held: Device) -> None:
    server = held.server
    server.cancel("a2")
    assert server.wait_closed("a2") == "canceled"
    server.wait(lambda: server.attributes["edgectl_reason"] == "canceled")
    assert held.wait_answer("one")
    assert not held.record().update


@pytest.mark.slow
def test_a_release_that_waits_for_its_window_can_be_brought_by_hand(held: Device) -> None:
    package = held.package("two", size=WEIGHTS)
    release = make_release(held.publisher, package, 2, network=shut())
    stick = held.folder / "release.bundle"
    stick.write_bytes(make_bundle(release, package).tar())
    code, report = held.bring(stick).end()
    assert (code, report["state"], report["active_release"]) == (0, "healthy", 2)
    assert held.server.wait_closed("a2") == "success"
    assert large(held.server.actions["a2"].files) not in fetched(held.server)


def test_a_release_with_another_window_takes_the_place_of_one_that_waits(held: Device) -> None:
    package = held.package("two", size=WEIGHTS)
    held.deploy(3, package, network=NetworkSettings(bandwidth=50_000_000))
    held.server.actions["a2"].canceling = True
    assert held.server.wait_closed("a3") == "success", held.tail()
    assert held.wait_answer("two")
    assert held.server.attributes["edgectl_reason"] == ""


def test_what_a_slow_download_brought_is_not_fetched_again_by_a_faster_one(device: Device) -> None:
    device.start()
    server, package = device.server, device.package("one", size=WEIGHTS)
    device.deploy(1, package, network=NetworkSettings(bandwidth=100_000))
    blobs = device.state_dir / "store/blobs/sha256"
    server.wait(lambda: any(path.stat().st_size > 20_000 for path in blobs.glob("*.partial")))
    action = device.deploy(2, package)
    server.actions["a1"].canceling = True
    assert server.wait_closed("a2") == "success"
    name = large(action.files)
    ranges = [h.get("Range", "") for _method, path, h in server.requests if path.endswith(name)]
    assert ranges[0] == ""
    assert int(ranges[-1].removeprefix("bytes=").rstrip("-")) > 20_000


def test_nothing_waits_where_all_files_are_here(device: Device) -> None:
    device.start()
    package = device.package("one", size=WEIGHTS)
    device.deploy(1, package)
    assert device.server.wait_closed("a1") == "success"
    device.deploy(2, package, network=shut())
    assert device.server.wait_closed("a2") == "success"


def test_a_capped_download_takes_the_time_that_its_bytes_take(device: Device) -> None:
    device.start()
    server, rate = device.server, 400_000
    began: list[float] = []
    action = device.deploy(
        1, device.package("one", size=WEIGHTS), network=NetworkSettings(bandwidth=rate)
    )
    server.wait(lambda: large(action.files) in fetched(server))
    began.append(time.monotonic())
    assert server.wait_closed("a1") == "success"
    # A busy machine makes it longer, never shorter; an eighth of a second is read at once.
    assert time.monotonic() - began[0] >= WEIGHTS / rate - 0.25


class Night:
    """A clock that only waiting moves; it begins ten seconds before the window ends."""

    def __init__(self, ends: float) -> None:
        self.now = ends - 10

    def wall(self) -> float:
        return self.now

    def steady(self) -> float:
        return self.now

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        self.now += seconds
        return stop.is_set()


def test_a_download_stops_at_the_end_of_its_window_and_goes_on_in_the_next(
    server: DdiServer,
) -> None:
    data = bytes(range(256)) * 200
    server.assign("a1", {"weights": data})
    artifact = server.url + f"/files/{next(iter(server._blobs))}/weights"
    ends = datetime(2026, 11, 21, 5, tzinfo=UTC).timestamp()
    clock, told = Night(ends), list[str]()
    limits = NetworkSettings(
        bandwidth=2000, hours=Hours(begin=1320, end=300, days=tuple(range(7))), zone="UTC"
    )
    http = HubHttp(HubSection(url=server.url, token=TOKEN), timeouts=Timeouts(), agent="test")
    target = Memory(len(data))
    policy = DownloadPolicy(fruitless=1, backoff=Backoff(first_s=0.01, most_s=0.01))
    link = Link(limits, listener=Listener(tell=told.append), clock=clock)
    Download(
        http, artifact, "weights", target, policy=policy, stop=threading.Event(), link=link
    ).run()
    http.close()
    assert bytes(target.data) == data
    assert told == ["waits for its download window until 22:00", ""]
    ranges = [headers.get("Range", "") for _method, path, headers in server.requests if path]
    first, second = ranges[0], int(ranges[1].removeprefix("bytes=").rstrip("-"))
    assert not first
    assert second <= 2000 * 11
    opened = datetime(2026, 11, 21, 22, tzinfo=UTC).timestamp()
    # What was left took its time in the second window, but for the second that is made up for.
    assert clock.now - opened >= (len(data) - second) / 2000 - 1.1
