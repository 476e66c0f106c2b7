"""Model packages: numbered, approved, described, listed and deleted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

Clients = Callable[..., Any]
URL = "s3://model-data/m.tar.gz"


@pytest.fixture
def registry(clients: Clients) -> Any:
    s3 = clients("s3")
    s3.create_bucket(Bucket="model-data")
    s3.put_object(Bucket="model-data", Key="m.tar.gz", Body=b"x")
    return clients("sagemaker")


def create(registry: Any, group: str, url: str = URL, **more: Any) -> str:
    specification = {
        "Containers": [{"Image": "image", "ModelDataUrl": url}],
        "SupportedContentTypes": ["application/octet-stream"],
        "SupportedResponseMIMETypes": ["application/json"],
    }
    answer = registry.create_model_package(
        ModelPackageGroupName=group, InferenceSpecification=specification, **more
    )
    return str(answer["ModelPackageArn"])


def test_versions_count_up_and_keep_what_they_were_given(registry: Any) -> None:
    registry.create_model_package_group(ModelPackageGroupName="counted")
    metrics = {
        "ModelQuality": {
            "Statistics": {"ContentType": "application/json", "S3Uri": "s3://model-data/x"}
        }
    }
    first = create(
        registry,
        "counted",
        CustomerMetadataProperties={"onnx": "sha256:1"},
        ModelMetrics=metrics,
        ModelApprovalStatus="PendingManualApproval",
    )
    second = create(registry, "counted")
    assert (first.rpartition("/")[2], second.rpartition("/")[2]) == ("1", "2")
    found = registry.describe_model_package(ModelPackageName=first)
    assert found["CustomerMetadataProperties"] == {"onnx": "sha256:1"}
    assert found["ModelMetrics"] == metrics
    assert (found["ModelPackageVersion"], found["ModelPackageStatus"]) == (1, "Completed")
    registry.delete_model_package(ModelPackageName=second)
    assert create(registry, "counted").endswith("/3")


def test_approval_and_metadata_change(registry: Any) -> None:
    registry.create_model_package_group(ModelPackageGroupName="approval")
    arn = create(registry, "approval", CustomerMetadataProperties={"a": "1", "b": "2"})
    registry.update_model_package(
        ModelPackageArn=arn,
        ModelApprovalStatus="Approved",
        ApprovalDescription="looked at it",
        CustomerMetadataProperties={"c": "3"},
        CustomerMetadataPropertiesToRemove=["a"],
    )
    found = registry.describe_model_package(ModelPackageName=arn)
    assert (found["ModelApprovalStatus"], found["ApprovalDescription"]) == (
        "Approved",
        "looked at it",
    )
    assert found["CustomerMetadataProperties"] == {"b": "2", "c": "3"}


def test_packages_are_listed_by_group_and_approval_newest_first(registry: Any) -> None:
    registry.create_model_package_group(ModelPackageGroupName="listing")
    arns = [create(registry, "listing") for _ in range(3)]
    registry.update_model_package(ModelPackageArn=arns[1], ModelApprovalStatus="Rejected")
    pages = registry.get_paginator("list_model_packages").paginate(
        ModelPackageGroupName="listing", PaginationConfig={"PageSize": 2}
    )
    found = [p["ModelPackageArn"] for page in pages for p in page["ModelPackageSummaryList"]]
    assert found == arns[::-1]
    rejected = registry.list_model_packages(
        ModelPackageGroupName="listing", ModelApprovalStatus="Rejected"
    )["ModelPackageSummaryList"]
    assert [p["ModelPackageArn"] for p in rejected] == [arns[1]]


def test_the_same_token_makes_one_version(registry: Any) -> None:
    registry.create_model_package_group(ModelPackageGroupName="token")
    first = create(registry, "token", ClientToken="token-1")
    assert create(registry, "token", ClientToken="token-1") == first


def test_a_group_is_made_once_and_deleted_when_it_is_empty(registry: Any) -> None:
    registry.create_model_package_group(ModelPackageGroupName="once")
    with pytest.raises(ClientError, match="already exists"):
        registry.create_model_package_group(ModelPackageGroupName="once")
    arn = create(registry, "once")
    with pytest.raises(ClientError, match="ConflictException"):
        registry.delete_model_package_group(ModelPackageGroupName="once")
    registry.delete_model_package(ModelPackageName=arn)
    registry.delete_model_package_group(ModelPackageGroupName="once")
    with pytest.raises(ClientError, match="does not exist"):
        registry.describe_model_package_group(ModelPackageGroupName="once")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://model-data/m.onnx", "has to end with .tar.gz"),
        ("s3://model-data/absent.tar.gz", "Could not find model data"),
    ],
)
def test_model_data_has_to_be_an_archive_that_is_there(registry: Any, url: str, said: str) -> None:
    registry.create_model_package_group(ModelPackageGroupName=f"data-{len(said)}")
    with pytest.raises(ClientError) as caught:
        create(registry, f"data-{len(said)}", url)
    assert said in caught.value.response["Error"]["Message"]


def test_what_does_not_exist_is_a_validation_error(registry: Any) -> None:
    with pytest.raises(ClientError, match="does not exist"):
        create(registry, "no-group")
    missing = "arn:aws:sagemaker:us-east-1:123456789012:model-package/g/9"
    for call in (registry.describe_model_package, registry.delete_model_package):
        with pytest.raises(ClientError) as caught:
            call(ModelPackageName=missing)
        assert caught.value.response["Error"]["Code"] == "ValidationException"
