"""Names, ids and addresses of a workspace, as ARM and Azure Machine Learning write them. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from edgectl.api import Record
from edgectl_azure_iot_edge.emulator.ml.errors import MlError

PROVIDER = "Microsoft.MachineLearningServices"
BLOB_STORE = "workspaceblobstore"
ARTIFACT_STORE = "workspaceartifactstore"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,254}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,29}|[0-9a-f-]{36}|[0-9a-f]{32,64}")
_LONG = re.compile(
    r"azureml://subscriptions/[^/]+/resource[gG]roups/[^/]+/(?:providers/[^/]+/)?workspaces/[^/]+/"
    r"datastores/([^/]+)/paths/(.*)",
    re.DOTALL,
)
_SHORT = re.compile(r"azureml://datastores/([^/]+)/paths/(.*)", re.DOTALL)
_OF_JOB = re.compile(r"azureml://jobs/([^/]+)/outputs/artifacts/paths/(.*)", re.DOTALL)
_PRODUCED = re.compile(r"(?:ExperimentRun/dcid\.|azureml/)([^/]+)/")


class Scope(Record, frozen=True, kw_only=True):
    """Where a workspace is."""

    subscription: str
    resource_group: str
    workspace: str

    @property
    def id(self) -> str:
        """The workspace's ARM id."""
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.resource_group}"
            f"/providers/{PROVIDER}/workspaces/{self.workspace}"
        )


def check_name(name: str, what: str) -> str:
    """Return a name that Azure Machine Learning takes.

    Raises:
        MlError: ``ValidationError``.
    """
    if not _NAME.fullmatch(name):
        raise MlError(
            "ValidationError",
            f"The {what} name '{name}' is invalid: letters, digits, '_' and '-' are allowed, at "
            "most 255, the first a letter or digit.",
        )
    return name


def check_version(version: str) -> str:
    """Return a version that Azure Machine Learning takes.

    Raises:
        MlError: ``ValidationError``.
    """
    if not _VERSION.fullmatch(version):
        raise MlError(
            "ValidationError",
            f"The asset version '{version}' is invalid: letters, digits, '.', '_' and '-' are "
            "allowed, at most 30.",
        )
    return version


def datastore_path(uri: str) -> tuple[str, str] | None:
    """Return datastore and path that an ``azureml://`` address means, None for another address."""
    if found := _LONG.fullmatch(uri) or _SHORT.fullmatch(uri):
        return found[1], found[2]
    if found := _OF_JOB.fullmatch(uri):
        return ARTIFACT_STORE, f"{artifact_prefix(found[1])}{found[2]}"
    return None


def artifact_prefix(job: str) -> str:
    """Return where a job's logs and outputs lie in the artifact store."""
    return f"ExperimentRun/dcid.{job}/"


def output_prefix(job: str, name: str) -> str:
    """Return where a job's named output lies in the default datastore."""
    return f"azureml/{job}/{name}/"


def producer(path: str) -> str:
    """Return the job that made what lies at a datastore's path, or ""."""
    found = _PRODUCED.match(path)
    return found[1] if found else ""


def moment(at: datetime | None) -> str | None:
    """Return a time as the service writes it."""
    if at is None:
        return None
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
