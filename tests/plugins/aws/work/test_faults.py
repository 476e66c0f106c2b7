"""Training and registering when AWS, the link or the credentials fail in the middle."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgectl.api import AuthError, Provider, TrainRequest, UnreachableError
from edgectl.emulation import Fault


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """The training goes on when this file is there."""
    return tmp_path / "gate"


@pytest.fixture
def request_(project: Path, unique: str, gate: Path) -> TrainRequest:
    (project / "train.py").write_text(
        "import os, time\n"
        "print('begun')\n"
        f"while not os.path.exists({str(gate)!r}): time.sleep(0.02)\n"
        "open(os.environ['EDGECTL_OUTPUT_MODEL'], 'w').write('onnx')\n"
    )
    return TrainRequest(
        name=f"plates-{unique}",
        version="1",
        project_dir=project,
        command=("python", "train.py"),
        model=project / "out/model.onnx",
    )


@pytest.fixture
def fault(site: Any) -> Iterator[Callable[..., None]]:
    """Let calls fail."""

    def add(operation: str, code: str = "", **how: Any) -> None:
        site.cloud.faults.add(Fault(operation=operation, code=code, **how))

    yield add
    site.cloud.faults.clear()


def jobs(site: Any, request: TrainRequest) -> list[Any]:
    client = site.client("sagemaker")
    found: list[Any] = client.list_training_jobs(NameContains=request.name)["TrainingJobSummaries"]
    return found


def test_a_session_that_expires_leaves_a_job_that_the_next_command_finds(
    aws: Provider,
    site: Any,
    request_: TrainRequest,
    gate: Path,
    fault: Callable[..., None],
    said: list[str],
) -> None:
    fault("sagemaker.DescribeTrainingJob", "ExpiredTokenException", status=400, skip=3)
    with pytest.raises(AuthError) as caught:
        aws.train(request_)
    (job,) = jobs(site, request_)
    assert job["TrainingJobName"] in caught.value.hint
    assert "`edgectl train` again finds it" in caught.value.hint
    gate.touch()
    assert aws.train(request_).job == job["TrainingJobName"]
    assert any("runs already" in line for line in said)
    assert len(jobs(site, request_)) == 1


def test_a_link_that_is_cut_says_so_and_the_job_goes_on(
    aws: Provider, site: Any, request_: TrainRequest, gate: Path, fault: Callable[..., None]
) -> None:
    fault("logs.*", times=None, skip=2)
    with pytest.raises(UnreachableError) as caught:
        aws.train(request_)
    assert "goes on and is billed" in caught.value.hint
    site.cloud.faults.clear()
    gate.touch()
    assert aws.train(request_).model.read_text() == "onnx"


def test_a_log_that_may_not_be_read_does_not_stop_the_training(
    aws: Provider, request_: TrainRequest, gate: Path, fault: Callable[..., None], said: list[str]
) -> None:
    fault("logs.*", "AccessDeniedException", status=400, times=None)
    gate.touch()
    assert aws.train(request_).model.read_text() == "onnx"
    assert len([line for line in said if "its log stays at AWS" in line]) == 1


def test_a_job_that_cannot_be_stopped_is_named_with_the_way_to_stop_it(
    aws: Provider,
    site: Any,
    request_: TrainRequest,
    fault: Callable[..., None],
    said: list[str],
    gate: Path,
) -> None:
    fault("sagemaker.StopTrainingJob", "AccessDeniedException", status=400, times=None)

    def interrupt() -> None:
        deadline = time.monotonic() + 60
        while "begun" not in said and time.monotonic() < deadline:
            time.sleep(0.02)
        signal.raise_signal(signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        aws.train(request_)
    thread.join()
    (job,) = jobs(site, request_)
    assert job["TrainingJobStatus"] == "InProgress"
    told = next(line for line in said if "could not be stopped" in line)
    assert f"stop-training-job --training-job-name {job['TrainingJobName']}" in told
    gate.touch()
