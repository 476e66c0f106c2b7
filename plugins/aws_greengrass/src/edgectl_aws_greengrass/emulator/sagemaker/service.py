"""The training operations of the ``sagemaker`` API, and the tags of what is ours."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from edgectl_aws_greengrass.emulator.callers import Caller, Callers
from edgectl_aws_greengrass.emulator.front import Handler
from edgectl_aws_greengrass.emulator.greengrass.objects import ArtifactError, Objects
from edgectl_aws_greengrass.emulator.sagemaker.packages import invalid, read_tags, sagemaker_page
from edgectl_aws_greengrass.emulator.sagemaker.training import Trainer, TrainingJob, keys_below
from edgectl_aws_greengrass.emulator.wire import Params, ServiceError

SERVICE = "sagemaker.amazonaws.com"
NOT_FOUND = "Requested resource not found."

_SHOWN = (
    "AlgorithmSpecification",
    "CheckpointConfig",
    "EnableInterContainerTrafficEncryption",
    "EnableManagedSpotTraining",
    "EnableNetworkIsolation",
    "Environment",
    "HyperParameters",
    "InputDataConfig",
    "OutputDataConfig",
    "ResourceConfig",
    "RoleArn",
    "StoppingCondition",
    "VpcConfig",
)


class TrainingApi:
    """The operations.

    Args:
        arn: Makes ARNs: (service, resource) → ARN.
        trainer: Runs jobs.
        callers: Which roles trust SageMaker.
        objects: Which data there is.
        tags: ARN → tags.
    """

    def __init__(
        self,
        arn: Callable[[str, str], str],
        *,
        trainer: Trainer,
        callers: Callers,
        objects: Objects,
        tags: dict[str, dict[str, str]],
    ) -> None:
        self._arn = arn
        self._trainer = trainer
        self._callers = callers
        self._objects = objects
        self._tags = tags
        self._lock = threading.RLock()
        self._jobs: dict[str, TrainingJob] = {}

    def handlers(self) -> Mapping[tuple[str, str], Handler]:
        """Return the operations."""
        return {
            ("sagemaker", "AddTags"): self._add_tags,
            ("sagemaker", "CreateTrainingJob"): self._create,
            ("sagemaker", "DeleteTags"): self._delete_tags,
            ("sagemaker", "DescribeTrainingJob"): self._describe,
            ("sagemaker", "ListTags"): self._list_tags,
            ("sagemaker", "ListTrainingJobs"): self._list,
            ("sagemaker", "StopTrainingJob"): self._stop,
        }

    def _create(self, params: Params, caller: Caller) -> Params:
        del caller
        name = params["TrainingJobName"]
        self._check(params)
        arn = self._arn("sagemaker", f"training-job/{name}")
        with self._lock:
            if name in self._jobs:
                raise ServiceError(
                    "ResourceInUse",
                    "Training job names must be unique within an AWS account and region, and a "
                    f"training job with this name already exists ({arn})",
                )
            job = TrainingJob(arn=arn, request=params, created=datetime.now(UTC))
            self._jobs[name] = job
            self._tags[arn] = read_tags(params)
        self._trainer.start(job)
        return {"TrainingJobArn": arn}

    def _check(self, params: Params) -> None:
        for name in ("AlgorithmSpecification", "ResourceConfig", "StoppingCondition"):
            if not params.get(name):
                raise invalid(f"{name} has to be given")
        role = params["RoleArn"]
        if not self._callers.role_trusts(role, SERVICE):
            raise invalid(
                f"Could not assume role {role}. Please ensure that the role exists and allows "
                f"principal '{SERVICE}' to assume the role."
            )
        algorithm = params["AlgorithmSpecification"]
        if bool(algorithm.get("TrainingImage")) == bool(algorithm.get("AlgorithmName")):
            raise invalid("give exactly one of TrainingImage and AlgorithmName")
        resources = params["ResourceConfig"]
        if resources.get("InstanceCount", 1) != 1 or resources.get("InstanceGroups"):
            raise ServiceError("NotImplemented", "the emulator trains on one instance only", 501)
        _check_waiting(params)
        self._check_data(params)

    def _check_data(self, params: Params) -> None:
        for channel in params.get("InputDataConfig") or ():
            source = channel["DataSource"].get("S3DataSource")
            if not source or source["S3DataType"] != "S3Prefix":
                raise ServiceError("NotImplemented", "the emulator has S3Prefix inputs only", 501)
            uri = source["S3Uri"]
            try:
                found = keys_below(self._objects, uri)
            except ArtifactError:
                found = []
            if not found:
                raise invalid(
                    f'No S3 objects found under S3 URL "{uri}" given in input data source. Please '
                    "ensure that the bucket exists in the selected region, that objects exist "
                    f'under that S3 prefix, and that the role "{params["RoleArn"]}" has '
                    '"s3:ListBucket" permissions on the bucket.'
                )

    def _job(self, name: str) -> TrainingJob:
        with self._lock:
            found = self._jobs.get(name)
        if found is None:
            raise invalid(NOT_FOUND)
        return found

    def _describe(self, params: Params, caller: Caller) -> Params:
        del caller
        return _description(self._job(params["TrainingJobName"]))

    def _list(self, params: Params, caller: Caller) -> Params:
        del caller
        with self._lock:
            jobs = list(self._jobs.values())
        kept = [
            job
            for job in jobs
            if params.get("StatusEquals") in {None, job.status}
            and (params.get("NameContains") or "").lower() in job.name.lower()
        ]
        by_name = params.get("SortBy") == "Name"
        kept.sort(
            key=lambda job: job.name if by_name else job.created.isoformat(),
            reverse=params.get("SortOrder") != "Ascending",
        )
        listed, more = sagemaker_page(kept, params)
        return {"TrainingJobSummaries": [_summary(job) for job in listed], **more}

    def _stop(self, params: Params, caller: Caller) -> Params:
        del caller
        job = self._job(params["TrainingJobName"])
        with self._lock:
            if job.status not in {"InProgress", "Stopping"}:
                raise invalid(
                    f"The request was rejected because the training job is in status {job.status}."
                )
            if job.status == "InProgress":
                job.enter("Stopping", "Stopping")
                job.stop.set()
        return {}

    def _tagged(self, arn: str) -> dict[str, str]:
        if arn not in self._tags:
            raise invalid(f"the resource '{arn}' does not exist, or the emulator has no tags of it")
        return self._tags[arn]

    def _add_tags(self, params: Params, caller: Caller) -> Params:
        del caller
        tags = self._tagged(params["ResourceArn"])
        tags.update(read_tags(params))
        return {"Tags": _as_list(tags)}

    def _delete_tags(self, params: Params, caller: Caller) -> Params:
        del caller
        tags = self._tagged(params["ResourceArn"])
        for key in params["TagKeys"]:
            tags.pop(key, None)
        return {}

    def _list_tags(self, params: Params, caller: Caller) -> Params:
        del caller
        return {"Tags": _as_list(self._tagged(params["ResourceArn"]))}


def _check_waiting(params: Params) -> None:
    stopping = params["StoppingCondition"]
    wait, run = stopping.get("MaxWaitTimeInSeconds"), stopping.get("MaxRuntimeInSeconds") or 86_400
    if params.get("EnableManagedSpotTraining"):
        if wait is None or wait < run:
            raise invalid(
                "Invalid MaxWaitTimeInSeconds. It must be present and be greater than or equal to "
                "MaxRuntimeInSeconds"
            )
    elif wait is not None:
        raise invalid("MaxWaitTimeInSeconds is for managed spot training only")


def _as_list(tags: Mapping[str, str]) -> list[Params]:
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]


def _summary(job: TrainingJob) -> Params:
    found: Params = {
        "TrainingJobName": job.name,
        "TrainingJobArn": job.arn,
        "CreationTime": job.created,
        "TrainingJobStatus": job.status,
        "LastModifiedTime": job.changed or job.created,
    }
    return found | {"TrainingEndTime": job.ended} if job.ended else found


def _description(job: TrainingJob) -> Params:
    found = _summary(job) | {
        "SecondaryStatus": job.secondary,
        "ModelArtifacts": {"S3ModelArtifacts": job.artifacts},
        "SecondaryStatusTransitions": job.shown_transitions(),
    }
    found |= {name: job.request[name] for name in _SHOWN if job.request.get(name) is not None}
    if job.failure:
        found["FailureReason"] = job.failure
    if job.started:
        found["TrainingStartTime"] = job.started
        until = job.ended or datetime.now(UTC)
        seconds = max(int((until - job.started).total_seconds()), 1)
        found["TrainingTimeInSeconds"] = seconds
        if job.ended:
            found["BillableTimeInSeconds"] = seconds
    return found
