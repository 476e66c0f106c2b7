"""``register`` and ``approval``: the SageMaker model registry.

A group an application, a model package a version. The approval stands at SageMaker and nowhere
else, so it can be given in its console too.
"""

from __future__ import annotations

import gzip
import hashlib
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from edgectl.api import (
    ApprovalRequest,
    ApprovalResult,
    ConflictError,
    ModelError,
    ModelVersion,
    ProviderError,
    RegisterRequest,
    sha256_digest,
)
from edgectl_aws_greengrass._sdk import blobs
from edgectl_aws_greengrass._sdk.account import MAX_PAGES, Account
from edgectl_aws_greengrass.models import (
    Registered,
    archive_key,
    group_name,
    metrics_document,
    metrics_key,
    package_request,
    read_summary,
    status_of,
)

MANAGED = {"Key": "edgectl:managed", "Value": "true"}
_MISSING = "does not exist"


def register(account: Account, request: RegisterRequest) -> ModelVersion:
    """Register a version, or set its approval; the same again changes nothing.

    Raises:
        ConflictError: The version is there with another digest.
        ModelError: A file of the version cannot be read.
    """
    version = request.version
    known = find(account, version.name, version.version)
    if known is None:
        _make_group(account, group_name(account.config, version.name))
        _make_package(account, request)
        return replace(version, approval=request.approval or request.initial)
    if known.digest != version.digest:
        raise ConflictError(
            f"model '{version.name}' {version.version} is registered with another digest: "
            f"{known.digest}, not {version.digest}",
            hint="raise `version` in the project file; a registered version never changes",
        )
    approval = request.approval or known.approval
    if approval != known.approval:
        account.call(
            "sagemaker",
            "UpdateModelPackage",
            f"set the approval of '{version.name}' {version.version}",
            ModelPackageArn=known.arn,
            ModelApprovalStatus=status_of(approval),
            ApprovalDescription="set by edgectl",
        )
    return replace(version, approval=approval, stage=known.stage)


def approval(account: Account, request: ApprovalRequest) -> ApprovalResult:
    """Return what the registry holds of a version's approval."""
    known = find(account, request.name, request.version)
    return ApprovalResult(approval=None if known is None else known.approval)


def find(account: Account, application: str, version: str) -> Registered | None:
    """Return the model package of a version, or None."""
    for found in _listed(account, application):
        if found.version == version:
            return found
    return None


def _listed(account: Account, application: str) -> Iterator[Registered]:
    """Yield the application's model packages, newest first."""
    token: str | None = None
    for _ in range(MAX_PAGES):
        try:
            answer = account.call(
                "sagemaker",
                "ListModelPackages",
                f"list the versions of '{application}'",
                ModelPackageGroupName=group_name(account.config, application),
                SortBy="CreationTime",
                SortOrder="Descending",
                MaxResults=100,
                NextToken=token,
            )
        except ProviderError as exc:
            # SageMaker has one code for everything that it does not like.
            if exc.vendor_code == "ValidationException" and _MISSING in exc.message:
                return
            raise
        for summary in answer.get("ModelPackageSummaryList", ()):
            found = read_summary(summary)
            if found is not None:
                yield found
        token = answer.get("NextToken")
        if not token:
            return


def _make_group(account: Account, name: str) -> None:
    found = account.call(
        "sagemaker",
        "ListModelPackageGroups",
        f"look for the model package group '{name}'",
        NameContains=name,
        MaxResults=100,
    )
    groups = found.get("ModelPackageGroupSummaryList", ())
    if any(group["ModelPackageGroupName"] == name for group in groups):
        return
    account.call(
        "sagemaker",
        "CreateModelPackageGroup",
        f"make the model package group '{name}'",
        ModelPackageGroupName=name,
        ModelPackageGroupDescription="Models that edgectl brings to devices.",
        Tags=[MANAGED],
    )


def _make_package(account: Account, request: RegisterRequest) -> None:
    version, config = request.version, account.config
    with tempfile.TemporaryDirectory() as work:
        path = Path(work) / "model.tar.gz"
        digest = write_archive(path, request.files)
        content = blobs.Content(
            key=archive_key(config, version, digest),
            digest=digest,
            size=path.stat().st_size,
            path=path,
        )
        blobs.ensure(account, content)
    metrics = metrics_document(version)
    told = blobs.Content(
        key=metrics_key(config, version, sha256_digest(metrics)),
        digest=sha256_digest(metrics),
        size=len(metrics),
        data=metrics,
    )
    blobs.ensure(account, told)
    asked = package_request(
        config,
        request,
        archive=blobs.location(account, content.key),
        metrics=blobs.location(account, told.key),
    )
    what = f"register '{version.name}' {version.version}"
    account.call("sagemaker", "CreateModelPackage", what, **asked)


def write_archive(path: Path, files: dict[str, Path]) -> str:
    """Write the files as the ``.tar.gz`` that SageMaker wants; return its digest.

    The same files give the same bytes: no clock, no owner.

    Raises:
        ModelError: A file cannot be read.
    """
    try:
        with (
            path.open("wb") as raw,
            gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0, compresslevel=1) as zipped,
            tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for name, source in sorted(files.items()):
                member = tarfile.TarInfo(name)
                member.size = source.stat().st_size
                with source.open("rb") as content:
                    archive.addfile(member, content)
    except OSError as exc:
        raise ModelError(f"a file of the model cannot be read: {exc}") from exc
    with path.open("rb") as written:
        return "sha256:" + hashlib.file_digest(written, "sha256").hexdigest()
