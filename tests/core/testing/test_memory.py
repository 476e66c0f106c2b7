"""What virtual devices do, and that processes share them; the hooks' rules are in the kit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_components.contract.device import parse_device_config
from edge_components.contract.state import State
from edgectl.api import ConflictError, LimitError, ProjectError, ProviderError, Target
from edgectl.requests import (
    CheckRequest,
    CoordinateRequest,
    EnrollRequest,
    InventoryRequest,
    RetireRequest,
    TelemetryRequest,
    WithdrawRequest,
)

TARGET = Target(name="lots", provider="memory")
OpenFleet = Callable[..., Any]


def names(fleet: Any, target: Target = TARGET) -> list[str]:
    return [device.id for device in fleet.provider.inventory(InventoryRequest(target=target))]


def test_counted_devices_have_names_in_order_and_a_site(open_fleet: OpenFleet) -> None:
    fleet = open_fleet(devices=12, page_size=5)
    listed = names(fleet)
    assert listed == sorted(listed)
    assert (listed[0], len(listed)) == ("device-0001", 12)
    site = Target(name="s", provider="memory", selector={"labels": {"site": "site-1"}})
    assert names(fleet, site) == ["device-0001", "device-0008"]


def test_listed_devices_keep_their_hardware_and_others_take_the_targets(
    open_fleet: OpenFleet,
) -> None:
    fleet = open_fleet(devices=[{"id": "a", "hardware": "jetson-nano"}, {"id": "b"}])
    target = Target(name="t", provider="memory", hardware="raspberry-pi-4")
    found = fleet.provider.inventory(InventoryRequest(target=target))
    assert [device.hardware for device in found] == ["jetson-nano", "raspberry-pi-4"]


@pytest.mark.parametrize(
    ("end", "state"),
    [
        ("healthy", State.HEALTHY),
        ("failed", State.FAILED),
        ("rolled_back", State.ROLLED_BACK),
        ("unreachable", State.UNREACHABLE),
    ],
)
def test_device_ends_as_its_behaviour_says(open_fleet: OpenFleet, end: str, state: State) -> None:
    fleet = open_fleet(devices=1, behaviours={"*": {"end": end, "observations": 0}})
    release = fleet.release(1)
    fleet.give(release, ["device-0001"])
    assert fleet.look(release)["device-0001"].state is state


def test_device_goes_through_the_states_on_its_way(open_fleet: OpenFleet) -> None:
    fleet = open_fleet(devices=1, behaviours={"*": {"observations": 4}})
    release = fleet.release(1)
    fleet.give(release, ["device-0001"])
    seen = [fleet.look(release)["device-0001"].state for _ in range(5)]
    assert seen[-1] is State.HEALTHY
    assert State.HEALTHY not in seen[:-1]
    assert {State.DOWNLOADING, State.INSTALLING, State.VERIFYING} <= set(seen)


def test_state_begins_when_it_is_reached_and_not_before(open_fleet: OpenFleet) -> None:
    fleet = open_fleet(devices=1, behaviours={"*": {"observations": 2}})
    release = fleet.release(1)
    fleet.give(release, ["device-0001"])
    first = fleet.look(release)["device-0001"].since
    fleet.look(release)
    healthy = fleet.look(release)["device-0001"].since
    assert healthy > first
    assert fleet.look(release)["device-0001"].since == healthy


def test_first_pattern_that_matches_device_and_version_decides(open_fleet: OpenFleet) -> None:
    behaviours = {
        "device-0001": {"end": "failed", "reason": "disk-full", "versions": ["2.0.0"]},
        "device-*": {"observations": 0},
    }
    fleet = open_fleet(devices=2, behaviours=behaviours)
    good, bad = fleet.release(1), fleet.release(2, version="2.0.0", digit="b")
    fleet.give(good, ["device-0001", "device-0002"])
    assert {s.state for s in fleet.look(good).values()} == {State.HEALTHY}
    fleet.give(bad, ["device-0001", "device-0002"])
    fleet.look(bad)
    states = fleet.look(bad)
    assert (states["device-0001"].state, states["device-0001"].reason) == (
        State.FAILED,
        "disk-full",
    )
    assert states["device-0002"].state is State.HEALTHY


def test_failed_device_answers_with_the_release_before_and_can_go_back_to_it(
    open_fleet: OpenFleet,
) -> None:
    behaviour = {"*": {"end": "failed", "observations": 0, "versions": ["2.0.0"]}}
    fleet = open_fleet(devices=1, behaviours=behaviour)
    for release in (fleet.release(1), fleet.release(2, version="2.0.0", digit="b")):
        fleet.give(release, ["device-0001"])
        for _ in range(2):
            status = fleet.look(release)["device-0001"]
    assert (status.state, status.active_release) == (State.FAILED, 1)
    back = fleet.release(3)
    fleet.give(back, ["device-0001"])
    fleet.look(back)
    status = fleet.look(back)["device-0001"]
    assert (status.state, status.active_release) == (State.HEALTHY, 3)


def test_release_that_was_taken_back_counts_as_never_given_and_can_be_given_again(
    open_fleet: OpenFleet,
) -> None:
    fleet = open_fleet(devices=2, behaviours={"*": {"observations": 1}})
    first, second = fleet.release(1), fleet.release(2, version="2.0.0", digit="b")
    fleet.give(first, ["device-0001"])
    for _ in range(2):
        fleet.look(first)
    fleet.give(second, ["device-0001", "device-0002"])
    request = WithdrawRequest(target=TARGET, application="plates", release=2)
    assert fleet.provider.withdraw(request).devices == ("device-0001", "device-0002")
    assert fleet.look(second) == {}
    assert fleet.look()["device-0001"].active_release == 1
    fleet.give(second, ["device-0001", "device-0002"])
    for _ in range(2):
        states = fleet.look(second)
    assert {status.state for status in states.values()} == {State.HEALTHY}


def test_what_devices_did_is_told_as_telemetry(open_fleet: OpenFleet) -> None:
    fleet = open_fleet(devices=2, behaviours={"device-0002": {"end": "failed"}})
    fleet.give(fleet.release(1), ["device-0001", "device-0002"])
    for _ in range(3):
        fleet.look()
    request = TelemetryRequest(target=TARGET, application="plates", device="device-0002")
    bodies = [r.body for page in fleet.provider.telemetry(request) for r in page.records]
    assert bodies == ["release 1: installing", "release 1: failed"]


def test_unknown_selector_key_is_refused(open_fleet: OpenFleet) -> None:
    target = Target(name="t", provider="memory", selector={"thing_group": "x"})
    with pytest.raises(ProjectError, match=r"targets\.t\.selector: unknown key 'thing_group'"):
        names(open_fleet(), target)


def test_wrong_setting_is_refused_with_its_key(open_fleet: OpenFleet) -> None:
    with pytest.raises(ProjectError, match=r"providers\.memory\.behaviours"):
        open_fleet(behaviours={"*": {"end": "explodes"}})


def test_package_above_the_limit_is_refused_and_the_limit_is_known(open_fleet: OpenFleet) -> None:
    fleet = open_fleet(max_package_bytes=99)
    assert fleet.provider.capabilities().limits.max_package_bytes == 99
    with pytest.raises(LimitError, match="at most 99"):
        fleet.give(fleet.release(1), [])


def test_shared_text_above_the_limit_is_refused(open_fleet: OpenFleet) -> None:
    request = CoordinateRequest(target=TARGET, application="plates", key="lease", value="x" * 401)
    with pytest.raises(LimitError, match="at most 400"):
        open_fleet().provider.coordinate(request)


def test_check_tells_a_target_that_finds_nothing(open_fleet: OpenFleet) -> None:
    empty = Target(name="mars", provider="memory", selector={"ids": ["nobody"]})
    findings = open_fleet().provider.check(CheckRequest(targets=(TARGET, empty)))
    assert [(f.name, f.ok) for f in findings if f.name.startswith("target")] == [
        ("target lots", True),
        ("target mars", False),
    ]


def enroll(fleet: Any, name: str, target: Target = TARGET) -> Any:
    return fleet.provider.enroll(
        EnrollRequest(
            target=target,
            application="plates",
            name=name,
            hardware="raspberry-pi-5",
            publisher_key="-----BEGIN PUBLIC KEY-----\n",
        )
    )


def test_enrolled_device_gets_the_labels_that_its_target_selects(open_fleet: OpenFleet) -> None:
    fleet = open_fleet(devices=1)
    site = Target(name="s", provider="memory", selector={"labels": {"site": "mars"}})
    files = enroll(fleet, "rover", site).files
    assert names(fleet, site) == ["rover"]
    assert parse_device_config(files["rover.toml"]).device.hardware == "raspberry-pi-5"


def test_device_that_its_target_cannot_name_is_not_enrolled(open_fleet: OpenFleet) -> None:
    named = Target(name="s", provider="memory", selector={"ids": ["device-0001"]})
    with pytest.raises(ConflictError, match="does not name 'rover'"):
        enroll(open_fleet(), "rover", named)


def test_configured_device_can_go_and_come_back(open_fleet: OpenFleet) -> None:
    fleet = open_fleet(devices=2)
    assert fleet.provider.retire(RetireRequest(target=TARGET, device="device-0001")).removed
    assert names(fleet) == ["device-0002"]
    enroll(fleet, "device-0001")
    assert names(fleet) == ["device-0001", "device-0002"]


def test_fleet_is_shared_by_everyone_who_opens_the_project(open_fleet: OpenFleet) -> None:
    first, second = open_fleet(), open_fleet()
    release = first.release(1)
    first.give(release, ["device-0001"])
    assert second.look(release).keys() == {"device-0001"}
    enroll(second, "rover")
    assert "rover" in names(first)


def test_fleet_in_memory_is_shared_with_nobody(open_fleet: OpenFleet) -> None:
    first, second = open_fleet(path=""), open_fleet(path="")
    first.give(first.release(1), ["device-0001"])
    assert second.look() == {}


def test_processes_that_swap_at_the_same_time_lose_nothing(
    open_fleet: OpenFleet, tmp_path: Path
) -> None:
    code = """
