"""Lambda functions that get a pipeline's answers: components that come with the release."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import botocore.session
import msgspec
import pytest
from botocore.validate import ParamValidator
from cryptography.hazmat.primitives.asymmetric import ec

from edgectl import api
from edgectl.api import ConflictError, LambdaSink, LimitError, Pipeline, Provider, Target
from edgectl.package.build import PackageContent, build_package
from edgectl.package.keys import SigningKey
from edgectl.package.sign import sign_package, sign_release
from edgectl.testing.conformance.base import MODEL_PATH, model_version
from edgectl.testing.conformance.model import identity_model
from edgectl_aws_greengrass._sdk.functions import functions_of, source

KEY = SigningKey(ec.generate_private_key(ec.SECP256R1()))


def arn(function: str, number: int = 3, region: str = "us-east-1") -> str:
    return f"arn:aws:lambda:{region}:123456789012:function:{function}:{number}"


def request(folder: Path, name: str, target: Target, *arns: str) -> api.PackageRequest:
    """Package an application whose answers go to functions."""
    model = folder / "model.onnx"
    model.write_bytes(identity_model(seed=f"{name} {arns}"))
    sinks = tuple(LambdaSink(arn=entry) for entry in arns)
    content = PackageContent(
        application=name,
        version="1.0.0",
        model=model_version(name, "1.0.0", model),
        files={MODEL_PATH: model},
        pipeline=Pipeline(sink=sinks),
    )
    package = build_package(content, folder / "layout")
    signature = sign_package(package.layout, package.digest, KEY)
    document = api.ReleaseDocument(
        application=name, number=1, version="1.0.0", package=package.digest
    )
    release = sign_release(document, signature, KEY)
    return api.PackageRequest(target=target, package=package, release=release)


def recipe(site: Any, name: str, version: str) -> dict[str, Any]:
    found = site.cloud.arn("greengrass", f"components:{name}:versions:{version}")
    client = site.client("greengrassv2")
    answer = client.get_component(arn=found, recipeOutputFormat="JSON")
    decoded: dict[str, Any] = json.loads(answer["recipe"])
    return decoded


def test_a_function_becomes_a_component_that_hears_the_answers(
    aws: Provider, site: Any, group: Target, unique: str, tmp_path: Path
) -> None:
    function = f"count-{unique}"
    aws.package(request(tmp_path, f"plates-{unique}", group, arn(function)))
    made = recipe(site, f"edgectl.lambda.{function}", "3.0.0")
    topics = made["ComponentConfiguration"]["DefaultConfiguration"]["pubsubTopics"]
    assert topics == {"0": {"topic": f"edgectl/lambda/{function}", "type": "PUB_SUB"}}


def test_the_release_brings_its_function_along_and_does_not_fall_with_it(
    aws: Provider, site: Any, group: Target, unique: str, tmp_path: Path
) -> None:
    function = f"count-{unique}"
    aws.package(request(tmp_path, f"plates-{unique}", group, arn(function)))
    made = recipe(site, f"edgectl.plates-{unique}", "1.0.0")
    needed = made["ComponentDependencies"][f"edgectl.lambda.{function}"]
    assert (needed["VersionRequirement"], needed["DependencyType"]) == ("3.0.0", "SOFT")


def test_the_runtime_may_talk_to_functions_and_to_nothing_else_locally(
    aws: Provider, site: Any, group: Target, unique: str, tmp_path: Path
) -> None:
    aws.package(request(tmp_path, f"plates-{unique}", group, arn(f"count-{unique}")))
    names = site.client("greengrassv2").list_components()["components"]
    runtime = next(c for c in names if c["componentName"] == "edgectl.edge-runtime")
    version = runtime["latestVersion"]["componentVersion"]
    made = recipe(site, "edgectl.edge-runtime", version)
    access = made["ComponentConfiguration"]["DefaultConfiguration"]["accessControl"]
    (policy,) = access["aws.greengrass.ipc.pubsub"].values()
    assert policy["operations"] == ["aws.greengrass#PublishToTopic"]
    assert policy["resources"] == ["edgectl/lambda/*"]


def test_two_applications_share_a_function(
    aws: Provider, site: Any, group: Target, unique: str, tmp_path: Path
) -> None:
    function = f"count-{unique}"
    for name in (f"plates-{unique}", f"cracks-{unique}"):
        (tmp_path / name).mkdir()
        aws.package(request(tmp_path / name, name, group, arn(function)))
    listed = site.client("greengrassv2").list_components()["components"]
    assert len([c for c in listed if c["componentName"] == f"edgectl.lambda.{function}"]) == 1


def test_the_same_name_in_another_region_is_refused(
    aws: Provider, group: Target, unique: str, tmp_path: Path
) -> None:
    function = f"count-{unique}"
    aws.package(request(tmp_path, f"plates-{unique}", group, arn(function)))
    (tmp_path / "other").mkdir()
    other = request(
        tmp_path / "other", f"cracks-{unique}", group, arn(function, region="eu-west-1")
    )
    with pytest.raises(ConflictError, match="is of 'arn:aws:lambda:us-east-1"):
        aws.package(other)


def test_one_function_in_two_versions_is_refused() -> None:
    sinks = (LambdaSink(arn=arn("count", 3)), LambdaSink(arn=arn("count", 4)))
    with pytest.raises(LimitError, match="names the Lambda function 'count' twice"):
        functions_of(Pipeline(sink=sinks))
    assert functions_of(Pipeline(sink=(sinks[0], sinks[0]))) == sinks[:1]
    assert functions_of(None) == ()


@pytest.mark.parametrize(
    "wrong",
    [
        "count",
        arn("count").replace(":3", ""),
        arn("count").replace(":3", ":$LATEST"),
        arn("count").replace(":3", ":prod"),
        arn("count").replace(":3", ":0"),
        arn("c;rm -rf"),
        arn("count") + "\n",
    ],
)
def test_only_a_numbered_version_of_a_function_is_taken(wrong: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"kind": "lambda", "arn": wrong}, LambdaSink)


def test_the_request_has_no_member_that_the_service_does_not_know() -> None:
    model = botocore.session.Session().get_service_model("greengrassv2")
    shape = model.shape_for("LambdaFunctionRecipeSource")
    made = source("edgectl.lambda.count", "3.0.0", LambdaSink(arn=arn("count")))
    assert not ParamValidator().validate(made, shape).has_errors()
