"""A registry that misbehaves on request, and a publisher."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "device_support"))
sys.path.insert(0, str(Path(__file__).parent))

from edge_packages import Publisher
from releases import Misbehaving

from edge_components.agent.backoff import Backoff
from edge_components.agent.download import DownloadPolicy
from edge_components.oci import FetchSettings


@pytest.fixture
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture
def registry() -> Iterator[Misbehaving]:
    registry = Misbehaving()
    yield registry
    registry.close()


@pytest.fixture
def quick() -> FetchSettings:
    """Patience that does not wait."""
    policy = DownloadPolicy(fruitless=3, backoff=Backoff(first_s=0.01, most_s=0.05))
    return FetchSettings(reserve_bytes=0, policy=policy)


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: fsync costs nothing there."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)
