"""The job operations of the ``iot`` API, from the job store."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from edgectl_aws_greengrass.emulator.callers import Caller
from edgectl_aws_greengrass.emulator.front import Handler
from edgectl_aws_greengrass.emulator.greengrass.objects import ArtifactError, Objects
from edgectl_aws_greengrass.emulator.iot.jobs import JobStore
from edgectl_aws_greengrass.emulator.iot.records import Execution, Job, counts
from edgectl_aws_greengrass.emulator.iot.registry import Registry
from edgectl_aws_greengrass.emulator.paging import page
from edgectl_aws_greengrass.emulator.wire import Params, ServiceError

MAX_DOCUMENT = 32_768
INVALID = "InvalidRequestException"


class JobsApi:
    """The control plane of jobs.

    Args:
        store: Where jobs are.
        registry: Which targets there are.
        objects: Where ``documentSource`` is read from.
    """

    def __init__(self, store: JobStore, registry: Registry, objects: Objects) -> None:
        self._store = store
        self._registry = registry
        self._objects = objects

    def handlers(self) -> Mapping[tuple[str, str], Handler]:
        """Return the operations."""
        table: dict[str, Callable[[Params], Params]] = {
            "CancelJob": self._cancel,
            "CancelJobExecution": self._cancel_execution,
            "CreateJob": self._create,
            "DeleteJob": self._delete,
            "DescribeJob": self._describe,
            "DescribeJobExecution": self._describe_execution,
            "GetJobDocument": lambda p: {"document": self._store.job(p["jobId"]).document},
            "ListJobExecutionsForJob": self._list_for_job,
            "ListJobExecutionsForThing": self._list_for_thing,
            "ListJobs": self._list,
            "UpdateJob": self._update,
        }
        return {("iot", name): _without_caller(function) for name, function in table.items()}

    def _create(self, params: Params) -> Params:
        unbuilt = {
            "jobTemplateArn",
            "jobExecutionsRetryConfig",
            "schedulingConfig",
            "documentParameters",
            "destinationPackageVersions",
        } & {name for name, value in params.items() if value}
        if unbuilt:
            raise ServiceError("NotImplemented", f"the emulator has no {min(unbuilt)}", 501)
        for target in params["targets"]:
            self._check_target(target)
        arn = self._store.create(
            params["jobId"],
            targets=params["targets"],
            document=self._document(params),
            namespace=params.get("namespaceId"),
            configuration=params,
            continuous=params.get("targetSelection") == "CONTINUOUS",
            description=params.get("description") or "",
        )
        return _named(arn, params["jobId"], params.get("description") or "")

    def _check_target(self, target: str) -> None:
        thing = target.partition(":thing/")[2]
        known = self._registry.exists(thing) if thing else self._registry.group_exists(target)
        if not known:
            raise ServiceError("ResourceNotFoundException", f"the target '{target}' does not exist")

    def _document(self, params: Params) -> str:
        source, given = params.get("documentSource"), params.get("document")
        if (source is None) == (given is None):
            raise ServiceError(INVALID, "give exactly one of document and documentSource")
        text: str = given or ""
        if source is not None:
            try:
                text = self._objects.read(_s3_uri(source)).decode()
            except (ArtifactError, UnicodeDecodeError) as error:
                raise ServiceError(INVALID, f"cannot read '{source}': {error}") from error
        if len(text) > MAX_DOCUMENT:
            raise ServiceError(INVALID, f"the job document is longer than {MAX_DOCUMENT}")
        try:
            json.loads(text)
        except json.JSONDecodeError as error:
            raise ServiceError(INVALID, f"the job document is not JSON: {error}") from error
        return text

    def _cancel(self, params: Params) -> Params:
        job = self._store.job(params["jobId"])
        self._store.cancel(job.id, params.get("comment"), force=bool(params.get("force")))
        job.reason_code = params.get("reasonCode")
        return _named(job.arn, job.id, job.description)

    def _cancel_execution(self, params: Params) -> Params:
        execution = self._store.execution(params["jobId"], params["thingName"])
        expected = params.get("expectedVersion")
        if expected is not None and expected != execution.version:
            raise ServiceError(
                "VersionConflictException", f"the execution has version {execution.version}"
            )
        self._store.cancel_execution(
            params["jobId"], params["thingName"], force=bool(params.get("force"))
        )
        return {}

    def _delete(self, params: Params) -> Params:
        self._store.delete(params["jobId"], force=bool(params.get("force")))
        return {}

    def _update(self, params: Params) -> Params:
        job = self._store.job(params["jobId"])
        if job.status != "IN_PROGRESS":
            raise ServiceError(INVALID, f"the job '{job.id}' is {job.status}")
        for member, name in (
            ("description", "description"),
            ("jobExecutionsRolloutConfig", "rollout"),
            ("abortConfig", "abort"),
        ):
            if params.get(member) is not None:
                setattr(job, name, params[member])
        if params.get("timeoutConfig"):
            job.timeout_minutes = params["timeoutConfig"].get("inProgressTimeoutInMinutes")
        job.__post_init__()
        return {}

    def _describe(self, params: Params) -> Params:
        job = self._store.job(params["jobId"])
        return {"job": _job(job, self._store.executions(job.id))}

    def _list(self, params: Params) -> Params:
        found = self._store.all()
        group = params.get("thingGroupName")
        wanted = self._registry.group_arn(group) if group else None
        kept = [
            job
            for job in found
            if params.get("status") in {None, job.status}
            and params.get("targetSelection") in {None, _selection(job)}
            and params.get("namespaceId") in {None, job.namespace}
            and (wanted is None or wanted in job.targets)
        ]
        listed, more = page(kept, params, largest=250, error=INVALID)
        return {"jobs": [_summary(job) for job in listed], **more}

    def _describe_execution(self, params: Params) -> Params:
        execution = self._store.execution(params["jobId"], params["thingName"])
        return {
            "execution": {
                "jobId": execution.job_id,
                "forceCanceled": execution.force_canceled,
                "statusDetails": {"detailsMap": dict(execution.details)},
                "thingArn": self._registry.thing_arn(execution.thing),
                "versionNumber": execution.version,
                **_execution(execution),
            }
        }

    def _list_for_job(self, params: Params) -> Params:
        kept = [
            execution
            for execution in self._store.executions(params["jobId"])
            if params.get("status") in {None, execution.status}
        ]
        listed, more = page(kept, params, largest=250, error=INVALID)
        entries = [
            {
                "thingArn": self._registry.thing_arn(execution.thing),
                "jobExecutionSummary": _execution(execution),
            }
            for execution in listed
        ]
        return {"executionSummaries": entries, **more}

    def _list_for_thing(self, params: Params) -> Params:
        thing = params["thingName"]
        if not self._registry.exists(thing):
            raise ServiceError("ResourceNotFoundException", f"Thing {thing} cannot be found.")
        kept = [
            execution
            for execution in self._store.of_thing(thing)
            if params.get("status") in {None, execution.status}
            and params.get("jobId") in {None, execution.job_id}
            and params.get("namespaceId") in {None, self._store.job(execution.job_id).namespace}
        ]
        listed, more = page(kept, params, largest=250, error=INVALID)
        entries = [{"jobId": e.job_id, "jobExecutionSummary": _execution(e)} for e in listed]
        return {"executionSummaries": entries, **more}


def _without_caller(function: Callable[[Params], Params]) -> Handler:
    def handler(params: Params, caller: Caller) -> Params:
        del caller
        return function(params)

    return handler


def _s3_uri(source: str) -> str:
    """Turn the ``https`` address of an object into ``s3://bucket/key``."""
    path = source.partition("://")[2]
    host, _, rest = path.partition("/")
    return f"s3://{rest}" if host.startswith("s3") else f"s3://{host.partition('.s3')[0]}/{rest}"


