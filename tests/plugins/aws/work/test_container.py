"""The program inside the training container, run as SageMaker runs it: a process and a folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgectl.api import TrainRequest, input_digest, training_environment, training_sources
from edgectl_aws_greengrass import training

TRAIN = """
import json, os, sys
print("training with", os.environ["EDGECTL_INPUT_DATA"])
assert open("data/numbers.txt").read() == open(os.environ["EDGECTL_INPUT_DATA"]).read()
open(os.environ["EDGECTL_OUTPUT_MODEL"], "wb").write(b"onnx")
open(os.environ["EDGECTL_OUTPUT_MODEL"] + ".data", "wb").write(b"weights")
json.dump({"accuracy": 0.5}, open(os.environ["EDGECTL_OUTPUT_METRICS"], "w"))
"""


@pytest.fixture
def request_(tmp_path: Path) -> TrainRequest:
    project = tmp_path / "project"
    (project / "data").mkdir(parents=True)
    (project / "out").mkdir()
    (project / "train.py").write_text(TRAIN)
    (project / "out/notes.txt").write_text("kept")
    (project / "data/numbers.txt").write_text("1 2 3")
    return TrainRequest(
        name="plates",
        version="1.0.0",
        project_dir=project,
        command=("python", "train.py"),
        inputs={"data": project / "data/numbers.txt"},
        model=project / "out/model.onnx",
        metrics=project / "out/metrics.json",
    )


def lay_out(request: TrainRequest, base: Path) -> Path:
    """Do what SageMaker does before it starts a container; return the program."""
    digests = {name: input_digest(path) for name, path in request.inputs.items()}
    inputs = training.plan_inputs(request, digests, training_environment(request))
    code = base / "input/data" / training.CODE_CHANNEL
    code.mkdir(parents=True)
    (code / "code.tar.gz").write_bytes(training.pack(training_sources(request)))
    (code / "job.json").write_bytes(training.job_document(request, inputs))
    (code / "start.py").write_bytes(training.start_script())
    for entry in inputs:
        channel = base / "input/data" / entry.channel
        channel.mkdir()
        for path in [entry.source] if entry.file else entry.source.iterdir():
            (channel / path.name).write_bytes(path.read_bytes())
    return code / "start.py"


def run(script: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False
    )


def test_the_project_s_training_finds_its_inputs_and_leaves_its_outputs(
    request_: TrainRequest, tmp_path: Path
) -> None:
    base = tmp_path / "ml"
    done = run(lay_out(request_, base))
    assert done.returncode == 0, done.stderr
    assert (base / "model/out/model.onnx").read_bytes() == b"onnx"
    assert (base / "model/out/model.onnx.data").read_bytes() == b"weights"
    assert json.loads((base / "model/out/metrics.json").read_text()) == {"accuracy": 0.5}
    assert not (base / "model/out/notes.txt").exists(), "what was there before is no output"


def test_a_command_that_fails_leaves_its_exit_code_and_a_reason(
    request_: TrainRequest, tmp_path: Path
) -> None:
    (request_.project_dir / "train.py").write_text("raise SystemExit(7)")
    base = tmp_path / "ml"
    done = run(lay_out(request_, base))
    assert done.returncode == 7
    reason = (base / "output/failure").read_text()
    assert reason == "the training command 'python' exited with code 7"


def test_a_stop_reaches_the_training(request_: TrainRequest, tmp_path: Path) -> None:
    (request_.project_dir / "train.py").write_text(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\n"
        "open('ready', 'w').close()\n"
        "time.sleep(600)\n"
    )
    base = tmp_path / "ml"
    process = subprocess.Popen(
        [sys.executable, str(lay_out(request_, base))], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 30
    while not (base / "edgectl/ready").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(30) == 3


def test_a_program_of_the_project_runs_although_s3_keeps_no_modes(
    request_: TrainRequest, tmp_path: Path
) -> None:
    script = request_.project_dir / "train.sh"
    script.write_text('#!/bin/sh\nprintf onnx > "$EDGECTL_OUTPUT_MODEL"\n')
    import msgspec  # noqa: PLC0415 - only here

    request = msgspec.structs.replace(request_, command=("./train.sh",), metrics=None)
    base = tmp_path / "ml"
    done = run(lay_out(request, base))
    assert done.returncode == 0, done.stderr
    assert (base / "model/out/model.onnx").read_bytes() == b"onnx"
