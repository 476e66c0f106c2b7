"""A hub and real agents, driven by the command line: nothing stands in for anything."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "site_support"))
from tiny_site import TinySite

UNUSED = {"EDGECTL_HUB_URL": "unused", "EDGECTL_HUB_PASSWORD_FILE": "unused"}
PROJECT = """\
apiVersion: edgectl/v1
name: tiny
version: "{version}"
train:
  command: [python, train.py]
  outputs: {{model: out/model.onnx}}
model: {{path: out/model.onnx}}
device: {{soak: 0.5s}}
targets:
  all: {{provider: selfhosted, selector: {{tags: {{site: test}}}}}}
rollout: {{waves: [1, 100%], soak: 0s, unreachable_grace: 15s}}
providers:
  selfhosted:
    url: ${{EDGECTL_HUB_URL}}
    username: admin
    password_file: ${{EDGECTL_HUB_PASSWORD_FILE}}
"""


class Site(TinySite):
    """A project, its hub and its devices."""

    project = PROJECT
    registers = ""
    command_s = 110
    up_s = 60

    @contextlib.contextmanager
    def fleet(self, count: int) -> Iterator[None]:
        """Start a hub and ``count`` devices."""
        with self.emulated("selfhosted", "--devices", str(count), env=UNUSED):
            yield


@pytest.fixture(scope="session")
def site_in() -> Callable[[Path], Site]:
    """Make a project in a folder that outlives a test."""
    return Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)
