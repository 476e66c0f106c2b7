"""The SageMaker model registry, behind `register` and `approval`."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgectl.api import (
    ApprovalRequest,
    ConflictError,
    LimitError,
    ModelVersion,
    Provider,
    RegisterRequest,
    TrainedModel,
)

DIGEST = "sha256:" + "a" * 64


@pytest.fixture
def version(unique: str, tmp_path: Path) -> RegisterRequest:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"onnx")
    return RegisterRequest(
        version=ModelVersion(
            name=f"plates-{unique}",
            version="1.2.0",
            digest=DIGEST,
            inputs=(),
            outputs=(),
            opset={"": 17},
            ir_version=8,
            metrics={"accuracy": 0.97, "f1 (macro)": 0.5},
            trained=TrainedModel(model=model, job="edgectl-job-1"),
        ),
        files={"fp32/model.onnx": model},
    )


def packages(site: Any, name: str) -> list[dict[str, Any]]:
    client = site.client("sagemaker")
    listed = client.list_model_packages(ModelPackageGroupName=name)["ModelPackageSummaryList"]
    return [client.describe_model_package(ModelPackageName=p["ModelPackageArn"]) for p in listed]


def asked(request: RegisterRequest) -> ApprovalRequest:
    return ApprovalRequest(name=request.version.name, version=request.version.version)


def test_a_version_is_a_model_package_with_metrics_and_digest(
    aws: Provider, site: Any, version: RegisterRequest
) -> None:
    assert aws.register(version).approval == "pending"
    (found,) = packages(site, version.version.name)
    assert found["ModelApprovalStatus"] == "PendingManualApproval"
    properties = found["CustomerMetadataProperties"]
    assert properties["edgectl:onnx-digest"] == DIGEST
    assert properties["edgectl:job"] == "edgectl-job-1"
    assert properties["metric:accuracy"] == "0.97"
    assert properties["metric:f1__macro_"] == "0.5"
    place = found["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"]
    bucket, _, key = place.removeprefix("s3://").partition("/")
    metrics = json.loads(site.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())
    assert metrics["metrics"]["accuracy"] == 0.97


def test_the_archive_of_a_version_holds_its_files(
    aws: Provider, site: Any, version: RegisterRequest
) -> None:
    aws.register(version)
    (found,) = packages(site, version.version.name)
    url = found["InferenceSpecification"]["Containers"][0]["ModelDataUrl"]
    assert url.endswith(".tar.gz")
    bucket, _, key = url.removeprefix("s3://").partition("/")
    data = site.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getnames() == ["fp32/model.onnx"]


def test_registering_again_makes_no_second_package(
    aws: Provider, site: Any, version: RegisterRequest
) -> None:
    assert aws.register(version) == aws.register(version)
    assert len(packages(site, version.version.name)) == 1


def test_other_content_under_a_known_version_is_refused(
    aws: Provider, version: RegisterRequest
) -> None:
    aws.register(version)
    other = msgspec.structs.replace(version.version, digest="sha256:" + "b" * 64)
    with pytest.raises(ConflictError, match="another digest"):
        aws.register(msgspec.structs.replace(version, version=other))


def test_two_versions_are_two_packages_of_one_group(
    aws: Provider, site: Any, version: RegisterRequest
) -> None:
    aws.register(version)
    newer = msgspec.structs.replace(version.version, version="1.2.1", digest="sha256:" + "c" * 64)
    aws.register(msgspec.structs.replace(version, version=newer, initial="approved"))
    assert len(packages(site, version.version.name)) == 2
    assert aws.approval(asked(version)).approval == "pending"
    newer_name = ApprovalRequest(name=newer.name, version="1.2.1")
    assert aws.approval(newer_name).approval == "approved"


def test_an_approval_is_sagemakers_own(aws: Provider, site: Any, version: RegisterRequest) -> None:
    aws.register(version)
    aws.register(msgspec.structs.replace(version, approval="approved"))
    assert aws.approval(asked(version)).approval == "approved"
    (found,) = packages(site, version.version.name)
    assert found["ModelApprovalStatus"] == "Approved"
    # Somebody decides otherwise in the console.
    site.client("sagemaker").update_model_package(
        ModelPackageArn=found["ModelPackageArn"], ModelApprovalStatus="Rejected"
    )
    assert aws.approval(asked(version)).approval == "rejected"


def test_a_version_that_nobody_registered_has_no_approval(aws: Provider, unique: str) -> None:
    assert aws.approval(ApprovalRequest(name=f"none-{unique}", version="1")).approval is None


def test_a_stranger_s_package_in_the_group_is_left_alone(
    aws: Provider, site: Any, version: RegisterRequest
) -> None:
    aws.register(version)
    (ours,) = packages(site, version.version.name)
    containers = ours["InferenceSpecification"]["Containers"]
    site.client("sagemaker").create_model_package(
        ModelPackageGroupName=version.version.name,
        ModelPackageDescription="edgectl by hand",
        InferenceSpecification={
            "Containers": [{"ModelDataUrl": containers[0]["ModelDataUrl"]}],
            "SupportedContentTypes": ["a/b"],
            "SupportedResponseMIMETypes": ["a/b"],
        },
    )
    assert aws.register(version).digest == DIGEST
    assert aws.approval(asked(version)).approval == "pending"


def test_a_name_that_is_no_group_is_refused_with_the_setting(
    open_aws: Any, version: RegisterRequest, unique: str
) -> None:
    named = msgspec.structs.replace(version.version, name="parking_plates")
    request = msgspec.structs.replace(version, version=named)
    with pytest.raises(LimitError) as caught:
        open_aws().register(request)
    assert "model_package_group" in caught.value.hint
    aws = open_aws(model_package_group=f"plates-{unique}")
    assert aws.register(request).digest == DIGEST
