"""Signed packages for the updater's tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "device_support"))

from edge_packages import Publisher


@pytest.fixture(scope="session")
def publisher() -> Publisher:
    return Publisher()
