"""``edgectl demo``: the whole flow once, and nothing left behind when it is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

LIMIT_S = 110


@pytest.fixture
def mark() -> str:
    return f"mark-{uuid.uuid4()}"


@pytest.fixture
def demo(mark: str, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The command in a process group of its own, as a terminal starts it."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("EDGECTL_")}
    with subprocess.Popen(
        [sys.executable, "-m", "edgectl.cli.main", "demo", "--dir", str(tmp_path / "demo")],
        env={**env, "TEST_MARK": mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        yield process
        process.kill()


def marked(mark: str) -> list[str]:
    """The command lines of the processes that run with the mark in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_text().replace("\0", " "))
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue
    return found


def test_the_demo_shows_three_devices_that_answer(demo: subprocess.Popen[str], mark: str) -> None:
    said, _ = demo.communicate(timeout=LIMIT_S)
    assert demo.returncode == 0, said
    table = [line.split() for line in said.splitlines() if line.startswith("lots-")]
    rows = [line for line in table if "healthy" in line and line[4:5] == ["1"]]
    assert [row[1] for row in rows] == ["lot-k-street", "lot-union-station", "lot-harbor"]
    assert len({row[5] for row in rows}) == 1
    assert all(row[7] == "450" and float(row[8]) >= 0.95 for row in rows)
    assert "the chain holds" in said
    assert marked(mark) == []


@pytest.mark.parametrize(
    "moment",
    [
        "starting a hub",
        pytest.param("training, registering", marks=pytest.mark.slow),
        "packaged sha256:",
        pytest.param("have not settled", marks=pytest.mark.slow),
    ],
)
def test_ctrl_c_leaves_no_process_behind(
    demo: subprocess.Popen[str], mark: str, moment: str
) -> None:
    assert demo.stdout is not None
    for line in demo.stdout:
        if moment in line:
            break
    os.killpg(demo.pid, signal.SIGINT)
    rest, _ = demo.communicate(timeout=LIMIT_S)
    assert demo.returncode == 130, rest
    deadline = time.monotonic() + 10
    while marked(mark) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert marked(mark) == []
