"""A minute of the soak that ``make soak`` runs for an hour."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).with_name("soak.py")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_minute_of_mixed_traffic_leaves_the_runtime_as_it_was() -> None:
    command = [sys.executable, SOAK, "--seconds", "60"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=380, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert done.stdout.endswith("all is well\n")
