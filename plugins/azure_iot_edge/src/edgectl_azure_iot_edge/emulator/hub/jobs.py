"""Scheduled jobs (``/jobs/v2``): twin updates and method calls on whatever a condition takes.

One thread does the jobs that are due, at the rate of jobs' device operations.

Source: learn.microsoft.com/azure/iot-hub/iot-hub-devguide-jobs and the quotas page: 1 job at a time
on F1 and S1, 5 on S2, 10 on S3. An unknown job is answered 200 with the type ``unknown``, a twin
update takes the ETag ``*`` only.
"""

from __future__ import annotations

import logging
import re
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from edgectl_azure_iot_edge.emulator.hub import clock
from edgectl_azure_iot_edge.emulator.hub.errors import HubError
from edgectl_azure_iot_edge.emulator.hub.index import Index
from edgectl_azure_iot_edge.emulator.hub.methods import Methods
from edgectl_azure_iot_edge.emulator.hub.query.evaluate import matches
from edgectl_azure_iot_edge.emulator.hub.query.lexer import QueryError
from edgectl_azure_iot_edge.emulator.hub.query.parser import parse_condition
from edgectl_azure_iot_edge.emulator.hub.rates import JOB_DEVICE, Rates
from edgectl_azure_iot_edge.emulator.hub.registry import Registry
from edgectl_azure_iot_edge.emulator.hub.settings import HubSettings

log = logging.getLogger(__name__)

Json = dict[str, Any]
UPDATE, METHOD = "scheduleUpdateTwin", "scheduleDeviceMethod"
OPEN = frozenset({"queued", "scheduled", "running"})
CONCURRENT = {"1": 1, "2": 5, "3": 10}
_ID = re.compile(r"[A-Za-z0-9\-:.+%_#*?!(),=@;$']{1,128}")
_DEFAULT_MAX_S = 3_600
_FROM_MODULES = re.compile(r"(?i)^\s*from\s+devices\.modules\s+where\s+")


@dataclass
class DeviceJob:
    """What a job did to one device or module."""

    device_id: str
    module_id: str | None
    status: str
    created: datetime
    updated: datetime
    outcome: Json | None = None
    error: Json | None = None


@dataclass
class Job:
    """A scheduled job."""

    id: str
    kind: str
    condition: str
    created: datetime
    start: datetime
    max_s: int
    update: Json | None = None
    method: Json | None = None
    status: str = "queued"
    end: datetime | None = None
    failure: str | None = None
    devices: list[DeviceJob] = field(default_factory=list)


def document(job: Job) -> Json:
    """Return a JobResponse of the API."""
    by_status = [d.status for d in job.devices]
    return {
        "jobId": job.id,
        "queryCondition": job.condition,
        "createdTime": clock.text(job.created),
        "startTime": clock.text(job.start),
        "endTime": clock.text(job.end) if job.end else None,
        "maxExecutionTimeInSeconds": job.max_s,
        "type": job.kind,
        "cloudToDeviceMethod": job.method,
        "updateTwin": job.update,
        "status": job.status,
        "failureReason": job.failure,
        "statusMessage": None,
        "deviceJobStatistics": {
            "deviceCount": len(by_status),
            "failedCount": by_status.count("failed"),
            "succeededCount": by_status.count("completed"),
            "runningCount": by_status.count("running"),
            "pendingCount": by_status.count("pending"),
        },
    }


def device_documents(jobs: list[Job]) -> list[Json]:
    """Return the rows of ``devices.jobs``."""
    found = []
    for job in jobs:
        for one in job.devices:
            row: Json = {
                "deviceId": one.device_id,
                "jobId": job.id,
                "jobType": job.kind,
                "status": one.status,
                "startTimeUtc": clock.text(job.start),
                "endTimeUtc": clock.text(one.updated),
                "createdDateTimeUtc": clock.text(one.created),
                "lastUpdatedDateTimeUtc": clock.text(one.updated),
            }
            if one.module_id is not None:
                row["moduleId"] = one.module_id
            if one.outcome is not None:
                row["outcome"] = one.outcome
            if one.error is not None:
                row["error"] = one.error
            found.append(row)
    return found


