"""Training jobs run the program, as SageMaker's container would, and end as it says."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from edgectl_aws_greengrass.config import AwsConfig
from edgectl_aws_greengrass.emulator.account import RunningAccount
from edgectl_aws_greengrass.emulator.seed import seed

Clients = Callable[..., Any]
BUCKET = "training-data"
LOG = "/aws/sagemaker/TrainingJobs"


class Trainer:
    """Starts jobs whose program is a text."""

    def __init__(self, clients: Clients, role: str, until: Callable[..., Any]) -> None:
        self.api, self.s3, self.logs = clients("sagemaker"), clients("s3"), clients("logs")
        self.role = role
        self._until = until

    def start(self, name: str, program: str, *arguments: str, **more: Any) -> dict[str, Any]:
        self.s3.put_object(Bucket=BUCKET, Key=f"{name}/code/main.py", Body=program.encode())
        algorithm = {
            "TrainingImage": "image",
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["python3", "/opt/ml/input/data/code/main.py"],
        }
        if arguments:
            algorithm["ContainerArguments"] = list(arguments)
        request = {
            "TrainingJobName": name,
            "RoleArn": self.role,
            "AlgorithmSpecification": algorithm,
            "InputDataConfig": [channel("code", f"s3://{BUCKET}/{name}/code/")],
            "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/out"},
            "ResourceConfig": {
                "InstanceType": "ml.m5.large",
                "InstanceCount": 1,
                "VolumeSizeInGB": 1,
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": 60},
            **more,
        }
        return dict(self.api.create_training_job(**request))

    def described(self, name: str) -> Any:
        return self.api.describe_training_job(TrainingJobName=name)

    def ended(self, name: str) -> Any:
        ends = {"Completed", "Failed", "Stopped"}
        self._until(lambda: self.described(name)["TrainingJobStatus"] in ends)
        return self.described(name)

    def lines(self, name: str) -> list[str]:
        streams = self.logs.describe_log_streams(logGroupName=LOG, logStreamNamePrefix=f"{name}/")[
            "logStreams"
        ]
        answer = self.logs.get_log_events(
            logGroupName=LOG, logStreamName=streams[0]["logStreamName"], startFromHead=True
        )
        return [event["message"] for event in answer["events"]]

    def archive(self, uri: str) -> dict[str, bytes]:
        key = uri.removeprefix(f"s3://{BUCKET}/")
        content = self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(content)) as opened:
            files = [m for m in opened.getmembers() if m.isfile()]
            return {m.name: opened.extractfile(m).read() for m in files}  # type: ignore[union-attr]


def channel(name: str, uri: str) -> dict[str, Any]:
    source = {"S3DataType": "S3Prefix", "S3Uri": uri}
    return {"ChannelName": name, "DataSource": {"S3DataSource": source}}


@pytest.fixture(scope="module")
def role(account: RunningAccount) -> Iterator[str]:
    made = seed(account.cloud, AwsConfig(bucket=BUCKET), ())["training"]
    everywhere = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [everywhere]})
    account.cloud.callers.iam.put_role_policy(made.rpartition("/")[2], "more", document)
    yield made


@pytest.fixture
def trainer(clients: Clients, role: str, until: Callable[..., Any]) -> Trainer:
    return Trainer(clients, role, until)


def test_a_job_trains_from_its_channels_to_a_model_in_s3(trainer: Trainer) -> None:
    trainer.s3.put_object(Bucket=BUCKET, Key="data/a/b.txt", Body=b"deep")
    trainer.s3.put_object(Bucket=BUCKET, Key="one/file.bin", Body=b"single")
    program = """
