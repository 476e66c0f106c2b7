"""One cluster for all tests of this folder: the emulator's API server, two nodes, a registry."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from node_support import NodeSite, why_no_containers


@pytest.fixture(scope="session")
def shared_site() -> Iterator[NodeSite]:
    if why_not := why_no_containers():
        pytest.skip(f"this machine runs no containers: {why_not}")
    # Objects, images and containers' folders: in memory, where fsync costs nothing.
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        site = NodeSite(Path(folder))
        try:
            site.start()
            yield site
        finally:
            site.stop()


@pytest.fixture
def site(shared_site: NodeSite, request: pytest.FixtureRequest) -> Iterator[NodeSite]:
    """The cluster with a namespace for this test alone."""
    shared_site.begin(request.node.name)
    yield shared_site
    shared_site.end()
