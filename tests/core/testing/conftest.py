"""Virtual fleets, and a rollout step on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from edge_components.contract.release import ReleaseDocument
from edgectl.api import DeviceStatus, Package, Provider, ProviderContext, Release, Target
from edgectl.plugins import open_provider
from edgectl.requests import DeployRequest, ObserveRequest, PackageRequest

TARGET = Target(name="lots", provider="memory")


class Fleet:
    """A memory provider, and the short way to use it."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider

    def release(self, number: int, *, version: str = "1.0.0", digit: str = "a") -> Release:
        digest = "sha256:" + digit * 64
        document = ReleaseDocument(
            application="plates", number=number, version=version, package=digest
        )
        return Release(document=document, envelope=b"", signature=b"")

    def give(self, release: Release, devices: Iterable[str]) -> None:
        package = Package(
            application="plates",
            version=release.document.version,
            layout=Path(),
            digest=release.package,
            size_bytes=100,
        )
        self.provider.package(PackageRequest(target=TARGET, package=package, release=release))
        self.provider.deploy(
            DeployRequest(target=TARGET, package=package, release=release, devices=tuple(devices))
        )

    def look(self, release: Release | None = None) -> dict[str, DeviceStatus]:
        request = ObserveRequest(
            target=TARGET, application="plates", release=release.number if release else None
        )
        return {status.device: status for status in self.provider.observe(request)}


@pytest.fixture
def open_fleet(tmp_path: Path) -> Callable[..., Fleet]:
    """Open a memory provider with settings as a project file has them."""

    def open_(**config: Any) -> Fleet:
        context = ProviderContext(
            project_dir=tmp_path, state_dir=tmp_path / ".edgectl", progress=lambda line: None
        )
        return Fleet(open_provider("memory", config, context))

    return open_
