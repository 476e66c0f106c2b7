"""The driver on a fleet that others change meanwhile, and the plan's choice of the way back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_components.contract.release import ReleaseDocument
from edge_components.contract.state import State
from edgectl.api import DeviceStatus, Package, Provider, ProviderContext, Release, Target
from edgectl.errors import PlanError, ProviderError, ThrottledError, UnreachableError
from edgectl.plugins import open_provider
from edgectl.requests import (
    DeployRequest,
    InventoryRequest,
    ObserveRequest,
    PackageRequest,
    RetireRequest,
)
from edgectl.rollout.policy import RolloutPolicy, parse_waves
from edgectl.rollout.verdict import Verdict
from edgectl.rollout.waves import choose_waves
from edgectl.workflow.drive import Driver, Rollout
from edgectl.workflow.plan import plan_target
from edgectl.workflow.shared import Shared

TARGET = Target(name="lots", provider="memory")
OLD, NEW, OTHER = ("sha256:" + digit * 64 for digit in "abc")
BAD = {"end": "failed", "versions": ["2"]}


class Line:
    """A provider behind a line that can be cut.

    Attributes:
        fails: What happens to calls from now on; None lets them through.
    """

    def __init__(self, provider: Provider) -> None:
        self.fails: ProviderError | None = None
        self._provider = provider

    def __getattr__(self, name: str) -> Any:
        if self.fails is not None and name in {"observe", "deploy", "coordinate", "withdraw"}:
            raise self.fails
        return getattr(self._provider, name)


class Fleet:
    """A memory provider, a driver on it, and a clock that only resting moves."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.now = 1_000.0
        self.said: list[str] = []
        self.at_rest: Callable[[], None] = lambda: None
        self.rests = 0

    def make(self, number: int, digest: str, version: str) -> tuple[Release, Package]:
        document = ReleaseDocument(
            application="plates", number=number, version=version, package=digest
        )
        release = Release(document=document, envelope=b"", signature=b"")
        package = Package(
            application="plates", version=version, layout=Path(), digest=digest, size_bytes=1
        )
        self.provider.package(PackageRequest(target=TARGET, package=package, release=release))
        return release, package

    def devices(self) -> list[str]:
        return [d.id for d in self.provider.inventory(InventoryRequest(target=TARGET))]

    def look(self, release: int | None = None) -> dict[str, DeviceStatus]:
        request = ObserveRequest(target=TARGET, application="plates", release=release)
        return {status.device: status for status in self.provider.observe(request)}

    def give(self, number: int, digest: str, version: str, devices: list[str]) -> None:
        """Give devices a release, as another operator would, and wait until it runs."""
        release, package = self.make(number, digest, version)
        request = DeployRequest(
            target=TARGET, release=release, package=package, devices=tuple(devices)
        )
        self.provider.deploy(request)
        while not all(status.state.is_settled for status in self.look(number).values()):
            pass

    def retire(self, device: str) -> None:
        assert self.provider.retire(RetireRequest(target=TARGET, device=device)).removed

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.rests += 1
        self.at_rest()

    def drive(
        self, number: int, *, baseline: str = "", line: Line | None = None, **policy: Any
    ) -> Verdict:
        release, package = self.make(number, NEW, "2")
        sizes = parse_waves(policy.pop("waves", ["100%"]))
        rollout = Rollout(
            target=TARGET,
            release=release,
            package=package,
            policy=RolloutPolicy(waves=sizes, **policy),
            waves=choose_waves(sizes, "plates", self.devices()),
            baseline=baseline,
        )
        provider: Any = line or self.provider
        driver = Driver(
            provider,
            Shared(provider, TARGET, "plates"),
            rollout,
            lambda digest: self.make(90, digest, "1"),
            self.said.append,
            clock=lambda: self.now,
            sleep=self.sleep,
        )
        verdict = driver.run()
        assert verdict is not None
        return verdict


