"""Emulated clusters as a process with nodes whose pods really run, driven by the command line."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "site_support"))
from tiny_site import TinySite, wait_until

PORT = 8080
PROJECT = """\
apiVersion: edgectl/v1
name: tiny
version: "{version}"
train:
  provider: {site.trainer}
  command: [python, train.py]
  outputs: {{model: out/model.onnx}}
model: {{path: out/model.onnx}}
device: {{soak: 0.5s}}
targets:
  all: {{provider: gke, hardware: x86-64-cpu, selector: {{nodes: {{fleet: tiny}}}}}}
rollout: {{waves: {site.waves}, soak: 0s, unreachable_grace: {site.grace},
  failure_threshold: {site.threshold}}}
providers:
  gke:
    registry: ${{GKE_REGISTRY}}
    {site.source}
    {site.more}
"""


class Site(TinySite):
    """A project, its emulated clusters and their nodes."""

    project = PROJECT
    foreign = ("GKE_", "KUBECONFIG", "GOOGLE_")
    grace = "60s"
    more = "unreachable_after_s: 5"
    source = "kubeconfig: ${GKE_KUBECONFIG}"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.nodes: dict[str, str] = {}
        self.info: dict[str, Any] = {}

    def place(self, device: str) -> tuple[str, int]:
        """Return where a node's service answers."""
        return self.nodes[device], PORT

    def answers(self) -> set[tuple[float, ...]]:
        return {tuple(self.answer(device)) for device in self.nodes}

    @contextlib.contextmanager
    def clusters(self, clusters: int, nodes: int, *more: str) -> Iterator[None]:
        """Start clusters with nodes."""
        size = ("--clusters", str(clusters), "--nodes", str(nodes))
        with self.emulated("gke", *size, "--label", "fleet=tiny", *more) as self.info:
            self.nodes = {
                node["device"]: node["address"]
                for cluster in self.info["clusters"]
                for node in cluster["nodes"]
            }
            yield


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One cluster with one node, for all tests of a module."""
    site = Site(tmp_path_factory.mktemp("running"))
    with site.clusters(1, 1):
        yield site


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Wait for something to become true."""
    return wait_until
