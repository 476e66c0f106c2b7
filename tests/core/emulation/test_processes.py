"""The emulator's processes: what is told of one that ended."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from edgectl.emulation import Processes


def test_what_a_process_said_is_told_without_what_an_earlier_one_said(tmp_path: Path) -> None:
    (tmp_path / "hub.log").write_text("an earlier hub was ready\n")
    processes = Processes(tmp_path)
    processes.start("hub", [sys.executable, "-c", "print('in use')"], dict(os.environ))
    deadline = time.monotonic() + 30
    while processes.ended() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert processes.ended() == "hub"
    assert processes.log_tail("hub") == "in use"
    processes.stop()
