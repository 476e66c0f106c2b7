"""A command job: what a request for one has to hold, how far it is, and how it is shown.

Statuses are the service's (Azure Machine Learning REST reference, JobStatus); a job's name is
unique for ever, and of a job that is there only tags, properties and display name may change.
"""

from __future__ import annotations

import re
import subprocess
import threading
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

from edgectl_azure_iot_edge.emulator.ml.errors import MlError
from edgectl_azure_iot_edge.emulator.ml.naming import (
    ARTIFACT_STORE,
    PROVIDER,
    Scope,
    artifact_prefix,
    moment,
)

Document = dict[str, Any]
TERMINAL = frozenset({"Completed", "Failed", "Canceled"})
_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")


class Port(msgspec.Struct, frozen=True, rename="camel"):
    """An input or an output of a job."""

    job_input_type: str = ""
    job_output_type: str = ""
    uri: str | None = None
    mode: str | None = None
    value: str | None = None
    description: str | None = None
    asset_name: str | None = None
    asset_version: str | None = None
    path_on_compute: str | None = None


class Limits(msgspec.Struct, frozen=True, rename="camel"):
    """How long a job may run."""

    job_limits_type: Literal["Command"]
    timeout: str | None = None


class Resources(msgspec.Struct, frozen=True, rename="camel"):
    """What a job runs on."""

    instance_type: str | None = None
    instance_count: int | None = None
    locations: list[str] | None = None
    max_instance_count: int | None = None
    properties: dict[str, Any] | None = None
    docker_args: str | None = None
    docker_args_list: list[str] | None = None
    shm_size: str | None = None


