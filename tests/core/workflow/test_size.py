"""What a rollout costs grows with its devices and not faster; counted, not timed."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from edge_components.contract.release import ReleaseDocument
from edgectl.plugins import open_provider
from edgectl.provider import Provider, ProviderContext
from edgectl.records import Package, Release, Target
from edgectl.requests import InventoryRequest, PackageRequest
from edgectl.rollout.policy import RolloutPolicy, parse_waves
from edgectl.rollout.verdict import Outcome, Verdict
from edgectl.rollout.waves import choose_waves
from edgectl.workflow.drive import Driver, Rollout
from edgectl.workflow.shared import Shared

TARGET = Target(name="lots", provider="memory")
DIGEST = "sha256:" + "c" * 64


class Run:
    """One rollout on so many virtual devices, and what it took.

    Attributes:
        calls: Calls of the provider, by hook; every page counts.
        steps: Calls of functions of ours.
        said: Lines of progress.
    """

    def __init__(self, folder: Path, devices: int, **policy: Any) -> None:
        self.calls: Counter[str] = Counter()
        self.steps = 0
        self.said: list[str] = []
        self._now = 1_000.0
        context = ProviderContext(project_dir=folder, state_dir=folder, progress=lambda line: None)
        # One in ten is slow, so that a wave is looked at more often than it is given something.
        behaviours = {"*0": {"observations": 12}, "*": {"observations": 3}}
        config = {"devices": devices, "behaviours": behaviours, "path": "", "page_size": 50}
        self._provider: Provider = open_provider("memory", config, context)
        self.verdict = self._drive(policy)

    def _drive(self, policy: dict[str, Any]) -> Verdict:
        document = ReleaseDocument(application="plates", number=1, version="1", package=DIGEST)
        release = Release(document=document, envelope=b"", signature=b"")
        package = Package(
            application="plates", version="1", layout=Path(), digest=DIGEST, size_bytes=1
        )
        self._provider.package(PackageRequest(target=TARGET, package=package, release=release))
        devices = [d.id for d in self._provider.inventory(InventoryRequest(target=TARGET))]
        sizes = parse_waves([1, "10%", "100%"])
        driver = Driver(
            self._provider,
            Shared(self._provider, TARGET, "plates"),
            Rollout(
                target=TARGET,
                release=release,
                package=package,
                policy=RolloutPolicy(waves=sizes, **policy),
                waves=choose_waves(sizes, "plates", devices),
            ),
            lambda digest: (release, package),
            self.said.append,
            clock=lambda: self._now,
            sleep=self._sleep,
        )
        sys.setprofile(self._count)
        try:
            verdict = driver.run()
        finally:
            sys.setprofile(None)
        assert verdict is not None
        return verdict

    def _sleep(self, seconds: float) -> None:
        self._now += seconds

    def _count(self, frame: FrameType, event: str, argument: object) -> None:
        if event == "call" and "edgectl" in frame.f_code.co_filename:
            self.steps += 1
            if frame.f_code.co_filename.endswith("testing/memory.py"):
                self.calls[frame.f_code.co_name] += 1


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A rollout on a hundred devices."""
    return Run(tmp_path_factory.mktemp("small"), 100)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same rollout on a thousand."""
    return Run(tmp_path_factory.mktemp("large"), 1_000)


def test_calls_and_steps_grow_with_the_devices_and_not_faster(small: Run, large: Run) -> None:
    for run, devices in ((small, 100), (large, 1_000)):
        assert run.verdict.outcome is Outcome.HEALTHY
        assert run.verdict.total == devices
    # Two pages become twenty; nothing but listings by page comes more often.
    assert large.calls["deploy"] == small.calls["deploy"] == 3
    assert large.calls["coordinate"] == small.calls["coordinate"]
    assert large.calls["observe"] <= 10 * small.calls["observe"]
    assert large.steps <= 10.5 * small.steps


def test_a_few_devices_at_a_time_never_cost_more_deploys_than_looks(tmp_path: Path) -> None:
    run = Run(tmp_path, 100, concurrency=10)
    assert run.verdict.outcome is Outcome.HEALTHY
    looks = run.calls["observe"] / 2  # pages of 50
    assert run.calls["deploy"] <= looks


def test_progress_does_not_grow_with_the_devices(small: Run, large: Run) -> None:
    assert len(large.said) <= len(small.said) + 3
    assert max(map(len, large.said)) < 160
