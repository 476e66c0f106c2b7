"""Decides how the messages of the jobs service look.

Source: docs.aws.amazon.com/iot/latest/developerguide/jobs-mqtt-api.html. Numbers of seconds are
integers; a thing without a job gets no ``execution`` key at all, which AWS's nucleus lite wants.
"""

from __future__ import annotations

import json
from typing import Any

from edgectl_aws_greengrass.emulator.ports import CloudError, JobExecution

Document = dict[str, Any]


def execution(job: JobExecution, *, with_document: bool) -> Document:
    """Return a JobExecution object."""
    found: Document = {
        "jobId": job.job_id,
        "thingName": job.thing,
        "status": job.status,
        "queuedAt": job.queued_at,
        "lastUpdatedAt": job.updated_at,
        "versionNumber": job.version,
        "executionNumber": job.number,
    }
    if job.started_at is not None:
        found["startedAt"] = job.started_at
    if job.details:
        found["statusDetails"] = dict(job.details)
    if with_document:
        found["jobDocument"] = json.loads(job.document)
    return found


def summary(job: JobExecution) -> Document:
    """Return a JobExecutionSummary object."""
    found: Document = {
        "jobId": job.job_id,
        "queuedAt": job.queued_at,
        "lastUpdatedAt": job.updated_at,
        "versionNumber": job.version,
        "executionNumber": job.number,
    }
    if job.started_at is not None:
        found["startedAt"] = job.started_at
    return found


def state(job: JobExecution) -> Document:
    """Return a JobExecutionState object."""
    return {
        "status": job.status,
        "statusDetails": dict(job.details),
        "versionNumber": job.version,
    }


def notify(
    progressing: tuple[JobExecution, ...], queued: tuple[JobExecution, ...], now: int
) -> Document:
    """Return what ``jobs/notify`` brings; statuses with nothing in them are left out."""
    jobs: Document = {}
    if progressing:
        jobs["IN_PROGRESS"] = [summary(job) for job in progressing]
    if queued:
        jobs["QUEUED"] = [summary(job) for job in queued]
    return {"timestamp": now, "jobs": jobs}


def notify_next(job: JobExecution | None, now: int) -> Document:
    """Return what ``jobs/notify-next`` brings."""
    found: Document = {"timestamp": now}
    if job is not None:
        found["execution"] = execution(job, with_document=True)
    return found


def rejected(error: CloudError, token: str | None, now: int, job: JobExecution | None) -> Document:
    """Return an ErrorResponse of the jobs service."""
    found: Document = {"code": error.code, "message": error.message, "timestamp": now}
    if token is not None:
        found["clientToken"] = token
    if job is not None:
        found["executionState"] = state(job)
    return found


def shadow_rejected(error: CloudError, token: str | None, now: int) -> Document:
    """Return an error response of the shadow service, whose code is the HTTP status."""
    found: Document = {"code": error.status, "message": error.message, "timestamp": now}
    if token is not None:
        found["clientToken"] = token
    return found
