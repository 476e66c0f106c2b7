"""What a provider is told that can hold back by itself, and what it may say in a plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgectl.api import (
    Capabilities,
    DeployRequest,
    DeployResult,
    LimitError,
    Package,
    PreviewRequest,
    PreviewResult,
    Provider,
    ProviderContext,
    Release,
    ReleaseDocument,
    Target,
    hookimpl,
    provider_from_plugin,
)
from edgectl.rollout.policy import FailureThreshold, RolloutPolicy
from edgectl.workflow.drive import Driver, Rollout
from edgectl.workflow.plan import _preview
from edgectl.workflow.shared import Shared

TARGET = Target(name="lots", provider="paced")
PACKAGE = Package(
    application="plates", version="1", layout=Path(), digest=f"sha256:{'a' * 64}", size_bytes=1
)
POLICY = RolloutPolicy(
    concurrency=50,
    failure_threshold=FailureThreshold(percent=5, min_devices=3),
    timeout_s=600,
)


class Paced:
    """A provider that keeps what it is told."""

    def __init__(self, *, pace: bool) -> None:
        self._pace = pace
        self.told: list[DeployRequest] = []

    @hookimpl
    def capabilities(self, request: object) -> Capabilities:
        del request
        return Capabilities(pace=self._pace)

    @hookimpl
    def deploy(self, request: DeployRequest) -> DeployResult:
        self.told.append(request)
        return DeployResult(assigned=request.devices)

    @hookimpl
    def preview(self, request: PreviewRequest) -> PreviewResult:
        if request.release > 9:
            raise LimitError("the recipe has 17000 bytes, at most 16000 are taken")
        return PreviewResult(notes=("stays as it is: camera",))


def opened(plugin: object, folder: Path) -> Provider:
    context = ProviderContext(project_dir=folder, state_dir=folder, progress=lambda _: None)
    return provider_from_plugin("paced", plugin, context)


def give(plugin: Paced, folder: Path) -> DeployRequest:
    provider = opened(plugin, folder)
    document = ReleaseDocument(application="plates", number=1, version="1", package=PACKAGE.digest)
    release = Release(document=document, envelope=b"", signature=b"")
    rollout = Rollout(
        target=TARGET, release=release, package=PACKAGE, policy=POLICY, waves=(("a",),)
    )
    driver = Driver(
        provider,
        Shared(provider, TARGET, "plates"),
        rollout,
        lambda digest: (release, PACKAGE),
        lambda line: None,
    )
    driver._give(release, PACKAGE, ("a",))
    return plugin.told[0]


def test_a_provider_that_can_hold_back_gets_the_policys_numbers(tmp_path: Path) -> None:
    pace = give(Paced(pace=True), tmp_path).pace
    assert pace is not None
    assert (pace.concurrency, pace.failure_percent, pace.min_devices, pace.timeout_s) == (
        50,
        5,
        3,
        600,
    )


def test_a_provider_that_cannot_is_not_told(tmp_path: Path) -> None:
    assert give(Paced(pace=False), tmp_path).pace is None


def test_a_plan_has_what_the_provider_says_of_the_target(tmp_path: Path) -> None:
    provider = opened(Paced(pace=True), tmp_path)
    assert _preview(provider, TARGET, PACKAGE, 1) == ("stays as it is: camera",)
    with pytest.raises(LimitError, match="at most 16000"):
        _preview(provider, TARGET, PACKAGE, 10)
    assert _preview(opened(object(), tmp_path), TARGET, PACKAGE, 1) == ()
