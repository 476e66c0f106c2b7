"""The benchmark of whole fleets at a small size: killed, finished elsewhere, nothing done twice."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "rollout.py"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("provider", "devices"), [("memory", 400), ("selfhosted", 60)])
def test_a_rollout_that_is_killed_is_finished_by_somebody_else_and_given_once(
    provider: str, devices: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-P", str(BENCHMARK), "--once", "--devices", str(devices), provider],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{provider}, {devices} devices: {{'healthy': {devices}}}" in done.stdout
    assert f"given to {devices} (1.0000 a device)" in done.stdout
    assert (lines := re.search(r"progress (\d+) lines", done.stdout)) is not None
    assert int(lines[1]) <= 40
