"""Training jobs through the SageMaker SDK: begun, watched, stopped.

The SDK fills in what an organisation has set for all of its jobs (VPC, encryption keys, tags; its
``config.yaml``), which a bare API call would leave out. It takes seconds to import, so it is
imported where a job is begun.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from typing import Any

import boto3

from edgectl_aws_greengrass._sdk.account import Account

ENDED = {"Completed", "Failed", "Stopped", "Deleted"}


class _Session(boto3.Session):  # type: ignore[misc]  # boto3 has no types
    """A session whose clients go where the project says; the SDK makes its own clients."""

    def __init__(self, account: Account) -> None:
        super().__init__(region_name=account.region)
        self._endpoint = account.config.endpoint_url

    def client(self, *args: Any, **kwargs: Any) -> Any:
        """Make a client."""
        if self._endpoint is not None:
            kwargs.setdefault("endpoint_url", self._endpoint)
        return super().client(*args, **kwargs)


class Job:
    """A training job, as it was when it was last looked at."""

    def __init__(self, account: Account, resource: Any) -> None:
        self._account = account
        self._resource = resource

    @property
    def name(self) -> str:
        """Its name."""
        return str(self._resource.training_job_name)

    @property
    def status(self) -> str:
        """InProgress, Stopping, or how it ended."""
        return self._text("training_job_status")

    @property
    def step(self) -> str:
        """What it does now, or what ended it."""
        return self._text("secondary_status")

    @property
    def failure(self) -> str:
        """Why it failed, or ""."""
        return self._text("failure_reason")

    @property
    def artifacts(self) -> str:
        """Address of the archive that it left, or ""."""
        found = getattr(self._resource, "model_artifacts", None)
        return _plain(getattr(found, "s3_model_artifacts", None)) if found else ""

    def look(self) -> None:
        """Ask SageMaker again."""
        what = f"look at the training job '{self.name}'"
        self._account.translating("sagemaker", "DescribeTrainingJob", what, self._resource.refresh)

    def stop(self) -> None:
        """Ask SageMaker to stop it."""
        what = f"stop the training job '{self.name}'"
        self._account.translating("sagemaker", "StopTrainingJob", what, self._resource.stop)

    def _text(self, attribute: str) -> str:
        return _plain(getattr(self._resource, attribute, None))


def begin(account: Account, request: dict[str, Any]) -> Job:
    """Begin a job.

    Args:
        account: Where.
        request: In the SDK's words.
    """
    resources = _sdk()
    session = _Session(account)

    def create() -> Any:
        return resources.TrainingJob.create(session=session, region=account.region, **request)

    what = f"begin the training job '{request['training_job_name']}'"
    return Job(account, account.translating("sagemaker", "CreateTrainingJob", what, create))


def running(account: Account, prefix: str) -> Job | None:
    """Return the job that was begun with this name and still runs, if there is one."""
    found = account.call(
        "sagemaker",
        "ListTrainingJobs",
        "look for a running training job",
        NameContains=prefix,
        StatusEquals="InProgress",
        SortBy="CreationTime",
        SortOrder="Descending",
    )
    names = [job["TrainingJobName"] for job in found.get("TrainingJobSummaries", ())]
    name = next((name for name in names if name.startswith(prefix)), None)
    if name is None:
        return None
    resources = _sdk()
    session = _Session(account)

    def get() -> Any:
        return resources.TrainingJob.get(name, session=session, region=account.region)

    what = f"look at the training job '{name}'"
    return Job(account, account.translating("sagemaker", "DescribeTrainingJob", what, get))


def _sdk() -> Any:
    """Return the SDK's resources; importing them takes seconds, and warns of its own libraries."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        resources = importlib.import_module("sagemaker.core.resources")
    logging.getLogger("sagemaker").setLevel(logging.WARNING)
    return resources


def _plain(value: Any) -> str:
    """Return a text; the SDK has an object of its own for what is not there."""
    return value if isinstance(value, str) else ""