import json, os, pathlib, sys
base = pathlib.Path(sys.argv[1])
deep = (base / "input/data/data/a/b.txt").read_text()
single = (base / "input/data/single/file.bin").read_text()
hp = json.loads((base / "input/config/hyperparameters.json").read_text())
print("read", deep, single, hp["epochs"], os.environ["MODE"], flush=True)
(base / "model/sub").mkdir()
(base / "model/sub/m.onnx").write_text("model")
(base / "output/data/metrics.json").write_text("{}")
"""
    inputs = [
        channel("code", f"s3://{BUCKET}/whole/code/"),
        channel("data", f"s3://{BUCKET}/data/"),
        channel("single", f"s3://{BUCKET}/one/file.bin"),
    ]
    trainer.start(
        "whole",
        program,
        "/opt/ml",
        InputDataConfig=inputs,
        HyperParameters={"epochs": "3"},
        Environment={"MODE": "fast"},
    )
    found = trainer.ended("whole")
    assert (found["TrainingJobStatus"], found.get("FailureReason")) == ("Completed", None)
    assert [t["Status"] for t in found["SecondaryStatusTransitions"]] == [
        "Starting",
        "Downloading",
        "Training",
        "Uploading",
        "Completed",
    ]
    model = found["ModelArtifacts"]["S3ModelArtifacts"]
    assert model == f"s3://{BUCKET}/out/whole/output/model.tar.gz"
    assert trainer.archive(model) == {"sub/m.onnx": b"model"}
    outputs = trainer.archive(model.replace("model.tar.gz", "output.tar.gz"))
    assert outputs == {"metrics.json": b"{}"}
    assert trainer.lines("whole") == ["read deep single 3 fast"]


def test_the_program_has_the_roles_credentials_and_not_the_callers(trainer: Trainer) -> None:
    program = "import boto3; print(boto3.client('sts').get_caller_identity()['Arn'])"
    trainer.start("identity", program)
    trainer.ended("identity")
    assert trainer.lines("identity")[-1].endswith(":assumed-role/edgectl-training/SageMaker")


def test_script_mode_gets_its_variables_and_arguments(trainer: Trainer) -> None:
    script = b"""
import os, pathlib, sys
pathlib.Path(os.environ["SM_MODEL_DIR"], "m").write_text(os.environ["SM_HP_DEPTH"])
print(sys.argv[1:], sorted(os.listdir(os.environ["SM_CHANNEL_TRAIN"])))
"""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        member = tarfile.TarInfo("train.py")
        member.size = len(script)
        archive.addfile(member, io.BytesIO(script))
    trainer.s3.put_object(Bucket=BUCKET, Key="script/sourcedir.tar.gz", Body=data.getvalue())
    trainer.s3.put_object(Bucket=BUCKET, Key="script/train/x.csv", Body=b"1")
    hyperparameters = {
        "sagemaker_program": json.dumps("train.py"),
        "sagemaker_submit_directory": json.dumps(f"s3://{BUCKET}/script/sourcedir.tar.gz"),
        "depth": json.dumps(4),
    }
    trainer.start(
        "script",
        "",
        AlgorithmSpecification={"TrainingImage": "image", "TrainingInputMode": "File"},
        InputDataConfig=[channel("train", f"s3://{BUCKET}/script/train/")],
        HyperParameters=hyperparameters,
    )
    found = trainer.ended("script")
    assert trainer.archive(found["ModelArtifacts"]["S3ModelArtifacts"]) == {"m": b"4"}
    assert trainer.lines("script") == ["['--depth', '4'] ['x.csv']"]


def test_a_program_that_fails_says_why(trainer: Trainer) -> None:
    program = """
import pathlib, sys
pathlib.Path(sys.argv[1]).write_text("no data for Monday")
sys.exit(7)
"""
    trainer.start("fails", program, "/opt/ml/output/failure")
    found = trainer.ended("fails")
    assert found["TrainingJobStatus"] == "Failed"
    assert found["FailureReason"] == "AlgorithmError: no data for Monday, exit code: 7"


def test_a_stopped_job_gets_sigterm_and_keeps_what_it_has(
    trainer: Trainer, until: Callable[..., Any]
) -> None:
    program = """
import pathlib, signal, sys, time
def end(*_):
    pathlib.Path(sys.argv[1], "half").write_text("checkpoint")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(60)
