"""A model version as SageMaker's registry keeps it: names, description and properties; pure.

A model package's description begins with the version and the digest of the ONNX file. It never
changes (UpdateModelPackage cannot), and listings have it: one call finds any version.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from edgectl.api import (
    Approval,
    LimitError,
    ModelVersion,
    Record,
    RegisterRequest,
    canonical_json,
)
from edgectl_aws_greengrass.config import AwsConfig

_STATUSES: dict[Approval, str] = {
    "approved": "Approved",
    "rejected": "Rejected",
    "pending": "PendingManualApproval",
}
_APPROVALS: dict[str, Approval] = {status: approval for approval, status in _STATUSES.items()}
_GROUP = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
_MARK = re.compile(r"edgectl (\S+) (sha256:[0-9a-f]{64})\b")
_NOT_KEY = re.compile(r"[^A-Za-z0-9_.:/=+@-]")
MAX_PROPERTIES = 50
MAX_KEY = 128
MAX_VALUE = 256


class Registered(Record, frozen=True, kw_only=True):
    """A model package of ours."""

    arn: str
    version: str
    digest: str
    approval: Approval
    stage: str = ""


def group_name(config: AwsConfig, application: str) -> str:
    """Return the model package group of an application.

    Raises:
        LimitError: SageMaker does not take the name.
    """
    name = config.model_package_group or application
    if not _GROUP.fullmatch(name):
        raise LimitError(
            f"'{name}' cannot be a model package group: SageMaker takes letters, digits and "
            "dashes, at most 63",
            hint="set providers.aws.model_package_group",
        )
    return name


def status_of(approval: Approval) -> str:
    """Return SageMaker's word for an approval."""
    return _STATUSES[approval]


def describe(version: ModelVersion) -> str:
    """Return the description that a version is found by."""
    return f"edgectl {version.version} {version.digest}"


def read_summary(summary: dict[str, Any]) -> Registered | None:
    """Read a ``ModelPackageSummary``; None for a package that is not ours."""
    match = _MARK.match(str(summary.get("ModelPackageDescription") or ""))
    if match is None:
        return None
    cycle = summary.get("ModelLifeCycle") or {}
    return Registered(
        arn=str(summary["ModelPackageArn"]),
        version=match[1],
        digest=match[2],
        approval=_APPROVALS.get(str(summary.get("ModelApprovalStatus")), "pending"),
        stage=str(cycle.get("Stage") or ""),
    )


def archive_key(config: AwsConfig, version: ModelVersion, digest: str) -> str:
    """Return where the archive of a version's files lies."""
    return f"{config.prefix}/models/{version.name}/{digest.removeprefix('sha256:')}/model.tar.gz"


def metrics_key(config: AwsConfig, version: ModelVersion, digest: str) -> str:
    """Return where the metrics of a version lie."""
    return f"{config.prefix}/models/{version.name}/{digest.removeprefix('sha256:')}/metrics.json"


def metrics_document(version: ModelVersion) -> bytes:
    """Return what SageMaker shows as the model's quality: metrics, and each variant's own."""
    return canonical_json(
        {
            "metrics": version.metrics,
            "variants": {
                variant.precision: {
                    "size_bytes": variant.size_bytes,
                    "accuracy": variant.accuracy,
                    "max_abs_error": variant.max_abs_error,
                }
                for variant in version.variants
            },
        }
    )


def properties(version: ModelVersion) -> dict[str, str]:
    """Return the version's searchable properties, the ONNX file's digest among them."""
    known = {
        "edgectl:version": version.version,
        "edgectl:onnx-digest": version.digest,
        "edgectl:golden-digest": version.golden_digest,
        "edgectl:precisions": " ".join(variant.precision for variant in version.variants),
        "edgectl:job": version.trained.job if version.trained else "",
        "edgectl:revision": version.trained.revision if version.trained else "",
    }
    for name, value in sorted(version.metrics.items()):
        known[f"metric:{_NOT_KEY.sub('_', name)}"[:MAX_KEY]] = f"{value:.6g}"
    kept = {key: value[:MAX_VALUE] for key, value in known.items() if value}
    return dict(list(kept.items())[:MAX_PROPERTIES])


def package_request(
    config: AwsConfig, request: RegisterRequest, *, archive: str, metrics: str
) -> dict[str, Any]:
    """Return the parameters of ``CreateModelPackage``.

    Args:
        config: Where, and the training image, which a container can be made of.
        request: What to register.
        archive: Address of the version's archive in S3.
        metrics: Address of its metrics in S3.
    """
    version = request.version
    container = {"ModelDataUrl": archive}
    if config.training.image:
        container["Image"] = config.training.image
    token = hashlib.sha256(f"{version.name} {describe(version)}".encode()).hexdigest()[:32]
    return {
        "ModelPackageGroupName": group_name(config, version.name),
        "ModelPackageDescription": describe(version),
        "InferenceSpecification": {
            "Containers": [container],
            "SupportedContentTypes": ["application/json"],
            "SupportedResponseMIMETypes": ["application/json"],
        },
        "ModelApprovalStatus": status_of(request.approval or request.initial),
        "ModelMetrics": {
            "ModelQuality": {"Statistics": {"ContentType": "application/json", "S3Uri": metrics}}
        },
        "CustomerMetadataProperties": properties(version),
        "SkipModelValidation": "All",
        "ClientToken": token,
    }
