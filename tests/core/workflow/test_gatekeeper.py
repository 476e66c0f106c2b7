"""Gates on a fleet that tells: which records are read, and what the driver makes of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge_components.contract.histogram import counted, to_attributes
from edge_components.contract.release import ReleaseDocument
from edge_components.contract.telemetry import Kind, TelemetryRecord
from edgectl.api import Package, Provider, ProviderContext, Release, Target
from edgectl.cli import plan_text
from edgectl.cli.junit import junit
from edgectl.errors import PlanError, ProviderError, UnreachableError
from edgectl.hookspecs import hookimpl
from edgectl.plugins import open_provider
from edgectl.records import Capabilities, ReleaseRecord
from edgectl.requests import (
    CapabilitiesRequest,
    DeployRequest,
    InventoryRequest,
    ObserveRequest,
    PackageRequest,
    TelemetryPage,
    TelemetryRequest,
)
from edgectl.rollout.decision import Judge
from edgectl.rollout.gates import Gate, GatePolicy, Judged, read_gate
from edgectl.rollout.policy import RolloutPolicy, parse_waves
from edgectl.rollout.verdict import Verdict, describe
from edgectl.rollout.waves import choose_waves
from edgectl.workflow.drive import Driver, Rollout
from edgectl.workflow.gatekeeper import BEFORE_S, PAGE, SLACK_S, GateKeeper
from edgectl.workflow.plan import Plan, TargetPlan, plan_target
from edgectl.workflow.results import TargetResult
from edgectl.workflow.resume import is_way_back
from edgectl.workflow.review import check_unchanged
from edgectl.workflow.shared import Shared

TARGET = Target(name="lots", provider="memory")
OLD, NEW = ("sha256:" + digit * 64 for digit in "ab")
GRID = (0.001, 0.01, 0.05, 0.1, 1.0)
ERRORS = GatePolicy(gates=(read_gate("error_rate", "<= 1%"),))
START = 100_000.0


def told(
    device: str,
    number: int,
    *,
    at: float,
    release: int = 2,
    failed: int = 0,
    seconds: Iterable[float] = (0.005,) * 100,
) -> TelemetryRecord:
    latency = counted(seconds, GRID)
    return TelemetryRecord(
        id=f"{device}-{number}",
        kind=Kind.HEALTH,
        time_unix_ns=int(at * 1e9),
        device=device,
        application="plates",
        release=release,
        sequence=number,
        attributes={
            "interval.answered": latency.count,
            "interval.failed": failed,
            **to_attributes("latency_s", latency),
        },
    )


class Teller:
    """What the devices have told, in place of what the provider would read back.

    Attributes:
        asked: Every request.
        error: Raised in place of an answer.
    """

    def __init__(self) -> None:
        self.records: list[TelemetryRecord] = []
        self.asked: list[TelemetryRequest] = []
        self.error: Exception | None = None
        self.readable = True

    @hookimpl(wrapper=True)
    def telemetry(self, request: TelemetryRequest) -> Generator[None, object, TelemetryPage]:
        yield
        self.asked.append(request)
        if self.error is not None:
            raise self.error
        start = int(request.cursor or 0)
        found = sorted(
            (r for r in self.records if self._fits(r, request)), key=lambda r: r.time_unix_ns
        )
        end = start + request.limit
        following = str(end) if end < len(found) else ""
        return TelemetryPage(records=tuple(found[start:end]), next=following)

    @hookimpl(wrapper=True)
    def capabilities(
        self, request: CapabilitiesRequest
    ) -> Generator[None, Capabilities, Capabilities]:
        del request
        found = yield
        return msgspec.structs.replace(found, telemetry=self.readable)

    @staticmethod
    def _fits(record: TelemetryRecord, request: TelemetryRequest) -> bool:
        return (
            record.kind is request.kind
            and record.application == request.application
            and record.time_unix_ns >= request.since_unix_ns
        )


class Fleet:
    """A memory provider whose devices tell, and a clock that only resting moves."""

    def __init__(self, folder: Path, **config: Any) -> None:
        self.teller = Teller()
        context = ProviderContext(project_dir=folder, state_dir=folder, progress=lambda line: None)
        self.provider = open_provider("memory", config, context, wrappers=(self.teller,))
        self.now = time.time()  # as the provider's states are dated
        self.said: list[str] = []
        self.at_rest: Callable[[], None] = lambda: None

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

    def settle(self, number: int, digest: str, version: str) -> None:
        """Give all devices a release, and wait until it runs."""
        release, package = self.make(number, digest, version)
        devices = tuple(self.devices())
        self.provider.deploy(
            DeployRequest(target=TARGET, release=release, package=package, devices=devices)
        )
        request = ObserveRequest(target=TARGET, application="plates", release=number)
        while not all(status.state.is_settled for status in self.provider.observe(request)):
            pass

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.at_rest()

    def drive(self, **policy: Any) -> Verdict:
        release, package = self.make(2, NEW, "2")
        sizes = parse_waves(policy.pop("waves", ["100%"]))
        gates = policy.pop("gates", ERRORS)
        rollout = Rollout(
            target=TARGET,
            release=release,
            package=package,
            policy=RolloutPolicy(waves=sizes, soak_s=60.0, gates=gates, **policy),
            waves=choose_waves(sizes, "plates", self.devices()),
            baseline=OLD,
        )
        driver = Driver(
            self.provider,
            Shared(self.provider, TARGET, "plates", clock=lambda: self.now),
            rollout,
            lambda digest: self.make(3, digest, "1"),
            self.said.append,
            clock=lambda: self.now,
            sleep=self.sleep,
        )
        verdict = driver.run()
        assert verdict is not None
        return verdict

    def keeper(self, *gates: Gate, **policy: Any) -> GateKeeper:
        release, _ = self.make(2, NEW, "2")
        made = GatePolicy(gates=gates or ERRORS.gates, **policy)
        return GateKeeper(self.provider, TARGET, release, made, self.said.append)


@pytest.fixture
def open_fleet(tmp_path: Path) -> Callable[..., Fleet]:
    """Open a fleet with settings as a project file has them."""
    return lambda **config: Fleet(tmp_path, **config)


def soaking(*devices: str, over: bool = False) -> Judge:
    return Judge(wave=1, devices=devices, since=START, soaked=START + 60, over=over)


def look(keeper: GateKeeper, asked: Judge, now: float = START + 30) -> Judged:
    keeper.judge(asked, now)
    return keeper.judged[asked.wave]


# -- what the driver makes of it


def test_a_gate_that_the_first_wave_misses_takes_the_release_back(
    open_fleet: Callable[..., Fleet],
) -> None:
    fleet = open_fleet(devices=10)
    fleet.settle(1, OLD, "1")
    (canary, *_), *_ = choose_waves(parse_waves([1]), "plates", fleet.devices())

    def tell() -> None:
        number = len(fleet.teller.records) + 1
        fleet.teller.records.append(told(canary, number, at=fleet.now, failed=30))

    fleet.at_rest = tell
    verdict = fleet.drive(waves=[1, "100%"])
    assert (str(verdict.outcome), verdict.exit_code) == ("rolled_back", 6)
    assert verdict.counts == {"healthy": 1, "not_given": 9}
    why = "wave 1: error_rate is 23.1%, at most 1% is allowed; 1 of 1 devices are back"
    assert verdict.why.startswith(why)
    (finding,) = verdict.gates
    assert (finding.result, finding.devices, finding.samples) == ("missed", (canary,), 130)
    assert "  gate of wave 1, error_rate <= 1%: missed - error_rate is" in describe(verdict, "lots")


def test_gates_that_hold_let_every_wave_pass_and_stand_in_the_verdict(
    open_fleet: Callable[..., Fleet],
) -> None:
    fleet = open_fleet(devices=4)
    fleet.settle(1, OLD, "1")
    devices = fleet.devices()

    def tell() -> None:
        number = len(fleet.teller.records)
        fleet.teller.records += [told(d, number + i, at=fleet.now) for i, d in enumerate(devices)]

    fleet.at_rest = tell
    verdict = fleet.drive(waves=[1, "100%"])
    assert (str(verdict.outcome), verdict.counts) == ("healthy", {"healthy": 4})
    assert [(f.wave, f.result) for f in verdict.gates] == [(1, "met"), (2, "met")]


def test_a_wave_that_told_too_little_passes_with_a_word_or_fails(
    open_fleet: Callable[..., Fleet],
) -> None:
    fleet = open_fleet(devices=2)
    fleet.settle(1, OLD, "1")
    verdict = fleet.drive()
    assert str(verdict.outcome) == "healthy"
    word = "wave 1: not enough data to judge error_rate (0 answers); it passes"
    assert [line for line in fleet.said if word in line]


def test_a_wave_that_told_too_little_fails_where_the_policy_wants_proof(
    open_fleet: Callable[..., Fleet],
) -> None:
    fleet = open_fleet(devices=2)
    fleet.settle(1, OLD, "1")
    verdict = fleet.drive(gates=msgspec.structs.replace(ERRORS, on_missing="fail"))
    assert str(verdict.outcome) == "rolled_back"
    assert "not enough data to judge error_rate" in verdict.why


def test_a_driver_on_another_machine_comes_to_the_same_verdict(
    open_fleet: Callable[..., Fleet],
) -> None:
    fleet = open_fleet(devices=1)
    fleet.settle(1, OLD, "1")
    (device,) = fleet.devices()
    rests = 0

    def die_later() -> None:
        nonlocal rests
        rests += 1
        if rests == 8:
            raise KeyboardInterrupt
        if rests == 5:  # too few to be sure of before the end
            fleet.teller.records.append(told(device, 1, at=fleet.now, failed=2))

    fleet.at_rest = die_later
    with pytest.raises(KeyboardInterrupt):
        fleet.drive()
    assert str(fleet.drive().outcome) == "rolled_back"


# -- which records are read


def test_a_look_reads_from_the_switch_on_and_the_next_one_what_is_new(
    open_fleet: Callable[..., Fleet],
) -> None:
    fleet = open_fleet(devices=1)
    fleet.teller.records = [told("device-0001", n, at=START + n) for n in range(1, 31)]
    keeper = fleet.keeper()
    look(keeper, soaking("device-0001"))
    look(keeper, soaking("device-0001"), now=START + 40)
    first, second = fleet.teller.asked
    assert first.since_unix_ns == int((START - SLACK_S) * 1e9)
    assert second.since_unix_ns == int((START + 30 - SLACK_S) * 1e9)
    assert keeper.judged[1].findings[0].samples == 30 * 100


def test_what_is_told_of_the_release_before_and_long_after_the_soak_does_not_count(
    open_fleet: Callable[..., Fleet],
) -> None:
    fleet = open_fleet(devices=1)
    fleet.teller.records = [
        told("device-0001", 1, at=START - 10, release=1, failed=500),
        told("device-0001", 2, at=START + 10),
        *(told("device-0001", n, at=START + 1000 + n, failed=500) for n in range(3, 5 * PAGE)),
    ]
    found = look(fleet.keeper(), soaking("device-0001", over=True), now=START + 9000)
    assert [finding.samples for finding in found.findings] == [100]
    assert not found.missed
    assert len(fleet.teller.asked) <= 2  # nor is it read


def test_a_device_that_was_cut_off_and_tells_late_counts_at_the_end(
    open_fleet: Callable[..., Fleet],
) -> None:
    fleet = open_fleet(devices=2)
    here, away = fleet.devices()
    fleet.teller.records = [told(here, n, at=START + n) for n in range(200)]
    keeper = fleet.keeper()
    asked = msgspec.structs.replace(soaking(here, away), soaked=START + 300)
    assert not look(keeper, asked, now=START + 250).missed
    fleet.teller.records += [told(away, n, at=START + n, failed=100) for n in range(1, 20)]
    assert not look(keeper, asked, now=START + 260).missed
    over = msgspec.structs.replace(asked, over=True)
    assert look(keeper, over, now=START + 300).missed


def test_reads_are_pages_of_many_devices(open_fleet: Callable[..., Fleet]) -> None:
    fleet = open_fleet(devices=1200)
    devices = fleet.devices()
    fleet.teller.records = [told(d, 1, at=START + 1) for d in devices]
    found = look(fleet.keeper(), soaking(*devices))
    assert found.findings[0].samples == 120_000
    assert len(fleet.teller.asked) == -(-len(devices) // PAGE)
    assert {request.device for request in fleet.teller.asked} == {None}


def test_a_clock_that_is_ahead_does_not_hide_what_others_tell(
    open_fleet: Callable[..., Fleet],
) -> None:
    fleet = open_fleet(devices=2)
    ahead, right = fleet.devices()
    asked = msgspec.structs.replace(soaking(ahead, right), soaked=START + 900)
    fleet.teller.records = [told(ahead, 1, at=START + 800)]
    keeper = fleet.keeper()
    look(keeper, asked, now=START + 10)
    fleet.teller.records.append(told(right, 1, at=START + 15, failed=100))
    assert look(keeper, asked, now=START + 20).missed


def test_the_release_before_is_looked_at_once_and_not_from_the_beginning_of_time(
    open_fleet: Callable[..., Fleet],
) -> None:
    fleet = open_fleet(devices=1)
    fast, slow = (0.005,) * 200, (0.09,) * 200
    fleet.teller.records = [
        told("device-0001", 1, at=START - 2 * BEFORE_S, release=1, seconds=slow),
        told("device-0001", 2, at=START - 60, release=1, seconds=fast),
        told("device-0001", 3, at=START + 5, seconds=slow),
    ]
    keeper = fleet.keeper(read_gate("latency_p99", "<= 2x"))
    assert "at most 19.82ms (2x of before)" in look(keeper, soaking("device-0001")).missed
    assert fleet.teller.asked[0].since_unix_ns == int((START - BEFORE_S) * 1e9)
    look(keeper, soaking("device-0001", over=True), now=START + 60)
    assert len(fleet.teller.asked) == 3


def test_telemetry_that_cannot_be_read_is_said_once_and_ends_the_command_only_at_the_end(
    open_fleet: Callable[..., Fleet],
) -> None:
    fleet = open_fleet(devices=1)
    fleet.teller.error = UnreachableError("the collector is away")
    keeper = fleet.keeper()
    for second in range(3):
        assert look(keeper, soaking("device-0001"), now=START + second) == Judged(at=START + second)
    assert fleet.said == ["wave 1: gates cannot be judged for now: the collector is away"]
    with pytest.raises(ProviderError, match="the collector is away"):
        keeper.judge(soaking("device-0001", over=True), START + 60)


# -- at plan time


def planned(provider: Provider, policy: RolloutPolicy) -> TargetPlan:
    package = Package(application="plates", version="2", layout=Path(), digest=NEW, size_bytes=1)
    return plan_target(provider, TARGET, package, release=2, policy=policy)


def test_a_plan_shows_gates_and_says_when_the_soak_is_short(
    open_fleet: Callable[..., Fleet],
) -> None:
    fleet = open_fleet(devices=1)
    short = planned(fleet.provider, RolloutPolicy(soak_s=30.0, gates=ERRORS))
    assert short.gates == ("error_rate <= 1%",)
    assert "devices tell their health every 10s then" in short.notes[-1]
    assert planned(fleet.provider, RolloutPolicy(soak_s=600.0, gates=ERRORS)).notes == ()
    assert planned(fleet.provider, RolloutPolicy(soak_s=30.0)).gates == ()
    for text in (plan_text.describe(whole(short)), plan_text.markdown(whole(short))):
        assert "gates while soaking: error_rate <= 1%" in text


def test_a_release_is_a_way_back_where_its_package_is_older_than_the_one_before() -> None:
    packages = {1: OLD, 2: NEW, 3: OLD, 4: NEW}  # newest first, as providers list them
    history = [
        ReleaseRecord(number=n, package=packages[n], version="1", content="")
        for n in sorted(packages, reverse=True)
    ]
    assert is_way_back(history, OLD, baseline=NEW)
    assert not is_way_back(history, NEW, baseline=OLD)
    assert not is_way_back(history, NEW, baseline="")


def whole(planned: TargetPlan) -> Plan:
    return Plan(
        application="plates",
        version="2",
        package=NEW,
        size_bytes=1,
        release=2,
        is_new=True,
        targets=(planned,),
    )


def test_a_reviewed_plan_is_refused_when_its_gates_are_others(
    open_fleet: Callable[..., Fleet],
) -> None:
    fleet = open_fleet(devices=1)
    with_gates = whole(planned(fleet.provider, RolloutPolicy(soak_s=600.0, gates=ERRORS)))
    without = whole(planned(fleet.provider, RolloutPolicy(soak_s=600.0)))
    check_unchanged(with_gates, with_gates)
    with pytest.raises(PlanError, match="lots: gates were 'error_rate <= 1%', are none"):
        check_unchanged(with_gates, without)


def test_junit_has_a_case_a_gate(open_fleet: Callable[..., Fleet]) -> None:
    fleet = open_fleet(devices=1)
    fleet.settle(1, OLD, "1")
    (device,) = fleet.devices()
    fleet.teller.records = [told(device, n, at=fleet.now + n, failed=30) for n in range(1, 9)]
    gates = (*ERRORS.gates, read_gate("drift", "<= 0.2"), read_gate("restarts", "<= 0"))
    verdict = fleet.drive(gates=GatePolicy(gates=gates))
    plan = whole(planned(fleet.provider, RolloutPolicy()))
    result = TargetResult(target="lots", provider="memory", release=2, package=NEW, verdict=verdict)
    document = junit(plan, [result]).decode()
    assert 'tests="4" failures="1" errors="0" skipped="2"' in document
    assert 'name="gate of wave 1: error_rate &lt;= 1%"' in document
    assert f'message="error_rate is 23.1%, at most 1% is allowed">{device}</failure>' in document


def test_gates_are_refused_where_nobody_can_read_what_devices_tell(
    open_fleet: Callable[..., Fleet],
) -> None:
    fleet = open_fleet(devices=1)
    fleet.teller.readable = False
    assert planned(fleet.provider, RolloutPolicy(soak_s=600.0)).notes == ()
    with pytest.raises(PlanError, match=r"'memory' cannot read telemetry back, so rollout\.gates"):
        planned(fleet.provider, RolloutPolicy(soak_s=600.0, gates=ERRORS))
    fleet.teller.readable, fleet.teller.error = True, UnreachableError("the collector is away")
    with pytest.raises(UnreachableError):
        planned(fleet.provider, RolloutPolicy(soak_s=600.0, gates=ERRORS))
