"""``train``: the project's own training in a SageMaker job, and its model brought back here.

What goes in has a digest, and the job's name has that digest: a command that was cut off (the
network, a closed laptop) finds its job running and goes on with it, instead of paying for another.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

from edgectl.api import (
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
from edgectl_aws_greengrass import training
from edgectl_aws_greengrass._sdk import blobs, jobs
from edgectl_aws_greengrass._sdk.account import Account
from edgectl_aws_greengrass._sdk.joblog import JobLog
from edgectl_aws_greengrass._sdk.unpack import MAX_BYTES, unpack

Progress = Callable[[str], None]
LOOK_S = 5.0
EMULATED_LOOK_S = 0.2
PIECE_BYTES = 32 << 20
LATE_LOOKS = 3
"""How often the log is read again after the end: lines arrive there late."""


def train(account: Account, request: TrainRequest, progress: Progress) -> TrainedModel:
    """Train, and bring model and metrics to where the project wants them.

    Raises:
        TrainError: The job failed, or left no model; its last lines are in the message.
        ProjectError: Image or role are not set.
        LimitError: A limit of SageMaker would be exceeded.
    """
    config = account.config
    training.check_settings(config)
    variables = training_environment(request)
    digests = {name: input_digest(path) for name, path in sorted(request.inputs.items())}
    revision = git_revision(request.project_dir)
    inputs = training.plan_inputs(request, digests, variables)
    sources = training_sources(request)
    parts = {
        "code.tar.gz": training.pack(sources),
        "start.py": training.start_script(),
        "job.json": training.job_document(request, inputs),
    }
    digest = training.job_digest(config, list(parts.values()), inputs)
    prefix = training.job_prefix(request.name, digest)
    job = jobs.running(account, prefix)
    if job is not None:
        progress(f"going on with the training job '{job.name}', which runs already")
    else:
        _bring(account, digest, parts, inputs, progress)
        name = f"{prefix}-{time.strftime('%y%m%d%H%M%S', time.gmtime())}"
        job = jobs.begin(account, training.job_request(config, name, digest, inputs))
        progress(f"training job '{job.name}' on {config.training.instance_type} has begun")
    _follow(account, job, progress)
    _fetch(account, job, request, set(sources))
    return TrainedModel(
        model=request.model,
        metrics=read_metrics(request.metrics) if request.metrics else {},
        inputs=digests,
        command=request.command,
        revision=revision,
        job=job.name,
    )


def _bring(
    account: Account,
    digest: str,
    parts: dict[str, bytes],
    inputs: tuple[training.Input, ...],
    progress: Progress,
) -> None:
    """Send sources and inputs, unless they are there."""
    for entry in inputs:
        prefix = training.input_prefix(account.config, entry.digest)
        files = [entry.source] if entry.file else sorted(_regular(entry.source))
        root = entry.source.parent if entry.file else entry.source
        contents = [
            blobs.Content(
                key=prefix + path.relative_to(root).as_posix(),
                digest=input_digest(path),
                size=path.stat().st_size,
                path=path,
            )
            for path in files
        ]
        sent = sum(account.at_once(lambda content: blobs.ensure(account, content), contents))
        if sent:
            progress(f"input '{entry.name}': {sent:,} bytes sent")
    prefix = training.code_prefix(account.config, digest)
    for name, data in parts.items():
        content = blobs.Content(
            key=prefix + name, digest=sha256_digest(data), size=len(data), data=data
        )
        blobs.ensure(account, content)


def _regular(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _follow(account: Account, job: jobs.Job, progress: Progress) -> None:
    """Show what the job does until it has ended.

    Raises:
        TrainError: It did not end well.
    """
    log = JobLog(account, job.name, progress)
    look_s = EMULATED_LOOK_S if account.overridden else LOOK_S
    step = ""
    try:
        while job.status not in jobs.ENDED:
            if job.step and job.step != step:
                step = job.step
                progress(f"SageMaker: {step}")
            log.show()
            time.sleep(look_s)
            job.look()
        for _ in range(LATE_LOOKS):
            log.show()
            if account.overridden:
                break
            time.sleep(look_s)
    except KeyboardInterrupt:
        _stop(job, progress)
        raise
    except ProviderError as exc:
        exc.hint = (
            f"{exc.hint}; the training job '{job.name}' goes on and is billed: "
            "`edgectl train` again finds it"
        ).lstrip("; ")
        raise
    if job.status != "Completed":
        raise _failed(job, list(log.tail))


def _stop(job: jobs.Job, progress: Progress) -> None:
    """Ask SageMaker to stop a job that nobody wants any more, and say so."""
    try:
        job.stop()
    except ProviderError as exc:
        progress(
            f"the training job '{job.name}' could not be stopped and is billed on: {exc.message}; "
            f"`aws sagemaker stop-training-job --training-job-name {job.name}` tries again"
        )
    else:
        progress(
            f"SageMaker was asked to stop the training job '{job.name}'; it may take 2 minutes "
            "to end, and is billed until then"
        )


def _failed(job: jobs.Job, tail: list[str]) -> TrainError:
    why = job.failure or job.step or job.status
    hint = ""
    if job.step == "MaxRuntimeExceeded":
        hint = "raise providers.aws.training.max_run_s"
    elif job.step == "MaxWaitTimeExceeded":
        hint = "there was no spot capacity: raise training.max_wait_s, or set `spot: false`"
    lines = "; its last lines:\n" + "\n".join(tail) if tail else ""
    return TrainError(
        f"the training job '{job.name}' ended as {job.status}: {why}{lines}",
        hint=hint,
        vendor_code=job.step or job.status,
    )


def _fetch(account: Account, job: jobs.Job, request: TrainRequest, sources: set[str]) -> None:
    """Bring the job's archive here, and its outputs to their places.

    Raises:
        TrainError: There is no model in it, or it cannot be trusted to be unpacked.
    """
    model = request.model.relative_to(request.project_dir)
    wanted = {model.as_posix()}
    if request.metrics is not None:
        wanted.add(request.metrics.relative_to(request.project_dir).as_posix())

    def allowed(name: str) -> bool:
        beside = PurePosixPath(name).is_relative_to(model.parent.as_posix())
        return name in wanted or (beside and name not in sources)

    place = urlparse(job.artifacts)
    if place.scheme != "s3":
        raise TrainError(f"the training job '{job.name}' left no archive ('{job.artifacts}')")
    request.model.parent.mkdir(parents=True, exist_ok=True)
    # Beside the model, so that moving is renaming.
    with tempfile.TemporaryDirectory(dir=request.model.parent, prefix=".edgectl-") as work:
        archive, unpacked = Path(work) / "model.tar.gz", Path(work) / "unpacked"
        unpacked.mkdir()
        _download(account, place.netloc, place.path.lstrip("/"), archive)
        found = unpack(archive, unpacked, allowed=allowed)
        if model.as_posix() not in found:
            raise TrainError(
                f"the training job '{job.name}' left no model at '{model}'",
                hint="write the ONNX file to the path in EDGECTL_OUTPUT_MODEL",
            )
        for name in found:
            target = request.project_dir / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (unpacked / name).replace(target)


def _download(account: Account, bucket: str, key: str, path: Path) -> None:
    """Fetch an object piece by piece, so that a cut link costs a piece."""
    what = f"fetch the training job's archive '{key}'"
    found = account.call("s3", "HeadObject", what, Bucket=bucket, Key=key)
    size = int(found["ContentLength"])
    if size > MAX_BYTES:
        raise TrainError(f"the training job's archive '{key}' is larger than a model may be")
    with path.open("wb") as file:
        while file.tell() < size:
            last = min(file.tell() + PIECE_BYTES, size) - 1
            answer = account.call(
                "s3",
                "GetObject",
                what,
                Bucket=bucket,
                Key=key,
                Range=f"bytes={file.tell()}-{last}",
                IfMatch=found["ETag"],
            )
            piece = account.translating("s3", "GetObject", what, answer["Body"].read)
            if not piece:
                raise TrainError(f"the training job's archive '{key}' ends early")
            file.write(piece)