class CommandJob(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """``properties`` of a request for a command job (API version 2025-01-01-preview)."""

    job_type: Literal["Command"]
    command: str
    environment_id: str
    code_id: str | None = None
    compute_id: str | None = None
    component_id: str | None = None
    description: str | None = None
    display_name: str | None = None
    distribution: dict[str, Any] | None = None
    environment_variables: dict[str, str] | None = None
    experiment_name: str | None = None
    identity: dict[str, Any] | None = None
    inputs: dict[str, Port] | None = None
    is_archived: bool | None = None
    limits: Limits | None = None
    notification_setting: dict[str, Any] | None = None
    outputs: dict[str, Port] | None = None
    parameters: dict[str, Any] | None = None
    parent_job_name: str | None = None
    properties: dict[str, str] | None = None
    queue_settings: dict[str, Any] | None = None
    resources: Resources | None = None
    services: dict[str, Any] | None = None
    status: str | None = None
    tags: dict[str, str] | None = None


class Job:
    """A job and how far it is.

    Attributes:
        asked: What it was asked for.
        status: The service's word.
        error: Why it failed, or "".
        cancel: Set when somebody wants it to end.
    """

    def __init__(self, name: str, asked: CommandJob, *, by: str, at: datetime) -> None:
        self.name = name
        self.asked = asked
        self.by = by
        self.created = at
        self.started: datetime | None = None
        self.ended: datetime | None = None
        self.status = "NotStarted"
        self.error = ""
        self.cancel = threading.Event()
        self.over = threading.Event()
        self.process: subprocess.Popen[bytes] | None = None
        self.display_name = asked.display_name or name
        self.description = asked.description
        self.tags = dict(asked.tags or {})
        self.properties = dict(asked.properties or {})
        self.archived = False

    @property
    def timeout_s(self) -> float | None:
        """How long it may run, in seconds; None for no limit."""
        limits = self.asked.limits
        if limits is None or limits.timeout is None:
            return None
        return parse_duration(limits.timeout).total_seconds()

    def describe(self, asked: CommandJob) -> None:
        """Change what may be changed of a job that is there.

        Raises:
            MlError: ``UserError``: something else would change.
        """
        if (asked.command, asked.code_id, asked.environment_id) != (
            self.asked.command,
            self.asked.code_id,
            self.asked.environment_id,
        ):
            raise MlError(
                "UserError",
                f"A job with this name already exists. If you are trying to submit a new job, use "
                f"a different name. If you are trying to update an existing job, the following "
                f"fields can be modified: tags, displayName, description, isArchived, properties "
                f"(job '{self.name}').",
            )
        self.tags = dict(asked.tags or {})
        self.properties |= asked.properties or {}
        self.display_name = asked.display_name or self.display_name
        self.description = asked.description
        self.archived = bool(asked.is_archived)


def parse_job(body: Document) -> CommandJob:
    """Read a request for a job.

    Raises:
        MlError: It is not a command job, or is malformed.
    """
    properties = body.get("properties")
    if not isinstance(properties, dict):
        raise MlError("InvalidRequestContent", "The request content was invalid: properties.")
    kind = properties.get("jobType")
    if kind != "Command":
        raise MlError("UserError", f"the emulator runs command jobs, not '{kind}'")
    try:
        job = msgspec.convert(properties, CommandJob)
    except msgspec.ValidationError as exc:
        raise MlError("ValidationError", f"The request is invalid: {exc}") from exc
    if not job.command.strip():
        raise MlError("ValidationError", "The field 'command' is required.")
    if job.limits is not None and job.limits.timeout is not None:
        parse_duration(job.limits.timeout)
    return job


def parse_duration(text: str) -> timedelta:
    """Read an ISO 8601 duration of days, hours, minutes and seconds.

    Raises:
        MlError: ``ValidationError``.
    """
    match = _DURATION.fullmatch(text)
    if match is None or not any(match.groups()):
        raise MlError("ValidationError", f"'{text}' is not a duration")
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def document(job: Job, scope: Scope, url: str) -> Document:
    """Return a job as the management API shows it.

    Args:
        job: The job.
        scope: The workspace.
        url: The server's address, for the links in it.
    """
    asked: Document = msgspec.to_builtins(job.asked)
    history = f"azureml://{url.removeprefix('https://')}/mlflow/v1.0{scope.id}?"
    default = {
        "description": None,
        "jobOutputType": "uri_folder",
        "mode": "ReadWriteMount",
        "uri": f"azureml://datastores/{ARTIFACT_STORE}/{artifact_prefix(job.name).rstrip('/')}",
        "assetName": None,
        "assetVersion": None,
    }
    properties = {
        **asked,
        "displayName": job.display_name,
        "description": job.description,
        "experimentName": job.asked.experiment_name or "Default",
        "tags": job.tags,
        "properties": job.properties,
        "isArchived": job.archived,
        "status": job.status,
        "services": {
            "Tracking": _service("Tracking", history),
            "Studio": _service("Studio", f"{url}/runs/{job.name}?wsid={scope.id}"),
        },
        "inputs": asked.get("inputs") or {},
        "outputs": {"default": default, **(asked.get("outputs") or {})},
        "environmentVariables": asked.get("environmentVariables") or {},
    }
    return {
        "id": f"{scope.id}/jobs/{job.name}",
        "name": job.name,
        "type": f"{PROVIDER}/workspaces/jobs",
        "properties": properties,
        "systemData": {
            "createdAt": moment(job.created),
            "createdBy": job.by,
            "createdByType": "Application",
        },
    }


def run(job: Job) -> Document:
    """Return a job as the run history shows it."""
    return {
        "runId": job.name,
        "rootRunId": job.name,
        "experimentId": job.asked.experiment_name or "Default",
        "displayName": job.display_name,
        "description": job.description,
        "status": job.status,
        "createdUtc": moment(job.created),
        "startTimeUtc": moment(job.started),
        "endTimeUtc": moment(job.ended),
        "runType": "azureml.scriptrun",
        "target": (job.asked.compute_id or "serverless").rpartition("/")[2],
        "tags": job.tags,
        "properties": job.properties,
        "hidden": job.archived,
        "error": _error(job),
        "warnings": [],
        "inputs": {},
    }


def details(job: Job, logs: dict[str, str]) -> Document:
    """Return the details of a run: where its logs can be read, and why it failed.

    Args:
        job: The job.
        logs: Path of each log to an address with the right to read it.
    """
    return {
        "runId": job.name,
        "target": (job.asked.compute_id or "serverless").rpartition("/")[2],
        "status": job.status,
        "parentRunId": None,
        "createdTimeUtc": moment(job.created),
        "startTimeUtc": moment(job.started),
        "endTimeUtc": moment(job.ended),
        "error": _error(job),
        "warnings": [],
        "tags": job.tags,
        "properties": job.properties,
        "inputDatasets": [],
        "outputDatasets": [],
        "runDefinition": None,
        "logFiles": logs,
        "submittedBy": job.by,
    }


def _error(job: Job) -> Document | None:
    if not job.error:
        return None
    inner = {"code": "UserError", "message": job.error, "messageParameters": {}, "details": []}
    return {"error": inner, "time": moment(job.ended), "componentName": "CommonRuntime"}


def _service(kind: str, endpoint: str) -> Document:
    return {
        "jobServiceType": kind,
        "port": None,
        "endpoint": endpoint,
        "status": None,
        "errorMessage": None,
        "properties": None,
        "nodes": None,
    }
