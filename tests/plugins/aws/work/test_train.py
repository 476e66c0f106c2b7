"""A training job from the project to the model on this machine, in the emulated account."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgectl.api import AuthError, Provider, TrainError, TrainRequest, input_digest

TRAIN = """
import json, os, sys
print("epoch 1")
print("epoch 2", file=sys.stderr)
data = open(os.environ["EDGECTL_INPUT_DATA"] + "/numbers.txt").read()
open(os.environ["EDGECTL_OUTPUT_MODEL"], "w").write("onnx of " + data)
open(os.path.dirname(os.environ["EDGECTL_OUTPUT_MODEL"]) + "/weights.bin", "w").write("w")
open(os.environ["SM_MODEL_DIR"] + "/train.py", "w").write("# changed by the job")
json.dump({"accuracy": 0.5}, open(os.environ["EDGECTL_OUTPUT_METRICS"], "w"))
"""
SLOW = "import time\nprint('begun')\ntime.sleep(600)\n"


@pytest.fixture
def request_(project: Path, unique: str) -> TrainRequest:
    (project / "train.py").write_text(TRAIN)
    (project / "data").mkdir()
    (project / "data/numbers.txt").write_text(unique)
    return TrainRequest(
        name=f"plates-{unique}",
        version="1.0.0",
        project_dir=project,
        command=("python", "train.py"),
        inputs={"data": project / "data"},
        model=project / "out/model.onnx",
        metrics=project / "out/metrics.json",
    )


def jobs(site: Any, request: TrainRequest) -> list[dict[str, Any]]:
    listed = site.client("sagemaker").list_training_jobs(NameContains=request.name[:24])
    found: list[dict[str, Any]] = listed["TrainingJobSummaries"]
    return found


def wait(condition: Any, what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_the_job_trains_and_its_outputs_come_home(
    aws: Provider, site: Any, request_: TrainRequest, said: list[str], unique: str
) -> None:
    trained = aws.train(request_)
    assert trained.model.read_text() == f"onnx of {unique}"
    assert trained.metrics == {"accuracy": 0.5}
    assert trained.inputs == {"data": input_digest(request_.project_dir / "data")}
    assert (request_.project_dir / "out/weights.bin").read_text() == "w"
    assert "epoch 1" in said
    assert "epoch 2" in said
    (job,) = jobs(site, request_)
    assert job["TrainingJobName"] == trained.job
    assert (request_.project_dir / "train.py").read_text() == TRAIN, "a source was overwritten"
    assert [p.name for p in (request_.project_dir / "out").iterdir() if p.name[0] == "."] == []


def test_inputs_that_are_there_are_not_sent_again(
    aws: Provider, request_: TrainRequest, said: list[str]
) -> None:
    aws.train(request_)
    assert [line for line in said if line.startswith("input 'data'")]
    said.clear()
    aws.train(request_)
    assert not [line for line in said if line.startswith("input 'data'")]


def test_a_training_that_fails_is_told_with_its_last_lines(
    aws: Provider, request_: TrainRequest
) -> None:
    (request_.project_dir / "train.py").write_text("print('the data is gone'); raise SystemExit(3)")
    with pytest.raises(TrainError, match="the data is gone") as caught:
        aws.train(request_)
    assert "exited with code 3" in caught.value.message
    assert not request_.model.exists()


def test_a_training_that_leaves_no_model_says_where_it_belongs(
    aws: Provider, request_: TrainRequest
) -> None:
    (request_.project_dir / "train.py").write_text(
        "import os; open(os.environ['EDGECTL_OUTPUT_METRICS'], 'w').write('{}')"
    )
    with pytest.raises(TrainError, match=r"left no model at 'out/model\.onnx'") as caught:
        aws.train(request_)
    assert "EDGECTL_OUTPUT_MODEL" in caught.value.hint


def test_ctrl_c_stops_the_job_and_says_so(
    aws: Provider, site: Any, request_: TrainRequest, said: list[str]
) -> None:
    (request_.project_dir / "train.py").write_text(SLOW)

    def interrupt() -> None:
        wait(lambda: "begun" in said, "the job did not begin")
        signal.raise_signal(signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        aws.train(request_)
    thread.join()
    assert any("was asked to stop the training job" in line for line in said)
    wait(lambda: jobs(site, request_)[0]["TrainingJobStatus"] == "Stopped", "it goes on")


def test_a_command_that_was_cut_off_finds_its_job_again(
    open_aws: Any, site: Any, request_: TrainRequest, said: list[str]
) -> None:
    gate = request_.project_dir.parent / "gate"
    (request_.project_dir / "train.py").write_text(
        f"import os, time\nprint('begun')\nwhile not os.path.exists({str(gate)!r}): "
        f"time.sleep(0.02)\n{TRAIN}"
    )
    failed: list[BaseException] = []

    def first() -> None:
        try:
            open_aws().train(request_)
        except BaseException as exc:  # noqa: BLE001 - looked at below
            failed.append(exc)

    thread = threading.Thread(target=first)
    thread.start()
    wait(lambda: "begun" in said, "the job did not begin")
    second = threading.Thread(target=lambda: open_aws().train(request_))
    second.start()
    wait(lambda: any("runs already" in line for line in said), "the job was not found")
    gate.touch()
    thread.join()
    second.join()
    assert not failed
    assert len(jobs(site, request_)) == 1


def test_a_role_that_may_not_read_the_inputs_is_named(
    open_aws: Any, site: Any, request_: TrainRequest
) -> None:
    trust = (
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", '
        '"Principal": {"Service": "sagemaker.amazonaws.com"}}]}'
    )
    iam = site.client("iam")
    role = iam.create_role(RoleName=f"no-{request_.name}", AssumeRolePolicyDocument=trust)
    with pytest.raises((TrainError, AuthError), match="s3:GetObject"):
        open_aws(role=role["Role"]["Arn"]).train(request_)


def test_spot_and_limits_are_asked_for(open_aws: Any, site: Any, request_: TrainRequest) -> None:
    training = {"image": "image:1", "spot": True, "max_run_s": 600, "environment": {"EPOCHS": "3"}}
    trained = open_aws(training=training).train(request_)
    found = site.client("sagemaker").describe_training_job(TrainingJobName=trained.job)
    assert found["EnableManagedSpotTraining"] is True
    assert found["StoppingCondition"]["MaxRuntimeInSeconds"] == 600
    assert found["StoppingCondition"]["MaxWaitTimeInSeconds"] == 4200
    assert found["Environment"]["EPOCHS"] == "3"


def test_a_job_that_takes_too_long_says_which_setting(
    open_aws: Any, request_: TrainRequest
) -> None:
    (request_.project_dir / "train.py").write_text(SLOW)
    aws = open_aws(training={"image": "image:1", "max_run_s": 1})
    with pytest.raises(TrainError) as caught:
        aws.train(msgspec.structs.replace(request_))
    assert "max_run_s" in caught.value.hint
