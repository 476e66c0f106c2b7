"""Component versions: made once, ready after a while, resolved for devices."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from botocore.exceptions import ClientError

from edgectl_aws_greengrass.emulator.ports import Candidate, CloudError, Platform

Clients = Callable[..., Any]
LINUX = Platform(attributes={"os": "linux", "architecture": "amd64", "runtime": "aws_nucleus_lite"})


def create(greengrass: Any, recipe: dict[str, Any], **more: Any) -> Any:
    blob = json.dumps(recipe).encode()
    return greengrass.api.create_component_version(inlineRecipe=blob, **more)


def with_artifact(greengrass: Any, uri: str) -> dict[str, Any]:
    recipe: dict[str, Any] = greengrass.recipe()
    recipe["Manifests"][0]["Artifacts"] = [{"Uri": uri}]
    return recipe


def test_a_version_is_requested_first_and_deployable_later(
    greengrass: Any, until: Callable[..., Any]
) -> None:
    made = create(greengrass, greengrass.recipe(), tags={"team": "a"})
    assert made["status"]["componentState"] == "REQUESTED"
    with pytest.raises(ClientError, match="ResourceNotFound"):
        greengrass.api.get_component(arn=made["arn"])
    until(lambda: greengrass.state(made["arn"]) == "DEPLOYABLE")
    found = greengrass.api.describe_component(arn=made["arn"])
    assert found["tags"] == {"team": "a"}
    assert found["platforms"][0]["attributes"]["architecture"] == "amd64"


def test_the_stored_recipe_has_digests_in_json_and_yaml(
    greengrass: Any, clients: Clients, until: Callable[..., Any]
) -> None:
    s3 = clients("s3")
    s3.create_bucket(Bucket="digests")
    s3.put_object(Bucket="digests", Key="dir/file.txt", Body=b"content")
    made = create(greengrass, with_artifact(greengrass, "s3://digests/dir/file.txt"))
    until(lambda: greengrass.state(made["arn"]) == "DEPLOYABLE")
    found = json.loads(greengrass.api.get_component(arn=made["arn"])["recipe"])
    artifact = found["Manifests"][0]["Artifacts"][0]
    digest = base64.b64encode(hashlib.sha256(b"content").digest()).decode()
    assert (artifact["Digest"], artifact["Algorithm"]) == (digest, "SHA-256")
    written = greengrass.api.get_component(arn=made["arn"], recipeOutputFormat="YAML")
    assert yaml.safe_load(written["recipe"]) == found


@pytest.mark.parametrize("uri", ["s3://no-such-bucket/a", "s3://present/missing"])
def test_an_artifact_that_is_not_there_fails_the_version(
    greengrass: Any, clients: Clients, until: Callable[..., Any], uri: str
) -> None:
    clients("s3").create_bucket(Bucket="present")
    made = create(greengrass, with_artifact(greengrass, uri))
    until(lambda: greengrass.state(made["arn"]) == "FAILED")
    assert list(greengrass.api.describe_component(arn=made["arn"])["status"]["errors"]) == [uri]


def test_a_version_cannot_be_made_again(greengrass: Any) -> None:
    arn = greengrass.component()
    with pytest.raises(ClientError) as caught:
        create(greengrass, greengrass.recipe(ComponentDescription="another"))
    answer = caught.value.response
    assert answer["Error"]["Code"] == "ConflictException"
    assert "already exists with state: [DEPLOYABLE]" in answer["Error"]["Message"]
    assert (answer["resourceId"], answer["resourceType"]) == (arn, "component")


def test_the_same_token_gets_the_first_answer_and_another_request_is_refused(
    greengrass: Any,
) -> None:
    first = create(greengrass, greengrass.recipe(), clientToken=greengrass.name)
    again = create(greengrass, greengrass.recipe(), clientToken=greengrass.name)
    assert again["creationTimestamp"] == first["creationTimestamp"]
    with pytest.raises(ClientError, match="ConflictException"):
        create(greengrass, greengrass.recipe("2.0.0"), clientToken=greengrass.name)


def test_exactly_one_source_is_needed(greengrass: Any) -> None:
    with pytest.raises(ClientError, match="exactly one"):
        greengrass.api.create_component_version()


def test_versions_are_listed_newest_first_in_pages(greengrass: Any) -> None:
    for version in ("1.0.0", "10.0.0", "2.0.0"):
        arn = greengrass.component(version)
    base = arn.rpartition(":versions:")[0]
    pages = greengrass.api.get_paginator("list_component_versions").paginate(
        arn=base, PaginationConfig={"PageSize": 2}
    )
    found = [v["componentVersion"] for page in pages for v in page["componentVersions"]]
    assert found == ["10.0.0", "2.0.0", "1.0.0"]
    listed = greengrass.api.list_components()["components"]
    latest = {c["arn"]: c["latestVersion"]["componentVersion"] for c in listed}
    assert latest[base] == "10.0.0"


def test_public_components_are_apart_and_stay(greengrass: Any) -> None:
    found = greengrass.api.list_components(scope="PUBLIC")["components"]
    nucleus = next(c for c in found if c["componentName"] == "aws.greengrass.Nucleus")
    assert nucleus["arn"].split(":")[4] == "aws"
    with pytest.raises(ClientError, match="AccessDenied"):
        greengrass.api.delete_component(arn=nucleus["latestVersion"]["arn"])


def test_a_deleted_version_is_gone_and_may_be_made_again(greengrass: Any) -> None:
    arn = greengrass.component()
    greengrass.api.delete_component(arn=arn)
    for call in (greengrass.api.describe_component, greengrass.api.delete_component):
        with pytest.raises(ClientError, match="ResourceNotFound"):
            call(arn=arn)
    assert greengrass.component() == arn


def test_a_lambda_version_becomes_a_component(greengrass: Any, until: Callable[..., Any]) -> None:
    function = "arn:aws:lambda:us-east-1:123456789012:function:score:7"
    made = greengrass.api.create_component_version(lambdaFunction={"lambdaArn": function})
    assert (made["componentName"], made["componentVersion"]) == ("score", "7.0.0")
    until(lambda: greengrass.state(made["arn"]) == "DEPLOYABLE")
    found = json.loads(greengrass.api.get_component(arn=made["arn"])["recipe"])
    assert found["ComponentType"] == "aws.greengrass.lambda"
    assert found["ComponentSource"] == function
    assert "aws.greengrass.LambdaLauncher" in found["ComponentDependencies"]
    with pytest.raises(ClientError, match="numbered"):
        greengrass.api.create_component_version(
            lambdaFunction={"lambdaArn": function.replace(":7", ":$LATEST")}
        )


def test_tags_are_changed_and_listed(greengrass: Any) -> None:
    arn = greengrass.component()
    greengrass.api.tag_resource(resourceArn=arn, tags={"a": "1", "b": "2"})
    greengrass.api.untag_resource(resourceArn=arn, tagKeys=["a"])
    assert greengrass.api.list_tags_for_resource(resourceArn=arn)["tags"] == {"b": "2"}


def test_a_device_gets_the_newest_version_that_all_who_ask_take(greengrass: Any) -> None:
    for version in ("1.0.0", "1.5.0", "2.0.0"):
        greengrass.component(version)
    port = greengrass.cloud.greengrass
    name = f"com.{greengrass.name}"
    asked = Candidate(name=name, requirements={"thinggroup/a": "^1.0.0", "com.other": ">=1.2.0"})
    (found,) = port.resolve("thing", (asked,), LINUX)
    assert found.version == "1.5.0"
    assert json.loads(found.recipe)["ComponentVersion"] == "1.5.0"
    assert port.recipe(found.arn) == found.recipe


def test_contrary_requirements_and_a_wrong_platform_are_named(greengrass: Any) -> None:
    greengrass.component()
    port = greengrass.cloud.greengrass
    name = f"com.{greengrass.name}"
    contrary = Candidate(name=name, requirements={"thinggroup/a": "1.0.0", "com.b": "2.0.0"})
    with pytest.raises(CloudError) as caught:
        port.resolve("thing", (contrary,), LINUX)
    assert (caught.value.status, name in caught.value.message) == (404, True)
    assert "thinggroup/a: 1.0.0" in caught.value.message
    mac = Platform(attributes={"os": "darwin", "architecture": "amd64"})
    with pytest.raises(CloudError, match="platform"):
        port.resolve("thing", (Candidate(name=name, requirements={"a": "*"}),), mac)


def test_resolution_over_the_api_is_the_same(greengrass: Any) -> None:
    greengrass.component()
    answer = greengrass.api.resolve_component_candidates(
        platform={"attributes": LINUX.attributes},
        componentCandidates=[
            {"componentName": f"com.{greengrass.name}", "versionRequirements": {"a": "^1.0.0"}}
        ],
    )
    assert answer["resolvedComponentVersions"][0]["componentVersion"] == "1.0.0"