@pytest.fixture
def open_fleet(tmp_path: Path) -> Callable[..., Fleet]:
    """Open a fleet with settings as a project file has them."""

    def open_(**config: Any) -> Fleet:
        context = ProviderContext(
            project_dir=tmp_path, state_dir=tmp_path, progress=lambda line: None
        )
        return Fleet(open_provider("memory", config, context))

    return open_


@pytest.mark.parametrize("wave", [0, 1])
def test_a_device_that_is_removed_meanwhile_is_left_out(
    open_fleet: Callable[..., Fleet], wave: int
) -> None:
    fleet = open_fleet(devices=4)
    order = choose_waves(parse_waves([2, "100%"]), "plates", fleet.devices())
    gone = order[wave][0]

    def leave() -> None:
        if gone in fleet.devices():
            fleet.retire(gone)

    fleet.at_rest = leave
    verdict = fleet.drive(1, waves=[2, "100%"])
    assert (str(verdict.outcome), verdict.counts) == ("healthy", {"healthy": 3})
    assert any(gone in line and "left out" in line for line in fleet.said)


def test_a_target_that_loses_all_its_devices_has_no_healthy_rollout(
    open_fleet: Callable[..., Fleet],
) -> None:
    fleet = open_fleet(devices=2)

    def leave() -> None:
        for device in fleet.devices():
            fleet.retire(device)

    fleet.at_rest = leave
    with pytest.raises(PlanError, match="no device of target 'lots' is left"):
        fleet.drive(1)


def test_going_back_does_not_wait_for_a_device_that_was_removed(
    open_fleet: Callable[..., Fleet],
) -> None:
    behaviours = {"device-0001": {**BAD, "observations": 8}, "*": {"observations": 3}}
    fleet = open_fleet(devices=3, behaviours=behaviours)
    fleet.give(1, OLD, "1", fleet.devices())

    def leave() -> None:
        if "device-0002" in fleet.look(90):
            fleet.retire("device-0002")

    fleet.at_rest = leave
    verdict = fleet.drive(2, baseline=OLD, timeout_s=1_000)
    assert "2 of 2 devices are back" in verdict.why
    assert fleet.rests < 100


def test_a_device_with_a_newer_release_of_somebody_else_keeps_it(
    open_fleet: Callable[..., Fleet],
) -> None:
    behaviours = {"device-0001": {**BAD, "observations": 4}}
    fleet = open_fleet(devices=3, behaviours=behaviours)
    fleet.give(1, OLD, "1", fleet.devices())

    def interfere() -> None:
        if fleet.look(2) and not fleet.look(3):
            fleet.give(3, OTHER, "3", ["device-0003"])

    fleet.at_rest = interfere
    verdict = fleet.drive(2, baseline=OLD)
    assert str(verdict.outcome) == "rolled_back"
    now = fleet.look()
    assert {d: s.active_package for d, s in now.items()} == {
        "device-0001": OLD,
        "device-0002": OLD,
        "device-0003": OTHER,
    }
    assert now["device-0003"].state is State.HEALTHY


def test_the_driver_rests_when_a_device_does_not_take_what_it_is_given(
    open_fleet: Callable[..., Fleet],
) -> None:
    fleet = open_fleet(devices=2)
    fleet.give(5, OTHER, "3", ["device-0002"])
    verdict = fleet.drive(4, timeout_s=50)
    assert str(verdict.outcome) == "timed_out"
    assert fleet.rests >= 50


def baseline(fleet: Fleet, release: int) -> str:
    _, package = fleet.make(release, NEW, "2")
    policy = RolloutPolicy()
    return plan_target(fleet.provider, TARGET, package, release=release, policy=policy).baseline


def test_the_way_back_is_what_most_devices_run(open_fleet: Callable[..., Fleet]) -> None:
    fleet = open_fleet(devices=4)
    fleet.give(1, OLD, "1", ["device-0001", "device-0002", "device-0003"])
    fleet.give(2, OTHER, "3", ["device-0004"])
    assert baseline(fleet, 3) == OLD


