"""Training as a real process: what it finds, what it leaves, and that nothing outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgectl.errors import TrainError
from edgectl.localtrain import run_training
from edgectl.requests import TrainRequest

GOOD = """
import json, os, pathlib
print("hello from", os.environ["EDGECTL_INPUT_DATA_SET"])
pathlib.Path(os.environ["EDGECTL_OUTPUT_MODEL"]).write_bytes(b"onnx")
pathlib.Path(os.environ["EDGECTL_OUTPUT_METRICS"]).write_text(json.dumps({"accuracy": 0.5, "n": 3}))
"""


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., TrainRequest]:
    def make(script: str, command: tuple[str, ...] | None = None) -> TrainRequest:
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / "a.txt").write_text("a")
        (tmp_path / "train.py").write_text(script)
        return TrainRequest(
            name="plates",
            version="1",
            project_dir=tmp_path,
            command=command or (sys.executable, "train.py"),
            inputs={"data-set": tmp_path / "data"},
            model=tmp_path / "out" / "model.onnx",
            metrics=tmp_path / "out" / "metrics.json",
        )

    return make


def ignore(line: str) -> None:
    del line


def test_training_brings_model_metrics_and_input_digests(
    project: Callable[..., TrainRequest],
) -> None:
    lines: list[str] = []
    trained = run_training(project(GOOD), lines.append)
    assert trained.model.read_bytes() == b"onnx"
    assert trained.metrics == {"accuracy": 0.5, "n": 3.0}
    assert trained.inputs["data-set"].startswith("sha256:")
    assert any(line.startswith("hello from") for line in lines)


def test_input_digest_follows_content_and_not_place(
    project: Callable[..., TrainRequest], tmp_path: Path
) -> None:
    first = run_training(project(GOOD), ignore).inputs
    again = run_training(project(GOOD), ignore).inputs
    assert first == again
    (tmp_path / "data" / "b.txt").write_text("b")
    assert run_training(project(GOOD), ignore).inputs != first


def test_failing_command_is_told_with_its_last_lines(project: Callable[..., TrainRequest]) -> None:
    with pytest.raises(TrainError, match=r"(?s)exited with code 3.*no data today"):
        run_training(project("import sys; print('no data today'); sys.exit(3)"), ignore)


def test_unknown_command_is_told(project: Callable[..., TrainRequest]) -> None:
    with pytest.raises(TrainError, match="'no-such-trainer' cannot be started"):
        run_training(project("", ("no-such-trainer",)), ignore)


def test_command_that_leaves_no_model_is_told(project: Callable[..., TrainRequest]) -> None:
    with pytest.raises(TrainError, match="left no model"):
        run_training(project("pass"), ignore)


def test_model_of_an_earlier_run_does_not_count(project: Callable[..., TrainRequest]) -> None:
    run_training(project(GOOD), ignore)
    with pytest.raises(TrainError, match="earlier run"):
        run_training(project("pass"), ignore)


@pytest.mark.parametrize("metrics", ['{"a": NaN}', '{"a": "high"}', "[1]", "", '{"a": true}'])
def test_metrics_that_are_not_numbers_are_refused(
    project: Callable[..., TrainRequest], metrics: str
) -> None:
    script = GOOD.replace('json.dumps({"accuracy": 0.5, "n": 3})', repr(metrics))
    with pytest.raises(TrainError, match="unusable metrics"):
        run_training(project(script), ignore)


def test_missing_input_is_told_before_anything_runs(
    project: Callable[..., TrainRequest], tmp_path: Path
) -> None:
    request = project("import pathlib; pathlib.Path('ran').touch()")
    (tmp_path / "data" / "a.txt").unlink()
    (tmp_path / "data").rmdir()
    with pytest.raises(TrainError, match="'data-set' does not exist"):
        run_training(request, ignore)
    assert not (tmp_path / "ran").exists()


def test_last_line_without_newline_arrives(project: Callable[..., TrainRequest]) -> None:
    lines: list[str] = []
    run_training(project(GOOD + "\nimport sys; sys.stdout.write('the end')"), lines.append)
    assert lines[-1] == "the end"


def test_helper_process_that_keeps_the_pipe_does_not_outlive_the_training(
    project: Callable[..., TrainRequest], tmp_path: Path
) -> None:
    script = GOOD + (
        "\nimport subprocess, sys\n"
        "p = subprocess.Popen([sys.executable, '-c',"
        " 'import time\\nwhile True: print(1, flush=True); time.sleep(0.01)'])\n"
        "pathlib.Path('helper.pid').write_text(str(p.pid))\n"
    )
    run_training(project(script), ignore)
    assert_gone(int((tmp_path / "helper.pid").read_text()))


def test_interrupt_ends_the_whole_group(
    project: Callable[..., TrainRequest], tmp_path: Path
) -> None:
    script = (
        "import subprocess, sys, pathlib, time\n"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "pathlib.Path('helper.pid').write_text(str(p.pid)); print('up', flush=True)\n"
        "time.sleep(600)\n"
    )

    def interrupt_self(line: str) -> None:
        if line == "up":
            threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        run_training(project(script), interrupt_self)
    assert_gone(int((tmp_path / "helper.pid").read_text()))


def test_revision_names_the_commit_and_marks_changes(
    project: Callable[..., TrainRequest], tmp_path: Path
) -> None:
    request = project(GOOD)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "train.py"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "first"], check=True)
    clean = run_training(request, ignore).revision
    assert len(clean) == 40
    (tmp_path / "train.py").write_text(GOOD + "\n# changed\n")
    assert run_training(request, ignore).revision == clean + "-dirty"


def assert_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        state = Path(f"/proc/{pid}/stat")
        if state.exists() and state.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return
        time.sleep(0.02)
    pytest.fail(f"process {pid} is still there")
