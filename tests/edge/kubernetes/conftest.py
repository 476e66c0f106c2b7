"""A pod's folders, and releases as they reach a pod."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "device_support"))
sys.path.insert(0, str(Path(__file__).parent))

from pod_support import Pod


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    return Pod(tmp_path)
