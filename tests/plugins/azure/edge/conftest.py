"""A hub, a registry and virtual devices for the tests of this folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "support"))

from azure_devices import Runner, Service

from edgectl.emulation.registry import RegistryServer
from edgectl_azure_iot_edge.emulator.account import RunningAccount
from edgectl_azure_iot_edge.emulator.hub.room import HubRoom


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[RegistryServer]:
    with RegistryServer(tmp_path / "registry") as server:
        yield server


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with RunningAccount(tmp_path / "account", rooms=(HubRoom,)) as account:
        yield Service(account)


@pytest.fixture
def devices(tmp_path: Path, service: Service, registry: RegistryServer) -> Iterator[Runner]:
    runner = Runner(tmp_path / "devices", service, registry)
    yield runner
    for name in list(runner.running):
        runner.stop(name)
