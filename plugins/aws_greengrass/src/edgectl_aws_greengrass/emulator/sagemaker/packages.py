"""Model package groups and their versions: numbered, approved or not, found again by ARN.

API reference, CreateModelPackage: the data of a version is a ``.tar.gz`` in S3 that is there; a
version's approval and metadata change, nothing else of it does. SageMaker says ValidationException
where others say that something is not found.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

from edgectl_aws_greengrass.emulator.callers import Caller
from edgectl_aws_greengrass.emulator.front import Handler
from edgectl_aws_greengrass.emulator.greengrass.objects import ArtifactError, Objects
from edgectl_aws_greengrass.emulator.paging import page
from edgectl_aws_greengrass.emulator.wire import Params, ServiceError

MAX_METADATA = 50
T = TypeVar("T")

_KEPT = (
    "InferenceSpecification",
    "ModelMetrics",
    "ModelPackageDescription",
    "MetadataProperties",
    "Domain",
    "Task",
    "SamplePayloadUrl",
    "ModelLifeCycle",
    "ModelCard",
    "SourceUri",
    "DriftCheckBaselines",
    "SkipModelValidation",
)


@dataclass
class Package:
    """A version of a group."""

    arn: str
    group: str
    version: int
    created: datetime
    given: Params
    approval: str
    by: str
    description: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    changed: datetime | None = None
    changed_by: str = ""


@dataclass
class Group:
    """A model package group."""

    arn: str
    name: str
    created: datetime
    by: str
    description: str = ""
    next_version: int = 1


class ModelRegistry:
    """The model packages of an account.

    Args:
        arn: Makes ARNs: (service, resource) → ARN.
        objects: Where model data is looked for.
        tags: ARN → tags, shared with SageMaker's other resources.
    """

    def __init__(
        self,
        arn: Callable[[str, str], str],
        objects: Objects,
        tags: dict[str, dict[str, str]],
    ) -> None:
        self._arn = arn
        self._objects = objects
        self._tags = tags
        self._lock = threading.RLock()
        self._groups: dict[str, Group] = {}
        self._packages: dict[str, Package] = {}
        self._tokens: dict[str, tuple[Params, Params]] = {}

    def handlers(self) -> Mapping[tuple[str, str], Handler]:
        """Return the operations."""
        return {
            ("sagemaker", "CreateModelPackage"): self._create,
            ("sagemaker", "CreateModelPackageGroup"): self._create_group,
            ("sagemaker", "DeleteModelPackage"): self._delete,
            ("sagemaker", "DeleteModelPackageGroup"): self._delete_group,
            ("sagemaker", "DescribeModelPackage"): self._describe,
            ("sagemaker", "DescribeModelPackageGroup"): self._describe_group,
            ("sagemaker", "ListModelPackageGroups"): self._list_groups,
            ("sagemaker", "ListModelPackages"): self._list,
            ("sagemaker", "UpdateModelPackage"): self._update,
        }

    def _create_group(self, params: Params, caller: Caller) -> Params:
        name = params["ModelPackageGroupName"]
        arn = self._arn("sagemaker", f"model-package-group/{name}")
        with self._lock:
            if name in self._groups:
                raise invalid(f"Model Package Group already exists: {arn}")
            self._groups[name] = Group(
                arn=arn,
                name=name,
                created=datetime.now(UTC),
                by=caller.arn,
                description=params.get("ModelPackageGroupDescription") or "",
            )
            self._tags[arn] = read_tags(params)
        return {"ModelPackageGroupArn": arn}

    def _group(self, named: str) -> Group:
        name = named.rpartition("/")[2]
        with self._lock:
            found = self._groups.get(name)
        if found is None:
            raise invalid(
                f"ModelPackageGroup {self._arn('sagemaker', f'model-package-group/{name}')} "
                "does not exist."
            )
        return found

    def _describe_group(self, params: Params, caller: Caller) -> Params:
        del caller
        return _group_entry(self._group(params["ModelPackageGroupName"])) | {"CreatedBy": {}}

    def _list_groups(self, params: Params, caller: Caller) -> Params:
        del caller
        part = params.get("NameContains") or ""
        found = sorted(
            (group for group in self._groups.values() if part in group.name),
            key=lambda group: group.created,
            reverse=params.get("SortOrder") == "Descending",
        )
        listed, more = sagemaker_page(found, params)
        return {"ModelPackageGroupSummaryList": [_group_entry(g) for g in listed], **more}

    def _delete_group(self, params: Params, caller: Caller) -> Params:
        del caller
        group = self._group(params["ModelPackageGroupName"])
        with self._lock:
            if any(package.group == group.name for package in self._packages.values()):
                raise ServiceError(
                    "ConflictException", f"the group '{group.name}' still has model packages"
                )
            del self._groups[group.name]
        return {}

    def _create(self, params: Params, caller: Caller) -> Params:
        name = params.get("ModelPackageGroupName")
        if not name:
            raise ServiceError(
                "NotImplemented", "the emulator has only packages that belong to a group", 501
            )
        self._check(params)
        group = self._group(name)
        with self._lock:
            token = params.get("ClientToken")
            if token in self._tokens and self._tokens[token][0] == params:
                return self._tokens[token][1]
            number, group.next_version = group.next_version, group.next_version + 1
            arn = self._arn("sagemaker", f"model-package/{group.name}/{number}")
            self._packages[arn] = Package(
                arn=arn,
                group=group.name,
                version=number,
                created=datetime.now(UTC),
                given={key: params[key] for key in _KEPT if params.get(key) is not None},
                approval=params.get("ModelApprovalStatus") or "PendingManualApproval",
                by=caller.arn,
                metadata=dict(params.get("CustomerMetadataProperties") or {}),
            )
            self._tags[arn] = read_tags(params)
            answer = {"ModelPackageArn": arn}
            if token:
                self._tokens[token] = (params, answer)
        return answer

    def _check(self, params: Params) -> None:
        containers = (params.get("InferenceSpecification") or {}).get("Containers") or []
        if not containers:
            raise invalid("InferenceSpecification with at least one container has to be given")
        for container in containers:
            url = container.get("ModelDataUrl")
            if not url:
                continue
            if not url.endswith(".tar.gz"):
                raise invalid(f"ModelDataUrl '{url}' has to end with .tar.gz")
            try:
                self._objects.stored(url)
            except ArtifactError:
                raise invalid(f"Could not find model data at {url}.") from None
        if len(params.get("CustomerMetadataProperties") or {}) > MAX_METADATA:
            raise invalid(f"CustomerMetadataProperties has more than {MAX_METADATA} entries")

    def _package(self, named: str) -> Package:
        arn = (
            named if named.startswith("arn:") else self._arn("sagemaker", f"model-package/{named}")
        )
        with self._lock:
            found = self._packages.get(arn)
        if found is None:
            raise invalid(f"ModelPackage {arn} does not exist.")
        return found

    def _describe(self, params: Params, caller: Caller) -> Params:
        del caller
        found = self._package(params["ModelPackageName"])
        answer: Params = {
            **_entry(found),
            **found.given,
            "ModelPackageStatusDetails": {
                "ValidationStatuses": [],
                "ImageScanStatuses": [],
            },
            "CertifyForMarketplace": False,
            "CreatedBy": {},
        }
        if found.metadata:
            answer["CustomerMetadataProperties"] = dict(found.metadata)
        if found.description:
            answer["ApprovalDescription"] = found.description
        if found.changed is not None:
            answer |= {"LastModifiedTime": found.changed, "LastModifiedBy": {}}
        return answer

    def _list(self, params: Params, caller: Caller) -> Params:
        del caller
        name = params.get("ModelPackageGroupName")
        group = self._group(name).name if name else None
        kept = [
            package
            for package in self._packages.values()
            if group in {None, package.group}
            and params.get("ModelApprovalStatus") in {None, package.approval}
            and (params.get("NameContains") or "") in package.group
            and _within(package.created, params)
        ]
        kept.sort(
            key=lambda package: (package.created, package.version),
            reverse=params.get("SortOrder") != "Ascending",
        )
        listed, more = sagemaker_page(kept, params)
        return {"ModelPackageSummaryList": [_entry(package) for package in listed], **more}

    def _update(self, params: Params, caller: Caller) -> Params:
        found = self._package(params["ModelPackageArn"])
        with self._lock:
            metadata = found.metadata | (params.get("CustomerMetadataProperties") or {})
            for key in params.get("CustomerMetadataPropertiesToRemove") or ():
                metadata.pop(key, None)
            if len(metadata) > MAX_METADATA:
                raise invalid(f"CustomerMetadataProperties has more than {MAX_METADATA} entries")
            found.metadata = metadata
            found.approval = params.get("ModelApprovalStatus") or found.approval
            found.description = params.get("ApprovalDescription") or found.description
            if params.get("ModelLifeCycle"):
                found.given["ModelLifeCycle"] = params["ModelLifeCycle"]
            found.changed, found.changed_by = datetime.now(UTC), caller.arn
        return {"ModelPackageArn": found.arn}

    def _delete(self, params: Params, caller: Caller) -> Params:
        del caller
        found = self._package(params["ModelPackageName"])
        with self._lock:
            del self._packages[found.arn]
            self._tags.pop(found.arn, None)
        return {}


def invalid(message: str) -> ServiceError:
    """Return the ValidationException that SageMaker answers nearly everything with."""
    return ServiceError("ValidationException", message, 400)


def read_tags(params: Params) -> dict[str, str]:
    """Return an operation's tags as a mapping."""
    return {tag["Key"]: tag["Value"] for tag in params.get("Tags") or ()}


