"""The reference run of the conformance kit: the memory provider passes all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgectl.api import Provider, ProviderContext, Target, provider_from_plugin
from edgectl.testing.conformance import ProviderConformance
from edgectl.testing.memory import MemoryConfig, MemoryProvider


def open_memory(folder: Path, *, path: str) -> Provider:
    context = ProviderContext(project_dir=folder, state_dir=folder, progress=lambda line: None)
    config = MemoryConfig(devices=5, path=path, page_size=2)
    return provider_from_plugin("memory", MemoryProvider(config, context), context)


class TestMemory(ProviderConformance):
    """One process: the fleet lives in the provider's object."""

    @pytest.fixture
    def provider(self, tmp_path: Path) -> Provider:
        return open_memory(tmp_path, path="")

    @pytest.fixture
    def target(self) -> Target:
        return Target(name="lots", provider="memory")

    @pytest.fixture
    def empty_target(self) -> Target:
        return Target(name="none", provider="memory", selector={"labels": {"site": "mars"}})


class TestMemoryInAFile(TestMemory):
    """Several processes: the fleet lives in a file."""

    @pytest.fixture
    def provider(self, tmp_path: Path) -> Provider:
        return open_memory(tmp_path, path="fleet.json")

    @pytest.fixture
    def second_provider(self, tmp_path: Path) -> Provider:
        return open_memory(tmp_path, path="fleet.json")
