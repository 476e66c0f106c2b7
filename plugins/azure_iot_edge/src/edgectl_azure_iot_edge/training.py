"""A training job as Azure ML is asked for it: names, command line, inputs and digest; pure.

The job is named by what goes into it, so a command that was cut off finds its job again. Azure ML's
SDK uploads code and inputs under their content's digest: what was sent once is not sent again.
"""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

from edgectl.api import (
    LimitError,
    ProjectError,
    Record,
    TrainRequest,
    canonical_json,
    sha256_digest,
)
from edgectl_azure_iot_edge.config import AzureConfig, TrainingConfig

JOB_FOLDER = "edgectl_job"
OUTPUTS = "outputs/edgectl"
LOGS = "user_logs/std_log"
ARTIFACT_STORE = "workspaceartifactstore"
MAX_INPUTS = 100
_NOT_NAME = re.compile(r"[^A-Za-z0-9]+")
_VARIABLE = re.compile(r"EDGECTL_INPUT_[A-Z0-9_]+")


class Input(Record, frozen=True, kw_only=True):
    """A training input on its way to the job.

    Attributes:
        variable: Where the command finds its path.
        path: Where it lies in the project, or "" outside.
    """

    variable: str
    source: Path
    digest: str
    path: str = ""

    @property
    def name(self) -> str:
        """The input's name in the job; Azure ML takes lower-case identifiers everywhere."""
        return self.variable.lower()

    @property
    def kind(self) -> str:
        """Azure ML's word for a file or a folder."""
        return "uri_folder" if self.source.is_dir() else "uri_file"


def check_settings(config: AzureConfig) -> str:
    """Return the workspace's name, after checking that what a job needs is set.

    Raises:
        ProjectError: It is not.
    """
    training = config.training
    workspace = check_workspace(config)
    if bool(training.image) == bool(training.environment):
        raise ProjectError(
            "providers.azure.training needs either `image` or `environment`: Azure ML trains in "
            "a container image",
            hint="name an image with Python and what the training imports; docs/providers/azure.md",
        )
    if not training.compute and not training.instance_type:
        raise ProjectError(
            "providers.azure.training names neither `compute` nor `instance_type`",
            hint="name a compute cluster, or the machine that serverless compute shall take",
        )
    return workspace


def check_workspace(config: AzureConfig) -> str:
    """Return the workspace's name.

    Raises:
        ProjectError: None is set.
    """
    if not config.workspace:
        raise ProjectError(
            "providers.azure.workspace is not set: models are trained and registered in Azure ML",
            hint="set it to the name of an Azure ML workspace, or take another provider for this "
            "step",
        )
    return config.workspace


def plan_inputs(
    request: TrainRequest, digests: dict[str, str], variables: dict[str, str]
) -> tuple[Input, ...]:
    """Return the inputs of the job.

    Args:
        request: What to train.
        digests: Each input's digest, by name.
        variables: The command's variables on this machine, whose values are paths.

    Raises:
        LimitError: There are too many.
    """
    if len(request.inputs) > MAX_INPUTS:
        raise LimitError(
            f"the training has {len(request.inputs)} inputs, an Azure ML job takes {MAX_INPUTS}"
        )
    by_path = {value: key for key, value in variables.items() if _VARIABLE.fullmatch(key)}
    found = []
    for name, path in sorted(request.inputs.items()):
        inside = path.is_relative_to(request.project_dir)
        found.append(
            Input(
                variable=by_path[str(path)],
                source=path,
                digest=digests[name],
                path=path.relative_to(request.project_dir).as_posix() if inside else "",
            )
        )
    return tuple(found)


def start_script() -> bytes:
    """Return the program that the container runs."""
    return resources.files("edgectl_azure_iot_edge.container").joinpath("start.py").read_bytes()


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
            "inputs": {entry.variable: entry.path for entry in inputs},
            "model": request.model.relative_to(project).as_posix(),
            "metrics": request.metrics.relative_to(project).as_posix() if request.metrics else "",
            "outputs": OUTPUTS,
        }
    )


def command_line(inputs: tuple[Input, ...]) -> str:
    """Return the job's command: the project's own stands in ``job.json``, never in a shell."""
    places = [f'"{entry.variable}=${{{{inputs.{entry.name}}}}}"' for entry in inputs]
    return " ".join(["python3", f"{JOB_FOLDER}/start.py", *places])


def job_digest(training: TrainingConfig, parts: dict[str, str], inputs: tuple[Input, ...]) -> str:
    """Return a digest of everything that goes into the job.

    Args:
        training: How it is trained.
        parts: Path of each file of the code to its digest.
        inputs: The inputs.
    """
    return sha256_digest(
        canonical_json(
            {
                "parts": parts,
                "inputs": {entry.variable: entry.digest for entry in inputs},
                "training": training,
            }
        )
    )


def job_name(application: str, digest: str, attempt: int) -> str:
    """Return a job's name; Azure ML never gives one name twice, so attempts are counted."""
    name = _NOT_NAME.sub("-", application).strip("-")[:24] or "model"
    return f"edgectl-{name}-{digest.removeprefix('sha256:')[:12]}-{attempt}"


def artifact_prefix(job: str) -> str:
    """Return where a job's logs and outputs lie in the artifact store."""
    return f"ExperimentRun/dcid.{job}/"
