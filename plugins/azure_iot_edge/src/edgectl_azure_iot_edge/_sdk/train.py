"""``train``: the project's own training as an Azure ML command job, its model brought back here.

What goes in has a digest, and the job's name has that digest: a command that was cut off (the
network, a closed laptop) finds its job running and goes on with it, instead of paying for another.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from azure.ai.ml import Input as MlInput
from azure.ai.ml import command
from azure.ai.ml.entities import Environment, Job

from edgectl.api import (
    NotFoundError,
    ProviderContext,
    ProviderError,
    TrainedModel,
    TrainError,
    TrainRequest,
    git_revision,
    input_digest,
    read_metrics,
    sha256_digest,
    training_environment,
    training_sources,
)
from edgectl_azure_iot_edge import training
from edgectl_azure_iot_edge._sdk.joblog import JobLog
from edgectl_azure_iot_edge._sdk.workspace import ArtifactStore, Workspace, is_local
from edgectl_azure_iot_edge.config import AzureConfig

Progress = Callable[[str], None]
LOOK_S = 5.0
LOCAL_LOOK_S = 0.2
LATE_LOOKS = 3
"""How often the log is read again after the end: lines arrive there late."""
MAX_OUTPUTS = 1000
MAX_OUTPUT_BYTES = 16 << 30
_ENDED = frozenset({"Completed", "Failed", "Canceled", "NotResponding", "Paused"})
_MAX_ATTEMPTS = 1000


class _Order(NamedTuple):
    """What a job is made of: ``code`` is the folder that becomes its working folder."""

    config: AzureConfig
    request: TrainRequest
    inputs: tuple[training.Input, ...]
    code: Path
    digest: str


def train(config: AzureConfig, context: ProviderContext, request: TrainRequest) -> TrainedModel:
    """Train, and bring model and metrics to where the project wants them.

    Raises:
        TrainError: The job failed, or left no model; its last lines are in the message.
        ProjectError: Workspace, image or compute are not set.
        LimitError: A limit of Azure ML would be exceeded.
    """
    training.check_settings(config)
    variables = training_environment(request)
    digests = {name: input_digest(path) for name, path in sorted(request.inputs.items())}
    revision = git_revision(request.project_dir)
    inputs = training.plan_inputs(request, digests, variables)
    sources = training_sources(request)
    workspace = Workspace(config)
    with tempfile.TemporaryDirectory(prefix="edgectl-train-") as folder:
        parts = _stage(Path(folder), sources, request, inputs)
        digest = training.job_digest(config.training, parts, inputs)
        order = _Order(config, request, inputs, Path(folder), digest)
        job = _begin(workspace, order, context.progress)
    name = str(job.name)
    store = workspace.artifacts()
    _follow(workspace, name, store, context.progress)
    _fetch(store, name, request, set(sources))
    return TrainedModel(
        model=request.model,
        metrics=read_metrics(request.metrics) if request.metrics else {},
        inputs=digests,
        command=request.command,
        revision=revision,
        job=name,
    )


def _stage(
    folder: Path,
    sources: dict[str, Path],
    request: TrainRequest,
    inputs: tuple[training.Input, ...],
) -> dict[str, str]:
    """Lay out the job's code, and return each file's digest by its path."""
    for name, path in sources.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    own = folder / training.JOB_FOLDER
    own.mkdir(exist_ok=True)
    (own / "start.py").write_bytes(training.start_script())
    (own / "job.json").write_bytes(training.job_document(request, inputs))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256_digest(path.read_bytes()) for path in files}


def _begin(workspace: Workspace, order: _Order, progress: Progress) -> Job:
    """Begin a job, or return the one that runs with the same content."""
    request, settings = order.request, order.config.training
    for attempt in range(1, _MAX_ATTEMPTS):
        name = training.job_name(request.name, order.digest, attempt)
        known = _find(workspace, name)
        if known is not None and _status(known) in _ENDED:
            continue
        if known is not None:
            progress(f"going on with the training job '{name}', which runs already")
            return known
        progress(f"sending the training job '{name}' to the workspace '{workspace.name}'")
        with workspace.calling(f"begin the training job '{name}'"):
            made: Job = workspace.client.jobs.create_or_update(_job(order, name))
        where = settings.compute or settings.instance_type
        progress(f"training job '{name}' on {where} has begun; {made.studio_url}")
        return made
    raise TrainError(f"'{request.name}' was trained {_MAX_ATTEMPTS} times with this content")


def _find(workspace: Workspace, name: str) -> Job | None:
    try:
        with workspace.calling(f"look for the training job '{name}'"):
            found: Job = workspace.client.jobs.get(name)
            return found
    except NotFoundError as exc:
        if exc.hint:  # not the job: the workspace
            raise
        return None


def _status(job: Job) -> str:
    """Return the service's word; the SDK gives an enumeration for those that it knows."""
    return str(getattr(job.status, "value", job.status))