def _named(arn: str, job_id: str, description: str) -> Params:
    answer = {"jobArn": arn, "jobId": job_id}
    return answer | {"description": description} if description else answer


def _selection(job: Job) -> str:
    return "CONTINUOUS" if job.continuous else "SNAPSHOT"


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _summary(job: Job) -> Params:
    found: Params = {
        "jobArn": job.arn,
        "jobId": job.id,
        "targetSelection": _selection(job),
        "status": job.status,
        "createdAt": _time(job.created),
        "lastUpdatedAt": _time(job.updated),
    }
    return found | {"completedAt": _time(job.completed)} if job.completed else found


def _job(job: Job, executions: list[Execution]) -> Params:
    found = _summary(job) | {"targets": list(job.targets), "forceCanceled": job.forced}
    optional = {
        "description": job.description,
        "comment": job.comment,
        "reasonCode": job.reason_code,
        "jobExecutionsRolloutConfig": job.rollout,
        "abortConfig": job.abort,
        "namespaceId": job.namespace,
    }
    found |= {name: value for name, value in optional.items() if value}
    if job.timeout_minutes:
        found["timeoutConfig"] = {"inProgressTimeoutInMinutes": job.timeout_minutes}
    tally = counts(executions)
    found["jobProcessDetails"] = {
        "processingTargets": list(job.targets) if job.status == "IN_PROGRESS" else [],
        "numberOfCanceledThings": tally["CANCELED"],
        "numberOfSucceededThings": tally["SUCCEEDED"],
        "numberOfFailedThings": tally["FAILED"],
        "numberOfRejectedThings": tally["REJECTED"],
        "numberOfQueuedThings": tally["QUEUED"],
        "numberOfInProgressThings": tally["IN_PROGRESS"],
        "numberOfRemovedThings": tally["REMOVED"],
        "numberOfTimedOutThings": tally["TIMED_OUT"],
    }
    return found


def _execution(execution: Execution) -> Params:
    found: Params = {
        "status": execution.status,
        "queuedAt": _time(execution.queued_at),
        "lastUpdatedAt": _time(execution.updated_at),
        "executionNumber": execution.number,
    }
    if execution.started_at is not None:
        found["startedAt"] = _time(execution.started_at)
    return found
