"""The job store: expansion of targets to things, rollout, devices' reports, time-outs, abort.

A job on a group reaches the group's things one by one; a continuous one also reaches those that
join later, at once and whatever its rate (AWS IoT developer guide, "Job configurations").
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from edgectl_aws_greengrass.emulator.iot.records import (
    REPORTABLE,
    TERMINAL,
    Execution,
    Job,
    counts,
    must_abort,
)
from edgectl_aws_greengrass.emulator.ports import CloudError, JobExecution
from edgectl_aws_greengrass.emulator.wire import Params, ServiceError

MAX_DETAIL = 1024
TICK_S = 0.1


class JobStore:
    """The jobs of an account.

    Args:
        arn: Makes ARNs: (service, resource) → ARN.
        things_of: Target ARN (thing or group) → names of the things it has now.
        clock: Seconds of the epoch.
        minute_s: How long a minute of rollouts and time-outs is; shorter makes tests quick.
    """

    def __init__(
        self,
        arn: Callable[[str, str], str],
        things_of: Callable[[str], list[str]],
        *,
        clock: Callable[[], float] = time.time,
        minute_s: float = 60.0,
    ) -> None:
        self._arn = arn
        self._things_of = things_of
        self._clock = clock
        self.minute_s = minute_s
        self._lock = threading.RLock()
        self._jobs: dict[str, Job] = {}
        self._executions: dict[str, dict[str, Execution]] = {}
        self._by_thing: dict[str, dict[str, Execution]] = {}
        self._listeners: list[Callable[[str], None]] = []
        self._ended = threading.Event()
        self._ticker: threading.Thread | None = None

    def start(self) -> None:
        """Let time pass: rollouts and time-outs happen by themselves from now on."""
        self._ticker = threading.Thread(target=self._run, daemon=True)
        self._ticker.start()

    def stop(self) -> None:
        """End what ``start`` began."""
        self._ended.set()
        if self._ticker is not None:
            self._ticker.join()

    def _run(self) -> None:
        while not self._ended.wait(TICK_S):
            self.tick()

    def listen(self, callback: Callable[[str], None]) -> None:
        """Be called with a thing's name whenever its next execution may have changed."""
        self._listeners.append(callback)

    def _notify(self, things: Iterable[str]) -> None:
        for thing in dict.fromkeys(things):
            for callback in tuple(self._listeners):
                callback(thing)

    def create(
        self,
        job_id: str,
        *,
        targets: list[str],
        document: str,
        namespace: str | None,
        configuration: Params,
        continuous: bool = True,
        description: str = "",
    ) -> str:
        """Make a job; return its ARN.

        Raises:
            ServiceError: ``ResourceAlreadyExistsException``.
        """
        arn = self._arn("iot", f"job/{job_id}")
        timeout = configuration.get("timeoutConfig") or {}
        job = Job(
            id=job_id,
            arn=arn,
            targets=tuple(targets),
            document=document,
            namespace=namespace,
            continuous=continuous,
            created=self._clock(),
            description=description,
            rollout=configuration.get("jobExecutionsRolloutConfig") or {},
            abort=configuration.get("abortConfig") or {},
            timeout_minutes=timeout.get("inProgressTimeoutInMinutes"),
        )
        with self._lock:
            self._add(job)
            told = self._roll_out(job)
        self._notify(told)
        return arn

    def _add(self, job: Job) -> None:
        if job.id in self._jobs:
            raise ServiceError(
                "ResourceAlreadyExistsException",
                f"Job already exists: {job.id}",
                resourceId=job.id,
                resourceArn=job.arn,
            )
        members = dict.fromkeys(t for target in job.targets for t in self._things_of(target))
        job.waiting = list(members)
        self._jobs[job.id] = job
        self._executions[job.id] = {}

    def job(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            ServiceError: ``ResourceNotFoundException``.
        """
        with self._lock:
            found = self._jobs.get(job_id)
        if found is None:
            raise ServiceError("ResourceNotFoundException", f"Job {job_id} cannot be found.")
        return found

    def all(self) -> list[Job]:
        """Return every job, newest first."""
        with self._lock:
            return sorted(self._jobs.values(), key=lambda job: job.created, reverse=True)

    def status(self, job_id: str) -> str:
        """Return a job's status."""
        return self.job(job_id).status

    def executions(self, job_id: str) -> list[Execution]:
        """Return a job's executions by the name of the thing."""
        self.job(job_id)
        with self._lock:
            return [self._executions[job_id][thing] for thing in sorted(self._executions[job_id])]

    def of_thing(self, thing: str) -> list[Execution]:
        """Return a thing's executions, newest first."""
        with self._lock:
            return list(reversed(self._by_thing.get(thing, {}).values()))

    def execution(self, job_id: str, thing: str) -> Execution:
        """Return one execution.

        Raises:
            ServiceError: ``ResourceNotFoundException``.
        """
        self.job(job_id)
        with self._lock:
            found = self._executions[job_id].get(thing)
        if found is None:
            raise ServiceError(
                "ResourceNotFoundException",
                f"Job execution of {job_id} cannot be found for thing {thing}.",
            )
        return found

    def cancel(self, job_id: str, comment: str | None, *, force: bool = False) -> None:
        """Cancel a job: what is QUEUED is CANCELED, what is IN_PROGRESS only by force.

        Raises:
            ServiceError: ``InvalidRequestException`` for a job that is over.
        """
        job = self.job(job_id)
        with self._lock:
            if job.status not in {"IN_PROGRESS", "SCHEDULED"}:
                raise ServiceError("InvalidRequestException", f"Job {job_id} is {job.status}.")
            changed = self._cancel(job, comment, force=force)
        self._notify(changed)

    def _cancel(self, job: Job, comment: str | None, *, force: bool = False) -> list[str]:
        now = self._clock()
        job.status, job.comment, job.forced = "CANCELED", comment, force
        job.updated = job.completed = now
        job.waiting.clear()
        ended = {"QUEUED", "IN_PROGRESS"} if force else {"QUEUED"}
        changed = []
        for execution in self._executions[job.id].values():
            if execution.status in ended:
                execution.change("CANCELED", now)
                execution.force_canceled = force
                changed.append(execution.thing)
        return changed

    def cancel_execution(self, job_id: str, thing: str, *, force: bool) -> None:
        """Cancel one execution.

        Raises:
            ServiceError: ``InvalidStateTransitionException``.
        """
        execution = self.execution(job_id, thing)
        with self._lock:
            allowed = {"QUEUED", "IN_PROGRESS"} if force else {"QUEUED"}
            if execution.status not in allowed:
                raise ServiceError(
                    "InvalidStateTransitionException",
                    f"the execution of '{job_id}' by '{thing}' is {execution.status}",
                )
            execution.change("CANCELED", self._clock())
            execution.force_canceled = force
        self._notify((thing,))

    def delete(self, job_id: str, *, force: bool = True) -> None:
        """Delete a job and its executions; without force only one that is over.

        Raises:
            ServiceError: ``InvalidStateTransitionException``.
        """
        job = self.job(job_id)
        with self._lock:
            if not force and job.status not in {"CANCELED", "COMPLETED"}:
                raise ServiceError(
                    "InvalidStateTransitionException", f"Job {job_id} is {job.status}."
                )
            gone = self._executions.pop(job_id)
            del self._jobs[job_id]
            for thing in gone:
                del self._by_thing[thing][job_id]
        self._notify(gone)

    def members_changed(self) -> None:
        """Give continuous jobs to things that joined, and take them from those that left."""
        with self._lock:
            told = [
                thing
                for job in self._jobs.values()
                if job.continuous and job.status == "IN_PROGRESS"
                for thing in self._follow(job)
            ]
        self._notify(told)

    def _follow(self, job: Job) -> list[str]:
        now = dict.fromkeys(t for target in job.targets for t in self._things_of(target))
        known = self._executions[job.id]
        waiting = set(job.waiting)
        joined = [t for t in now if t not in known and t not in waiting]
        left = [t for t, e in known.items() if t not in now and e.status == "QUEUED"]
        job.waiting = [t for t in job.waiting if t in now]
        for thing in joined:
            self._queue(job, thing)
        for thing in left:
            known[thing].change("REMOVED", self._clock())
        again = [t for t in now if t in known and known[t].status == "REMOVED"]
        for thing in again:
            self._queue(job, thing)
        return [*joined, *left, *again]

    def next(self, thing: str, namespace: str | None) -> JobExecution | None:
        """Return the thing's next execution."""
        running, queued = self.pending(thing, namespace)
        return (*running, *queued, None)[0]

    def start_next(
        self, thing: str, namespace: str | None, details: dict[str, str]
    ) -> JobExecution | None:
        """Make the next execution IN_PROGRESS and return it."""
        found = self.next(thing, namespace)
        if found is None or found.status == "IN_PROGRESS":
            return found
        return self.update(thing, found.job_id, "IN_PROGRESS", details)

    def pending(
        self, thing: str, namespace: str | None
    ) -> tuple[tuple[JobExecution, ...], tuple[JobExecution, ...]]:
        """Return (in progress, queued), each oldest first."""
        with self._lock:
            mine = [
                (execution, self._jobs[execution.job_id])
                for execution in self._by_thing.get(thing, {}).values()
                if self._jobs[execution.job_id].namespace == namespace
            ]
            running, queued = (
                tuple(e.shown(job.document) for e, job in mine if e.status == status)
                for status in ("IN_PROGRESS", "QUEUED")
            )
        return running, queued

    def get(self, thing: str, job_id: str) -> JobExecution:
        """Return one execution for a device.

        Raises:
            CloudError: ``ResourceNotFound``.
        """
        with self._lock:
            return self._found(thing, job_id).shown(self._jobs[job_id].document)

    def _found(self, thing: str, job_id: str) -> Execution:
        found = self._executions.get(job_id, {}).get(thing)
        if found is None:
            raise CloudError("ResourceNotFound", f"'{thing}' has no execution of '{job_id}'", 404)
        return found

    def update(
        self,
        thing: str,
        job_id: str,
        status: str,
        details: dict[str, str] | None,
        expected_version: int | None = None,
    ) -> JobExecution:
        """Take a device's report.

        Raises:
            CloudError: ``ResourceNotFound``, ``InvalidRequest``, ``InvalidStateTransition`` or
                ``VersionMismatch``.
        """
        _check_report(status, details)
        with self._lock:
            execution = self._found(thing, job_id)
            if expected_version is not None and expected_version != execution.version:
                raise CloudError(
                    "VersionMismatch",
                    f"the execution has version {execution.version}, not {expected_version}",
                    409,
                )
            if execution.status in TERMINAL:
                raise CloudError(
                    "InvalidStateTransition",
                    f"an execution that is {execution.status} cannot become {status}",
                    409,
                )
            changed = self._take(self._jobs[job_id], execution, status, details)
            shown = execution.shown(self._jobs[job_id].document)
        self._notify(changed)
        return shown

    def _take(
        self, job: Job, execution: Execution, status: str, details: dict[str, str] | None
    ) -> list[str]:
        before = execution.status
        now = self._clock()
        execution.change(status, now, details)
        if before == "QUEUED" and status == "IN_PROGRESS" and job.timeout_minutes:
            execution.deadline = now + job.timeout_minutes * self.minute_s
        job.updated = now
        changed = [execution.thing] if before != status else []
        if status in TERMINAL:
            changed += self._after_end(job)
        return changed

    def _after_end(self, job: Job) -> list[str]:
        """Do what the end of an execution means for its job."""
        if job.status != "IN_PROGRESS":
            return []
        executions = self._executions[job.id].values()
        found = counts(executions)
        if must_abort(job.abort, found):
            job.reason_code = "ABORT_CRITERIA_MET"
            return self._cancel(job, "the abort criteria of the job were met")
        job.raise_rate(found["SUCCEEDED"])
        if not job.continuous and not job.waiting and all(e.status in TERMINAL for e in executions):
            job.status, job.completed = "COMPLETED", self._clock()
        return self._roll_out(job)

    def tick(self) -> None:
        """Let rollouts go on and executions time out, as the clock says."""
        changed: list[str] = []
        with self._lock:
            now = self._clock()
            for job in self._jobs.values():
                if job.waiting and job.status == "IN_PROGRESS":
                    changed += self._roll_out(job)
            for job_id, executions in self._executions.items():
                late = [e for e in executions.values() if e.deadline and e.deadline <= now]
                for execution in late:
                    execution.change("TIMED_OUT", now)
                    changed += [execution.thing, *self._after_end(self._jobs[job_id])]
        self._notify(changed)

    def _roll_out(self, job: Job) -> list[str]:
        told = job.release(self._clock(), self.minute_s)
        for thing in told:
            self._queue(job, thing)
        if told:
            job.raise_rate(counts(self._executions[job.id].values())["SUCCEEDED"])
        return told

    def _queue(self, job: Job, thing: str) -> None:
        now = self._clock()
        before = self._executions[job.id].get(thing)
        number = before.number + 1 if before else 1
        execution = Execution(job.id, thing, now, number, updated_at=now)
        self._executions[job.id][thing] = execution
        mine = self._by_thing.setdefault(thing, {})
        mine.pop(job.id, None)
        mine[job.id] = execution


def _check_report(status: str, details: dict[str, str] | None) -> None:
    if status not in REPORTABLE:
        raise CloudError("InvalidRequest", f"a device cannot report the status '{status}'")
    for name, value in (details or {}).items():
        if not 1 <= len(value) <= MAX_DETAIL or len(name) > 128:
            raise CloudError(
                "InvalidRequest", f"the status detail '{name}' is not 1 to {MAX_DETAIL} characters"
            )
