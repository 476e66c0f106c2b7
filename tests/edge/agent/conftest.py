"""A device with its agent, and a DDI server that misbehaves on command."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "device_support"))

from ddi_server import DdiServer
from device import Device, Zygote


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    zygote = Zygote()
    yield zygote
    zygote.close()


@pytest.fixture
def server() -> Iterator[DdiServer]:
    server = DdiServer()
    yield server
    server.stop()


@pytest.fixture
def device(tmp_path: Path, zygote: Zygote, server: DdiServer) -> Iterator[Device]:
    device = Device(tmp_path, zygote, server)
    yield device
    device.cleanup()
