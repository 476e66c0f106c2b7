"""A device with a supervisor of its own, and quick orders."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "device_support"))
sys.path.insert(0, str(Path(__file__).parent))

from apply_device import ApplyDevice
from device import Zygote


@pytest.fixture(scope="session")
def apply_zygote() -> Iterator[Zygote]:
    zygote = Zygote(Path(__file__).with_name("apply_entry.py"))
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
def device(fast_folder: Path, apply_zygote: Zygote) -> Iterator[ApplyDevice]:
    device = ApplyDevice(fast_folder, apply_zygote)
    yield device
    device.cleanup()
