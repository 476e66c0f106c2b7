"""What of a project goes into a training job, and how the job is asked for."""

from __future__ import annotations

import json
import os
import tarfile
from io import BytesIO
from pathlib import Path

import msgspec
import pytest

from edgectl.api import (
    LimitError,
    ProjectError,
    TrainRequest,
    input_digest,
    training_environment,
    training_sources,
)
from edgectl_aws_greengrass import training
from edgectl_aws_greengrass.config import AwsConfig, TrainingConfig

CONFIG = AwsConfig(
    bucket="models",
    role="arn:aws:iam::123456789012:role/training",
    training=TrainingConfig(image="123456789012.dkr.ecr.us-east-1.amazonaws.com/train:1"),
)
KEY = "-----BEGIN PRIVATE KEY-----\nMIG\n-----END PRIVATE KEY-----\n"


@pytest.fixture
def request_(tmp_path: Path) -> TrainRequest:
    (tmp_path / "train.py").write_text("print()")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.csv").write_text("1")
    return TrainRequest(
        name="parking plates",
        version="1",
        project_dir=tmp_path,
        command=("python", "train.py"),
        inputs={"data": tmp_path / "data"},
        model=tmp_path / "out/model.onnx",
    )


def inputs_of(request: TrainRequest) -> tuple[training.Input, ...]:
    digests = {name: input_digest(path) for name, path in request.inputs.items()}
    return training.plan_inputs(request, digests, training_environment(request))


@pytest.mark.parametrize(
    "name",
    [".env", ".git/config", "__pycache__/a.pyc", "venv/x.py", "data/a.csv", "out/model.onnx"],
)
def test_what_is_no_source_stays_here(request_: TrainRequest, name: str) -> None:
    path = request_.project_dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    assert set(training_sources(request_)) == {"train.py"}


def test_a_private_key_stays_here_whatever_its_name(request_: TrainRequest) -> None:
    (request_.project_dir / "notes.txt").write_text("my key\n" + KEY)
    assert set(training_sources(request_)) == {"train.py"}


def test_an_environment_stays_here(request_: TrainRequest) -> None:
    (request_.project_dir / "env/lib").mkdir(parents=True)
    (request_.project_dir / "env/pyvenv.cfg").write_text("")
    (request_.project_dir / "env/lib/x.py").write_text("")
    assert set(training_sources(request_)) == {"train.py"}


def test_a_link_out_of_the_project_is_not_followed(request_: TrainRequest) -> None:
    (request_.project_dir / "passwords").symlink_to("/etc/passwd")
    assert set(training_sources(request_)) == {"train.py"}


def test_too_much_beside_the_inputs_is_refused_with_the_way_out(
    request_: TrainRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgectl.training_sources.MAX_SOURCE_BYTES", 3)
    with pytest.raises(LimitError, match="beside its inputs") as caught:
        training_sources(request_)
    assert "train.inputs" in caught.value.hint


def test_the_same_sources_give_the_same_archive(request_: TrainRequest) -> None:
    files = training_sources(request_)
    before = training.pack(files)
    os.utime(request_.project_dir / "train.py", (1, 1))
    assert training.pack(dict(reversed(files.items()))) == before
    with tarfile.open(fileobj=BytesIO(before)) as archive:
        assert archive.getnames() == ["train.py"]


def test_the_job_is_named_by_what_goes_into_it(request_: TrainRequest) -> None:
    inputs = inputs_of(request_)
    first = training.job_digest(CONFIG, [b"a"], inputs)
    assert first == training.job_digest(CONFIG, [b"a"], inputs)
    assert first != training.job_digest(CONFIG, [b"b"], inputs)
    name = training.job_prefix(request_.name, first)
    assert name.startswith("edgectl-parking-plates-")
    assert len(f"{name}-260101000000") <= 63


def test_the_request_has_no_member_that_the_service_does_not_know(request_: TrainRequest) -> None:
    import botocore.session  # noqa: PLC0415 - only here
    from botocore.validate import ParamValidator  # noqa: PLC0415 - only here

    spot = msgspec.structs.replace(CONFIG.training, spot=True, environment={"EPOCHS": "3"})
    config = msgspec.structs.replace(CONFIG, training=spot)
    request = training.job_request(config, "job", "sha256:" + "0" * 64, inputs_of(request_))
    model = botocore.session.Session().get_service_model("sagemaker")
    shape = model.operation_model("CreateTrainingJob").input_shape
    members = {name.lower(): name for name in shape.members}

    def pascal(value: object) -> object:
        if isinstance(value, dict):
            words = {key: "".join(part.title() for part in key.split("_")) for key in value}
            special = {"s3_uri": "S3Uri", "volume_size_in_gb": "VolumeSizeInGB"}
            return {
                special.get(key, words[key]): inner if key == "environment" else pascal(inner)
                for key, inner in value.items()
            }
        return [pascal(item) for item in value] if isinstance(value, list) else value

    said = pascal(request)
    assert isinstance(said, dict)
    said = {members[key.lower()]: value for key, value in said.items()}
    report = ParamValidator().validate(said, shape)
    assert not report.has_errors(), report.generate_report()
    assert said["StoppingCondition"]["MaxWaitTimeInSeconds"] >= 3600


def test_user_values_are_arguments_and_never_shell_text(request_: TrainRequest) -> None:
    request = msgspec.structs.replace(request_, command=("python", "train.py", "; rm -rf /"))
    document = json.loads(training.job_document(request, inputs_of(request)))
    assert document["command"] == ["python", "train.py", "; rm -rf /"]
    asked = training.job_request(CONFIG, "job", "sha256:0", inputs_of(request))
    assert "rm" not in json.dumps(asked["algorithm_specification"])


@pytest.mark.parametrize("name", ["a b", "ä", "x" * 60])
def test_an_input_that_is_no_channel_is_refused(request_: TrainRequest, name: str) -> None:
    request = msgspec.structs.replace(request_, inputs={name: request_.project_dir / "data"})
    with pytest.raises(LimitError, match="cannot be a SageMaker channel"):
        inputs_of(request)


def test_an_output_outside_the_project_is_refused(request_: TrainRequest) -> None:
    request = msgspec.structs.replace(request_, model=Path("/elsewhere/model.onnx"))
    with pytest.raises(ProjectError, match="outside the project"):
        training.job_document(request, ())


@pytest.mark.parametrize(("field", "value"), [("role", None), ("training", TrainingConfig())])
def test_a_setting_that_is_missing_is_named(field: str, value: object) -> None:
    config = msgspec.structs.replace(CONFIG, **{field: value})
    with pytest.raises(ProjectError, match=f"providers.aws.{field}"):
        training.check_settings(config)
