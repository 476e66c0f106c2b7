"""A device of IoT Edge with quick modules."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "device_support"))
sys.path.insert(0, str(Path(__file__).parents[1] / "oci"))
sys.path.insert(0, str(Path(__file__).parent))

from device import Zygote
from edge_device import EdgeDevice
from releases import Misbehaving


@pytest.fixture(scope="session")
def module_zygote() -> Iterator[Zygote]:
    zygote = Zygote(Path(__file__).with_name("module_entry.py"))
    yield zygote
    zygote.close()


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
def device(fast_folder: Path, module_zygote: Zygote) -> Iterator[EdgeDevice]:
    registry = Misbehaving()
    device = EdgeDevice(fast_folder, module_zygote, registry)
    yield device
    device.cleanup()
    registry.close()
