"""A device with its agent, and a DDI server that misbehaves on command."""

from __future__ import annotations

import os
import sys
import tempfile
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
def fast_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: fsync costs nothing there."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.fixture
def device(fast_folder: Path, zygote: Zygote, server: DdiServer) -> Iterator[Device]:
    device = Device(fast_folder, zygote, server)
    yield device
    device.cleanup()