class Jobs:
    """All jobs, and the thread that does them.

    Args:
        registry: Whose twins are updated.
        index: What conditions are looked up in.
        methods: What methods are called with.
        rates: How fast.
        settings: How many at once.
        now: The account's time.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        index: Index,
        methods: Methods,
        rates: Rates,
        settings: HubSettings,
        now: Callable[[], datetime],
    ) -> None:
        self.all: dict[str, Job] = {}
        self._registry = registry
        self._index = index
        self._methods = methods
        self._rates = rates
        self._limit = CONCURRENT[settings.tier[1]]
        self._now = now
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def stop(self) -> None:
        """End the jobs that run."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def create(self, job_id: str, body: Json) -> Json:
        """Take a job, which begins at its start time; return it as it is before.

        Raises:
            HubError: What the request breaks, ``JobAlreadyExists``, or too many run already.
        """
        job = self._read(job_id, body)
        with self._lock:
            if job.id in self.all:
                raise HubError("JobAlreadyExists", f"A job with id '{job.id}' already exists.")
            active = sum(1 for other in self.all.values() if other.status in OPEN)
            if active >= self._limit:
                raise HubError(
                    "ThrottlingMaxActiveJobCountExceeded",
                    f"The hub has {active} active jobs, {self._limit} may be.",
                )
            self.all[job.id] = job
            taken = document(job)
        thread = threading.Thread(target=self._run, args=(job,), name=f"job-{job.id}", daemon=True)
        self._threads.append(thread)
        thread.start()
        return taken

    def get(self, job_id: str) -> Json:
        """Return a job, or the answer for one that is not known."""
        with self._lock:
            job = self.all.get(job_id)
            if job is None:
                return {"jobId": job_id, "type": "unknown", "status": "unknown"}
            return document(job)

    def cancel(self, job_id: str) -> Json:
        """Cancel a job that is not over.

        Raises:
            HubError: ``JobNotFound``.
        """
        with self._lock:
            job = self.all.get(job_id)
            if job is None:
                raise HubError("JobNotFound", f"Job '{job_id}' not found")
            if job.status in OPEN:
                job.status, job.end = "cancelled", self._now()
            return document(job)

    def listed(self, kind: str | None, status: str | None) -> list[Json]:
        """Return all jobs of a type and status."""
        with self._lock:
            return [
                document(job)
                for job in self.all.values()
                if kind in {None, "", job.kind} and status in {None, "", job.status}
            ]

    def rows(self) -> list[Json]:
        """Return the documents of ``devices.jobs``."""
        with self._lock:
            return device_documents(list(self.all.values()))

    def _read(self, job_id: str, body: Json) -> Job:
        if not _ID.fullmatch(job_id) or body.get("jobId", job_id) != job_id:
            raise HubError("ArgumentInvalid", f"The job id '{job_id}' is invalid.")
        kind = body.get("type")
        if kind not in {UPDATE, METHOD}:
            raise HubError("ArgumentInvalid", f"The job type '{kind}' is not known.")
        update, method = body.get("updateTwin"), body.get("cloudToDeviceMethod")
        if kind == UPDATE and (not isinstance(update, dict) or update.get("etag") != "*"):
            raise HubError(
                "ArgumentInvalid",
                "Missing or invalid etag for job type ScheduleUpdateTwin. ScheduleUpdateTwin job "
                "type is a force update, which only accepts '*' as the Etag.",
            )
        if kind == METHOD and not isinstance(method, dict):
            raise HubError("ArgumentInvalid", "cloudToDeviceMethod is required")
        condition = body.get("queryCondition") or ""
        _fits(condition, {})
        now = self._now()
        try:
            start = clock.parse(body["startTime"]) if body.get("startTime") else now
        except (ValueError, TypeError) as exc:
            raise HubError("IotHubFormatError", "startTime is no time") from exc
        return Job(
            id=job_id or uuid.uuid4().hex,
            kind=kind,
            condition=condition,
            created=now,
            start=start,
            max_s=int(body.get("maxExecutionTimeInSeconds") or _DEFAULT_MAX_S),
            update=update if kind == UPDATE else None,
            method=method if kind == METHOD else None,
            status="scheduled" if start > now else "queued",
        )

    def _run(self, job: Job) -> None:
        while not self._stopping.is_set() and self._is_open(job) and self._now() < job.start:
            self._stopping.wait(0.05)
        if self._stopping.is_set() or not self._is_open(job):
            return
        with self._lock:
            job.status = "running"
        try:
            self._do(job)
        except Exception:
            log.exception("the job '%s' fails", job.id)
            with self._lock:
                job.failure = "the emulator failed; its standard error says why"
        with self._lock:
            if job.status == "running":
                failed = job.failure or any(d.status == "failed" for d in job.devices)
                job.status, job.end = ("failed" if failed else "completed"), self._now()

    def _do(self, job: Job) -> None:
        until = self._now() + timedelta(seconds=job.max_s)
        of_modules = bool(_FROM_MODULES.match(job.condition))
        documents = self._index.documents("devices.modules" if of_modules else "devices")
        now = self._now()
        with self._lock:
            job.devices = [
                DeviceJob(d["deviceId"], d.get("moduleId"), "pending", now, now)
                for d in documents
                if _fits(job.condition, d)
            ]
        for one in job.devices:
            if not self._may_go_on(job, until):
                return
            error = None
            try:
                one.outcome = self._do_one(job, one)
                one.status = "completed"
            except HubError as exc:
                error = {"code": str(exc.number), "description": exc.message}
                one.status = "failed"
            one.error, one.updated = error, self._now()

    def _may_go_on(self, job: Job, until: datetime) -> bool:
        """Wait for the next device operation; say whether the job still goes on."""
        while (wait_s := self._rates.wait_s(JOB_DEVICE)) > 0.0:
            if self._stopping.wait(wait_s):
                return False
        if self._now() > until:
            with self._lock:
                job.failure = "the job exceeded its maximum execution time"
            return False
        return not self._stopping.is_set() and self._is_open(job)

    def _is_open(self, job: Job) -> bool:
        with self._lock:
            return job.status in OPEN

    def _do_one(self, job: Job, one: DeviceJob) -> Json:
        if job.method is not None:
            answer = self._methods.invoke(one.device_id, one.module_id, job.method)
            return {"deviceMethodResponse": answer}
        self._registry.patch_twin(one.device_id, one.module_id, job.update or {}, "*")
        return {}


def _fits(condition: str, document: Json) -> bool:
    """Say whether a job's condition takes a document; "" and * take all.

    Raises:
        HubError: It is malformed.
    """
    text = _FROM_MODULES.sub("", condition).strip()
    if text in {"", "*"}:
        return True
    try:
        return matches(parse_condition(text), document)
    except QueryError as exc:
        raise HubError("ArgumentInvalid", f"The query condition is malformed: {exc}") from exc