def test_the_way_back_is_not_what_a_few_run_when_most_run_this_package_already(
    open_fleet: Callable[..., Fleet],
) -> None:
    fleet = open_fleet(devices=4)
    fleet.give(1, OLD, "1", ["device-0004"])
    fleet.give(2, NEW, "2", ["device-0001", "device-0002", "device-0003"])
    assert baseline(fleet, 3) == ""


def test_devices_that_have_the_release_already_do_not_hide_the_way_back(
    open_fleet: Callable[..., Fleet],
) -> None:
    fleet = open_fleet(devices=4)
    fleet.give(1, OLD, "1", fleet.devices())
    fleet.give(2, NEW, "2", ["device-0001", "device-0002", "device-0003"])
    assert baseline(fleet, 2) == OLD


CUT = UnreachableError("the provider cannot be reached: no route to host")


@pytest.mark.parametrize("error", [CUT, ThrottledError("too many calls")])
def test_a_provider_that_is_away_for_a_while_is_waited_for(
    open_fleet: Callable[..., Fleet], error: ProviderError
) -> None:
    fleet = open_fleet(devices=4, behaviours={"*": {"observations": 3}})
    line = Line(fleet.provider)
    cut_at = fleet.now + 2

    def cut() -> None:
        line.fails = error if cut_at <= fleet.now < cut_at + 250 else None

    fleet.at_rest = cut
    verdict = fleet.drive(1, line=line, waves=[1, "100%"])
    assert str(verdict.outcome) == "healthy"
    said = [line for line in fleet.said if "again" in line]
    assert said[0] == f"lots: {error.message}; trying again for 300 s"
    assert said[1].startswith("lots: it answers again, after 25")
    assert len(said) == 2


def test_a_provider_that_stays_away_is_told_in_the_end(open_fleet: Callable[..., Fleet]) -> None:
    fleet = open_fleet(devices=4, behaviours={"*": {"observations": 3}})
    line = Line(fleet.provider)
    began = fleet.now

    def cut() -> None:
        line.fails = CUT

    fleet.at_rest = cut
    with pytest.raises(UnreachableError) as caught:
        fleet.drive(1, line=line, outage_s=40)
    assert caught.value is CUT
    assert 40 <= fleet.now - began < 60


def test_no_outage_at_all_can_be_asked_for(open_fleet: Callable[..., Fleet]) -> None:
    fleet = open_fleet(devices=4, behaviours={"*": {"observations": 3}})
    line = Line(fleet.provider)

    def cut() -> None:
        line.fails = CUT

    fleet.at_rest = cut
    with pytest.raises(UnreachableError):
        fleet.drive(1, line=line, outage_s=0)
    assert fleet.rests == 1
    assert not any("again" in said for said in fleet.said)


def test_a_provider_that_is_away_from_the_first_is_told_at_once(
    open_fleet: Callable[..., Fleet],
) -> None:
    fleet = open_fleet(devices=4)
    line = Line(fleet.provider)
    line.fails = CUT
    with pytest.raises(UnreachableError):
        fleet.drive(1, line=line)
    assert fleet.rests == 0


@pytest.mark.parametrize("rests", range(1, 8))
def test_the_way_back_is_gone_whenever_the_provider_is_away(
    open_fleet: Callable[..., Fleet], rests: int
) -> None:
    behaviours = {"device-0001": {**BAD, "observations": 4}, "*": {"observations": 3}}
    fleet = open_fleet(devices=3, behaviours=behaviours)
    fleet.give(1, OLD, "1", fleet.devices())
    line = Line(fleet.provider)
    cut_after(fleet, line, rests)
    verdict = fleet.drive(2, baseline=OLD, line=line)
    assert str(verdict.outcome) == "rolled_back"
    assert any("answers again" in said for said in fleet.said)
    assert {status.active_package for status in fleet.look().values()} == {OLD}


def cut_after(fleet: Fleet, line: Line, rests: int) -> None:
    """Cut the line for 20 s after so many rests."""
    cut_at: list[float] = []

    def cut() -> None:
        if fleet.rests == rests:
            cut_at.append(fleet.now)
        line.fails = CUT if cut_at and fleet.now < cut_at[0] + 20 else None

    fleet.at_rest = cut
