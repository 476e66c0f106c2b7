"""Training jobs that run: channels from S3, a process, its lines in the log, its model to S3.

Statuses, secondary statuses and failure reasons are SageMaker's (API reference,
DescribeTrainingJob; developer guide, "Run training with your own container"). The instance is this
machine and the image this Python: what the image has beside is the user's to install.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from edgectl_aws_greengrass.emulator.callers import Callers
from edgectl_aws_greengrass.emulator.greengrass.objects import ArtifactError, Objects
from edgectl_aws_greengrass.emulator.policy import allows
from edgectl_aws_greengrass.emulator.sagemaker.logs import JobLog
from edgectl_aws_greengrass.emulator.sagemaker.sandbox import MAX_REASON, Sandbox
from edgectl_aws_greengrass.emulator.wire import Params

STOP_GRACE_S = 120.0
"""How long a container has between SIGTERM and SIGKILL."""

_MESSAGES = {
    "Starting": "Preparing the instances for training",
    "Downloading": "Downloading the training image",
    "Training": "Training image download completed. Training in progress.",
    "Uploading": "Uploading generated training model",
    "Completed": "Training job completed",
    "Stopping": "Stopping the training job",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
    "Failed": "Training job failed",
}


class StepError(Exception):
    """A job cannot go on; the text is its failure reason."""


@dataclass
class TrainingJob:
    """A job and how far it is.

    Attributes:
        request: The input of CreateTrainingJob.
        transitions: (secondary status, begun, ended).
        stop: Set when the job is asked to stop.
    """

    arn: str
    request: Params
    created: datetime
    status: str = "InProgress"
    secondary: str = "Starting"
    failure: str = ""
    artifacts: str = ""
    changed: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
    transitions: list[tuple[str, datetime, datetime | None]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    timed_out: bool = False
    process: subprocess.Popen[str] | None = None

    @property
    def name(self) -> str:
        """The job's name."""
        return str(self.request["TrainingJobName"])

    def enter(self, secondary: str, status: str | None = None) -> None:
        """Move to a secondary status, and perhaps to another status."""
        now = datetime.now(UTC)
        if self.transitions:
            last, begun, _ = self.transitions[-1]
            self.transitions[-1] = (last, begun, now)
        over = status in {"Completed", "Failed", "Stopped"}
        self.transitions.append((secondary, now, now if over else None))
        if secondary == "Training":
            self.started = now
        if over:
            self.ended = now
        self.secondary, self.changed = secondary, now
        self.status = status or self.status

    def shown_transitions(self) -> list[Params]:
        """Return ``SecondaryStatusTransitions``."""
        return [
            {
                "Status": status,
                "StartTime": begun,
                "StatusMessage": _MESSAGES.get(status, status),
                **({"EndTime": ended} if ended else {}),
            }
            for status, begun, ended in self.transitions
        ]


