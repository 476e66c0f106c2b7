"""Set-up as on a machine that has nothing: an empty cache, no uv, no environment."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(600)]

MAX_MEGABYTES = 400


def set_up(root: Path, folder: Path, cache: Path) -> str:
    """Make the environment of the demonstration and return what was printed."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("UV_", "VIRTUAL_ENV"))}
    result = subprocess.run(
        [sys.executable, root / "scripts" / "environment.py", "demo", folder],
        env={**kept, "UV_CACHE_DIR": str(cache / "uv"), "PIP_NO_CACHE_DIR": "1"},
        capture_output=True,
        text=True,
        timeout=590,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_demos_environment_is_small_light_and_made_once(
    root: Path, tmp_path: Path, environment_script: ModuleType
) -> None:
    folder = tmp_path / "venv"
    said = set_up(root, folder, tmp_path)
    downloaded = re.search(r"venv is ready: downloaded (\d+) MB.*, \d+ s\n$", said)
    assert downloaded is not None, said
    assert 50 < int(downloaded[1]) < MAX_MEGABYTES
    listed = subprocess.run(
        [folder / "bin" / "uv", "pip", "list", "-q", "--format=json", "-p", folder / "bin/python"],
        capture_output=True,
        text=True,
        check=True,
    )
    names = {entry["name"] for entry in json.loads(listed.stdout)}
    assert {"edgectl", "edgectl-edge-components", "edgectl-selfhosted"} <= names
    assert "pytest" not in names
    assert [name for name in names if environment_script.HEAVY.match(name)] == []
    assert set_up(root, folder, tmp_path) == ""
