"""A training job as SageMaker is asked for it, and what of a project goes along.

The job is named by what goes into it, so a command that was cut off finds its job again. Sources
travel as one archive with no clock in it, inputs by their own digests: what has been sent once is
not sent again.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import tarfile
from importlib import resources
from pathlib import Path
from typing import Any

from edgectl.api import (
    LimitError,
    ProjectError,
    Record,
    TrainRequest,
    canonical_json,
    sha256_digest,
)
from edgectl_aws_greengrass.config import AwsConfig

BASE = "/opt/ml"
CODE_CHANNEL = "edgectl"
MAX_CHANNELS = 20
"""SageMaker API: CreateTrainingJob, InputDataConfig."""
_CHANNEL = re.compile(r"[A-Za-z0-9.\-_]{1,57}")
_NOT_NAME = re.compile(r"[^A-Za-z0-9]+")


class Input(Record, frozen=True, kw_only=True):
    """A training input on its way to a channel.

    Attributes:
        variable: Where the command finds its path.
        file: The file's name, or "" for a folder.
        path: Where it lies in the project, or "" outside.
    """

    name: str
    variable: str
    source: Path
    digest: str
    file: str = ""
    path: str = ""

    @property
    def channel(self) -> str:
        """The channel's name; a prefix keeps it from being one that means something already."""
        return f"input-{self.name}"


def check_settings(config: AwsConfig) -> None:
    """Check that what a job needs is set.

    Raises:
        ProjectError: It is not.
    """
    if not config.training.image:
        raise ProjectError(
            "providers.aws.training.image is not set: SageMaker trains in a container image",
            hint="name an image with Python and what the training imports; docs/providers/aws.md",
        )
    if not config.role:
        raise ProjectError(
            "providers.aws.role is not set: a training job needs a role of its own",
            hint="docs/providers/aws.md has the role's policy",
        )


def plan_inputs(
    request: TrainRequest, digests: dict[str, str], variables: dict[str, str]
) -> tuple[Input, ...]:
    """Return the inputs as channels.

    Args:
        request: What to train.
        digests: Each input's digest, by name.
        variables: The command's variables on this machine, whose values are paths.

    Raises:
        LimitError: There are too many, or a name is none of a channel.
    """
    if len(request.inputs) >= MAX_CHANNELS:
        raise LimitError(
            f"the training has {len(request.inputs)} inputs, SageMaker takes {MAX_CHANNELS - 1}"
        )
    by_path = {value: key for key, value in variables.items() if key.startswith("EDGECTL_INPUT_")}
    found = []
    for name, path in sorted(request.inputs.items()):
        if not _CHANNEL.fullmatch(name):
            raise LimitError(
                f"the training input '{name}' cannot be a SageMaker channel",
                hint="name it with letters, digits, dots, dashes and underscores",
            )
        inside = path.is_relative_to(request.project_dir)
        found.append(
            Input(
                name=name,
                variable=by_path[str(path)],
                source=path,
                digest=digests[name],
                file="" if path.is_dir() else path.name,
                path=path.relative_to(request.project_dir).as_posix() if inside else "",
            )
        )
    return tuple(found)


def pack(files: dict[str, Path]) -> bytes:
    """Return an archive of the files; the same files give the same bytes."""
    data = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=data, mode="wb", mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, path in sorted(files.items()):
            content = path.read_bytes()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.mode = 0o755 if os.access(path, os.X_OK) else 0o644
            archive.addfile(member, io.BytesIO(content))
    return data.getvalue()


def start_script() -> bytes:
    """Return the program that the container runs."""
    return resources.files("edgectl_aws_greengrass.container").joinpath("start.py").read_bytes()


def job_document(request: TrainRequest, inputs: tuple[Input, ...]) -> bytes:
    """Return what the program in the container has to know.

    Raises:
        ProjectError: An output lies outside the project.
    """
    project = request.project_dir
    for output in (request.model, request.metrics):
        if output is not None and not output.is_relative_to(project):
            raise ProjectError(f"the training output '{output}' is outside the project")
    return canonical_json(
        {
            "command": request.command,
            "inputs": {
                entry.variable: {"channel": entry.channel, "file": entry.file, "path": entry.path}
                for entry in inputs
            },
            "model": request.model.relative_to(project).as_posix(),
            "metrics": request.metrics.relative_to(project).as_posix() if request.metrics else "",
        }
    )


def job_digest(config: AwsConfig, parts: list[bytes], inputs: tuple[Input, ...]) -> str:
    """Return a digest of everything that goes into the job."""
    return sha256_digest(
        canonical_json(
            {
                "parts": [hashlib.sha256(part).hexdigest() for part in parts],
                "inputs": {entry.name: entry.digest for entry in inputs},
                "training": config.training,
                "role": config.role,
            }
        )
    )


def job_prefix(application: str, digest: str) -> str:
    """Return how the job's name begins: at most 63 characters with what makes it unique."""
    name = _NOT_NAME.sub("-", application).strip("-")[:24] or "model"
    return f"edgectl-{name}-{digest.removeprefix('sha256:')[:12]}"


def input_prefix(config: AwsConfig, digest: str) -> str:
    """Return where an input's objects lie."""
    return f"{config.prefix}/training/inputs/{digest.removeprefix('sha256:')}/"


def code_prefix(config: AwsConfig, digest: str) -> str:
    """Return where a job's sources lie."""
    return f"{config.prefix}/training/code/{digest.removeprefix('sha256:')}/"


def job_request(
    config: AwsConfig, name: str, digest: str, inputs: tuple[Input, ...]
) -> dict[str, Any]:
    """Return the job in the SageMaker SDK's words (``CreateTrainingJob`` in snake case)."""
    training = config.training
    stopping = {"max_runtime_in_seconds": training.max_run_s}
    if training.spot:
        wait = training.max_wait_s or training.max_run_s + 3600
        stopping["max_wait_time_in_seconds"] = max(wait, training.max_run_s)
    channels = {entry.channel: input_prefix(config, entry.digest) for entry in inputs}
    channels[CODE_CHANNEL] = code_prefix(config, digest)
    request: dict[str, Any] = {
        "training_job_name": name,
        "role_arn": config.role,
        "algorithm_specification": {
            "training_image": training.image,
            "training_input_mode": "File",
            "container_entrypoint": ["python3"],
            "container_arguments": [f"{BASE}/input/data/{CODE_CHANNEL}/start.py"],
        },
        "input_data_config": [
            _channel(channel, f"s3://{config.bucket}/{prefix}")
            for channel, prefix in sorted(channels.items())
        ],
        "output_data_config": {
            "s3_output_path": f"s3://{config.bucket}/{config.prefix}/training/jobs"
        },
        "resource_config": {
            "instance_type": training.instance_type,
            "instance_count": 1,
            "volume_size_in_gb": training.volume_gb,
        },
        "stopping_condition": stopping,
        "enable_managed_spot_training": training.spot,
        "tags": [{"key": "edgectl:managed", "value": "true"}],
    }
    return {**request, "environment": training.environment} if training.environment else request


def _channel(name: str, uri: str) -> dict[str, Any]:
    source = {
        "s3_data_type": "S3Prefix",
        "s3_uri": uri,
        "s3_data_distribution_type": "FullyReplicated",
    }
    return {"channel_name": name, "data_source": {"s3_data_source": source}, "input_mode": "File"}