"""
    trainer.start("stopped", program, "/opt/ml/model")
    until(lambda: _has_log(trainer, "stopped"))
    trainer.api.stop_training_job(TrainingJobName="stopped")
    assert trainer.described("stopped")["TrainingJobStatus"] in {"Stopping", "Stopped"}
    found = trainer.ended("stopped")
    assert (found["TrainingJobStatus"], found["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert trainer.archive(found["ModelArtifacts"]["S3ModelArtifacts"]) == {"half": b"checkpoint"}
    with pytest.raises(ClientError, match="in status Stopped"):
        trainer.api.stop_training_job(TrainingJobName="stopped")


def _has_log(trainer: Trainer, name: str) -> bool:
    try:
        return trainer.lines(name) == ["ready"]
    except (ClientError, IndexError):
        return False


def test_a_job_that_takes_too_long_is_stopped(trainer: Trainer) -> None:
    program = "import time; time.sleep(60)"
    trainer.start("slow", program, StoppingCondition={"MaxRuntimeInSeconds": 1})
    found = trainer.ended("slow")
    assert (found["TrainingJobStatus"], found["SecondaryStatus"]) == (
        "Stopped",
        "MaxRuntimeExceeded",
    )


def test_a_role_that_may_not_read_the_data_fails_the_job(
    trainer: Trainer, clients: Clients
) -> None:
    trust = {
        "Statement": [
            {
                "Effect": "Allow",
                "Action": "sts:AssumeRole",
                "Principal": {"Service": "sagemaker.amazonaws.com"},
            }
        ],
        "Version": "2012-10-17",
    }
    made = clients("iam").create_role(RoleName="poor", AssumeRolePolicyDocument=json.dumps(trust))
    trainer.start("denied", "", RoleArn=made["Role"]["Arn"])
    assert "no s3:GetObject" in trainer.ended("denied")["FailureReason"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"RoleArn": "arn:aws:iam::123456789012:role/unknown"}, "Could not assume role"),
        ({"InputDataConfig": [channel("a", "s3://nowhere/x")]}, "No S3 objects found"),
        ({"InputDataConfig": [channel("a", f"s3://{BUCKET}/empty/")]}, "No S3 objects found"),
        ({"EnableManagedSpotTraining": True}, "MaxWaitTimeInSeconds"),
        ({"AlgorithmSpecification": {"TrainingInputMode": "File"}}, "TrainingImage"),
        ({"ResourceConfig": {"InstanceType": "ml.none.large", "InstanceCount": 1}}, "enum value"),
    ],
)
def test_a_wrong_job_is_refused_at_once(
    trainer: Trainer, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(ClientError) as caught:
        trainer.start("refused", "", **change)
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert said in caught.value.response["Error"]["Message"]
    with pytest.raises(ClientError, match="Requested resource not found"):
        trainer.described("refused")


def test_a_name_is_used_once_and_jobs_are_listed(trainer: Trainer) -> None:
    for name in ("list-a", "list-b"):
        trainer.start(name, "")
        trainer.ended(name)
    with pytest.raises(ClientError) as caught:
        trainer.start("list-a", "")
    assert caught.value.response["Error"]["Code"] == "ResourceInUse"
    pages = trainer.api.get_paginator("list_training_jobs").paginate(
        NameContains="list-", SortOrder="Ascending", PaginationConfig={"PageSize": 1}
    )
    found = [job["TrainingJobName"] for page in pages for job in page["TrainingJobSummaries"]]
    assert found == ["list-a", "list-b"]
    arn = trainer.described("list-a")["TrainingJobArn"]
    trainer.api.add_tags(ResourceArn=arn, Tags=[{"Key": "k", "Value": "v"}])
    assert trainer.api.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "k", "Value": "v"}]


def test_nothing_of_the_callers_environment_reaches_the_program(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "SECRET_OF_THE_CALLER", "x")
    trainer.start("clean", "import os; print('SECRET_OF_THE_CALLER' in os.environ)")
    trainer.ended("clean")
    assert trainer.lines("clean") == ["False"]