def _job(order: _Order, name: str) -> Job:
    request, settings = order.request, order.config.training
    made: Job = command(
        name=name,
        display_name=f"{request.name} {request.version}",
        experiment_name=f"edgectl-{request.name}",
        code=str(order.code),
        command=training.command_line(order.inputs),
        environment=settings.environment or Environment(image=settings.image),
        environment_variables=dict(settings.variables),
        compute=settings.compute or None,
        instance_type=settings.instance_type or None,
        instance_count=settings.instance_count,
        timeout=settings.timeout_s,
        inputs={
            entry.name: MlInput(type=entry.kind, path=str(entry.source)) for entry in order.inputs
        },
        tags={"edgectl.managed": "true", "edgectl.application": request.name},
        properties={"edgectl.digest": order.digest, "edgectl.version": request.version},
    )
    return made


def _follow(workspace: Workspace, name: str, store: ArtifactStore, progress: Progress) -> None:
    """Show what the job does until it has ended.

    Raises:
        TrainError: It did not end well.
    """
    log = JobLog(store, name, progress)
    look_s = LOCAL_LOOK_S if is_local() else LOOK_S
    status = ""
    try:
        while status not in _ENDED:
            with workspace.calling(f"look at the training job '{name}'"):
                now = _status(workspace.client.jobs.get(name))
            if now != status:
                progress(f"Azure ML: {now}")
                status = now
            log.show()
            if status not in _ENDED:
                time.sleep(look_s)
        for look in range(1, LATE_LOOKS + 1):
            log.show(last=look == LATE_LOOKS)
            if look < LATE_LOOKS and not is_local():
                time.sleep(look_s)
    except KeyboardInterrupt:
        _cancel(workspace, name, progress)
        raise
    except ProviderError as exc:
        exc.hint = (
            f"{exc.hint}; the training job '{name}' goes on and is billed: "
            "`edgectl train` again finds it"
        ).lstrip("; ")
        raise
    if status != "Completed":
        raise _failed(name, status, list(log.tail))


def _cancel(workspace: Workspace, name: str, progress: Progress) -> None:
    """Ask Azure ML to cancel a job that nobody wants any more, and say so."""
    try:
        with workspace.calling(f"cancel the training job '{name}'"):
            workspace.client.jobs.begin_cancel(name)
    except ProviderError as exc:
        progress(
            f"the training job '{name}' could not be canceled and is billed on: {exc.message}; "
            f"`az ml job cancel --name {name}` tries again"
        )
    else:
        progress(
            f"Azure ML was asked to cancel the training job '{name}'; it may take a minute to "
            "end, and is billed until then"
        )


def _failed(name: str, status: str, tail: list[str]) -> TrainError:
    lines = "; its last lines:\n" + "\n".join(tail) if tail else ""
    hint = "" if tail else "it left no log: its page in Azure ML studio says why"
    if status == "Canceled":
        hint = "somebody canceled it, or it reached providers.azure.training.timeout_s"
    return TrainError(
        f"the training job '{name}' ended as {status}{lines}", hint=hint, vendor_code=status
    )


def _fetch(store: ArtifactStore, name: str, request: TrainRequest, sources: set[str]) -> None:
    """Bring the job's outputs to their places.

    Raises:
        TrainError: There is no model among them, or they cannot be trusted.
    """
    model = request.model.relative_to(request.project_dir)
    wanted = {model.as_posix()}
    if request.metrics is not None:
        wanted.add(request.metrics.relative_to(request.project_dir).as_posix())
    prefix = f"{training.artifact_prefix(name)}{training.OUTPUTS}/"
    found = {}
    for blob, size in store.names(prefix):
        path = _checked(blob.removeprefix(prefix), name)
        beside = PurePosixPath(path).is_relative_to(model.parent.as_posix())
        if path in wanted or (beside and path not in sources):
            found[path] = (blob, size)
    if model.as_posix() not in found:
        raise TrainError(
            f"the training job '{name}' left no model at '{model}'",
            hint="write the ONNX file to the path in EDGECTL_OUTPUT_MODEL",
        )
    if len(found) > MAX_OUTPUTS or sum(size for _, size in found.values()) > MAX_OUTPUT_BYTES:
        raise TrainError(f"the training job '{name}' left more than a model may have")
    request.model.parent.mkdir(parents=True, exist_ok=True)
    # Beside the model, so that moving is renaming.
    with tempfile.TemporaryDirectory(dir=request.model.parent, prefix=".edgectl-") as folder:
        for number, (blob, size) in enumerate(found.values()):
            _download(store, blob, size, Path(folder) / str(number))
        for number, path in enumerate(found):
            target = request.project_dir / path
            target.parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / str(number)).replace(target)


def _checked(path: str, name: str) -> str:
    """Return an output's path, if it stays in its folder.

    Raises:
        TrainError: It does not.
    """
    plain = PurePosixPath(path)
    if plain.is_absolute() or ".." in plain.parts or "\0" in path or str(plain) != path:
        raise TrainError(f"the training job '{name}' left an output at '{path[:200]}'")
    return path


def _download(store: ArtifactStore, blob: str, size: int, path: Path) -> None:
    with path.open("wb") as file:
        for part in store.read(blob):
            file.write(part)
            if file.tell() > size:
                break
        if file.tell() != size:
            raise TrainError(f"the training job's output '{blob}' has not {size} bytes")