def sagemaker_page(items: list[T], params: Params) -> tuple[list[T], Params]:
    """Cut a page; SageMaker spells its members with capitals."""
    small = {"maxResults": params.get("MaxResults"), "nextToken": params.get("NextToken")}
    listed, more = page(items, small, default=10)
    return listed, {"NextToken": more["nextToken"]} if more else {}


def _within(created: datetime, params: Params) -> bool:
    after, before = params.get("CreationTimeAfter"), params.get("CreationTimeBefore")
    naive = created.replace(tzinfo=None)
    return (after is None or naive > after) and (before is None or naive < before)


def _group_entry(group: Group) -> Params:
    entry: Params = {
        "ModelPackageGroupName": group.name,
        "ModelPackageGroupArn": group.arn,
        "CreationTime": group.created,
        "ModelPackageGroupStatus": "Completed",
    }
    if group.description:
        entry["ModelPackageGroupDescription"] = group.description
    return entry


def _entry(package: Package) -> Params:
    entry: Params = {
        "ModelPackageName": package.group,
        "ModelPackageGroupName": package.group,
        "ModelPackageVersion": package.version,
        "ModelPackageArn": package.arn,
        "CreationTime": package.created,
        "ModelPackageStatus": "Completed",
        "ModelApprovalStatus": package.approval,
    }
    if package.given.get("ModelPackageDescription"):
        entry["ModelPackageDescription"] = package.given["ModelPackageDescription"]
    return entry