import sys
from pathlib import Path
from edgectl.api import CoordinateRequest, ProviderContext, Target, provider_from_plugin
from edgectl.testing.memory import MemoryConfig, MemoryProvider
folder = Path(sys.argv[1])
context = ProviderContext(project_dir=folder, state_dir=folder / ".edgectl", progress=print)
provider = provider_from_plugin("memory", MemoryProvider(MemoryConfig(), context), context)
target = Target(name="lots", provider="memory")
done, present = 0, None
while done < 25:
    result = provider.coordinate(CoordinateRequest(
        target=target, application="plates", key="lease",
        expect=present, value=str(int(present or 0) + 1)))
    present, done = result.value, done + result.swapped
"""
    counters = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(3)]
    assert [counter.wait(100) for counter in counters] == [0, 0, 0]
    request = CoordinateRequest(target=TARGET, application="plates", key="lease", read_only=True)
    assert open_fleet().provider.coordinate(request).value == "75"


def test_damaged_file_is_told(open_fleet: OpenFleet, tmp_path: Path) -> None:
    fleet = open_fleet()
    fleet.give(fleet.release(1), ["device-0001"])
    (tmp_path / ".edgectl" / "memory" / "fleet.json").write_text("{")
    with pytest.raises(ProviderError, match=r"fleet\.json' cannot be read"):
        fleet.look()


def test_hundred_thousand_devices_are_listed_and_observed(open_fleet: OpenFleet) -> None:
    fleet = open_fleet(devices=100_000, path="", behaviours={"*": {"observations": 0}})
    listed = names(fleet)
    release = fleet.release(1)
    fleet.give(release, listed)
    assert len(fleet.look(release)) == 100_000