class Trainer:
    """Runs jobs, each on a thread and in a process of its own.

    Args:
        folder: Takes the jobs' folders.
        account: Twelve digits.
        region: The Region.
        objects: Where channels come from and models go.
        callers: The roles, and credentials for the program.
        settings: Gives further variables: where the emulator is.
    """

    def __init__(
        self,
        folder: Path,
        *,
        account: str,
        region: str,
        objects: Objects,
        callers: Callers,
        settings: Callable[[], dict[str, str]],
    ) -> None:
        self._folder = folder
        self._account = account
        self._region = region
        self._objects = objects
        self._callers = callers
        self._settings = settings
        self._ended = threading.Event()
        self._running: list[TrainingJob] = []

    def start(self, job: TrainingJob) -> None:
        """Begin a job."""
        self._running = [*(j for j in self._running if j.ended is None), job]
        job.enter("Starting")
        threading.Thread(target=self._run, args=(job,), daemon=True).start()

    def close(self) -> None:
        """Kill what still runs."""
        self._ended.set()
        for job in self._running:
            job.stop.set()
            if job.process is not None and job.process.poll() is None:
                job.process.kill()

    def _run(self, job: TrainingJob) -> None:
        sandbox = Sandbox(self._folder / job.name / "ml", job.request)
        try:
            shutil.rmtree(sandbox.root, ignore_errors=True)
            sandbox.make()
            job.enter("Downloading")
            self._download(job, sandbox)
            job.enter("Training")
            code = self._train(job, sandbox)
            self._finish(job, sandbox, code)
        except StepError as error:
            job.failure = str(error)[:MAX_REASON]
            job.enter("Failed", "Failed")
        except OSError as error:
            job.failure = f"InternalServerError: {error}"[:MAX_REASON]
            job.enter("Failed", "Failed")
        finally:
            shutil.rmtree(sandbox.root.parent, ignore_errors=True)

    def _download(self, job: TrainingJob, sandbox: Sandbox) -> None:
        for channel in job.request.get("InputDataConfig") or ():
            source = channel["DataSource"]["S3DataSource"]
            folder = sandbox.channel(channel["ChannelName"])
            folder.mkdir(parents=True, exist_ok=True)
            for key, place in keys_below(self._objects, source["S3Uri"]):
                target = folder / place
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(self._read(job, key))
        code = sandbox.hyperparameter("sagemaker_submit_directory")
        if code.startswith("s3://"):
            sandbox.unpack_code(self._read(job, code))

    def _read(self, job: TrainingJob, uri: str) -> bytes:
        role = job.request["RoleArn"]
        if not self._may(role, "s3:GetObject", f"arn:aws:s3:::{uri[5:]}"):
            raise StepError(
                f"ClientError: Data download failed: Failed to download data. Access denied for "
                f"{uri}: the role '{role}' has no s3:GetObject on it"
            )
        try:
            return self._objects.read(uri)
        except ArtifactError as error:
            raise StepError(f"ClientError: Data download failed: {uri}: {error}") from error

    def _may(self, role_arn: str, action: str, resource: str) -> bool:
        policies = self._callers.role_policies(role_arn.rpartition("/")[2])
        return allows(policies, action, resource)

    def _train(self, job: TrainingJob, sandbox: Sandbox) -> int:
        limit = (job.request.get("StoppingCondition") or {}).get("MaxRuntimeInSeconds") or 86_400
        log = JobLog(self._account, self._region, job.name)
        try:
            command = sandbox.command()
            job.process = subprocess.Popen(
                command,
                cwd=sandbox.root,
                env=sandbox.environment() | self._credentials(job),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise StepError(f"ClientError: the container cannot be started: {error}") from error
        watch = threading.Thread(target=self._watch, args=(job, limit), daemon=True)
        watch.start()
        assert job.process.stdout is not None  # noqa: S101 - a pipe was asked for
        with job.process.stdout as lines:
            for line in lines:
                log.write(line.rstrip("\n"))
        return job.process.wait()

    def _credentials(self, job: TrainingJob) -> dict[str, str]:
        made = self._callers.new_session(job.request["RoleArn"], "SageMaker", 43_200)
        return {
            **self._settings(),
            "AWS_ACCESS_KEY_ID": made.access_key_id,
            "AWS_SECRET_ACCESS_KEY": made.secret,
            "AWS_SESSION_TOKEN": made.token,
        }

    def _watch(self, job: TrainingJob, limit_s: float) -> None:
        """Stop the process when it is asked for, or when its time is over."""
        process = job.process
        assert process is not None  # noqa: S101 - started before
        waited = 0.0
        while process.poll() is None and not job.stop.wait(0.05):
            waited += 0.05
            if waited >= limit_s:
                job.timed_out = True
                job.enter("Stopping", "Stopping")
                break
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(0.0 if self._ended.is_set() else STOP_GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()

    def _finish(self, job: TrainingJob, sandbox: Sandbox, code: int) -> None:
        stopped = job.stop.is_set() or job.timed_out
        if code != 0 and not stopped:
            said = sandbox.failure()
            raise StepError(
                f"AlgorithmError: {said}, exit code: {code if code > 0 else 128 - code}"
            )
        if not stopped:
            job.enter("Uploading")
        self._upload(job, sandbox)
        if job.timed_out:
            job.enter("MaxRuntimeExceeded", "Stopped")
        elif stopped:
            job.enter("Stopped", "Stopped")
        else:
            job.enter("Completed", "Completed")

    def _upload(self, job: TrainingJob, sandbox: Sandbox) -> None:
        base = str(job.request["OutputDataConfig"]["S3OutputPath"]).rstrip("/")
        for part, name in (("model", "model.tar.gz"), ("output/data", "output.tar.gz")):
            content = sandbox.archive(part)
            if content is None:
                continue
            bucket, _, path = base.removeprefix("s3://").partition("/")
            key = "/".join(p for p in (path, job.name, "output", name) if p)
            role = job.request["RoleArn"]
            if not self._may(role, "s3:PutObject", f"arn:aws:s3:::{bucket}/{key}"):
                raise StepError(
                    f"ClientError: Failed to upload to s3://{bucket}/{key}: the role '{role}' has "
                    "no s3:PutObject on it"
                )
            try:
                self._objects.put(bucket, key, content)
            except ArtifactError as error:
                raise StepError(f"ClientError: Failed to upload the model: {error}") from error
            if part == "model":
                job.artifacts = f"s3://{bucket}/{key}"


def keys_below(objects: Objects, uri: str) -> list[tuple[str, str]]:
    """Return (object URI, path in the channel) of what an ``S3Prefix`` source means.

    Raises:
        ArtifactError: There is no such bucket.
    """
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    found = []
    for key in objects.names(bucket, prefix):
        if key.endswith("/"):
            continue
        rest = key[len(prefix) :].lstrip("/") if prefix.endswith("/") or key != prefix else ""
        found.append((f"s3://{bucket}/{key}", rest or key.rpartition("/")[2]))
    return found
