"""Recipes are checked and brought into the form that devices get."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from edgectl_aws_greengrass.emulator.greengrass import recipes
from edgectl_aws_greengrass.emulator.wire import ServiceError


def recipe(**more: Any) -> dict[str, Any]:
    return {
        "RecipeFormatVersion": "2020-01-25",
        "ComponentName": "com.example",
        "ComponentVersion": "1.0.0",
        "Manifests": [manifest()],
        **more,
    }


def manifest(**more: Any) -> dict[str, Any]:
    return {"Platform": {"os": "linux"}, "Lifecycle": {"Run": "true"}, **more}


def read(document: dict[str, Any]) -> dict[str, Any]:
    return recipes.read(json.dumps(document).encode())


def test_keys_get_their_canonical_case_and_defaults_are_filled_in() -> None:
    given = recipe(manifests=[manifest(artifacts=[{"URI": "s3://bucket/a"}])])
    del given["Manifests"]
    found = read({k.lower(): v for k, v in given.items()})
    assert found["ComponentType"] == "aws.greengrass.generic"
    assert found["ComponentConfiguration"] == {"DefaultConfiguration": {}}
    assert found["Manifests"][0]["Artifacts"] == [
        {
            "Uri": "s3://bucket/a",
            "Unarchive": "NONE",
            "Permission": {"Read": "OWNER", "Execute": "NONE"},
        }
    ]


def test_yaml_gives_the_same_as_json() -> None:
    assert recipes.read(yaml.safe_dump(recipe()).encode()) == read(recipe())


def test_numbers_of_the_configuration_come_back_as_floats() -> None:
    given = recipe(ComponentConfiguration={"DefaultConfiguration": {"a": 1, "b": [2], "c": True}})
    found = recipes.encode(read(given)).decode()
    assert '"DefaultConfiguration":{"a":1.0,"b":[2.0],"c":true}' in found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"RecipeFormatVersion": "2021-01-01"}, "2020-01-25"),
        ({"ComponentName": "a b"}, "ComponentName"),
        ({"ComponentName": "a" * 129}, "ComponentName"),
        ({"ComponentVersion": "1"}, "semantic version"),
        ({"ComponentType": "aws.greengrass.plugin"}, "set by the service"),
        ({"Manifest": []}, "unknown key 'Manifest'"),
        ({"manifests": []}, "twice"),
        ({"Manifests": {}}, "not a list"),
        ({"ComponentDependencies": {"a": {}}}, "VersionRequirement"),
        ({"ComponentDependencies": {"a": {"VersionRequirement": "??"}}}, "no version"),
        (
            {"ComponentDependencies": {"a": {"VersionRequirement": "1", "DependencyType": "MUST"}}},
            "HARD or SOFT",
        ),
        ({"Manifests": [manifest(Lifecycle={"Run": "a", "Startup": "b"})]}, "both Run and Startup"),
        ({"Manifests": [manifest(Lifecycle={"Run": "a", "Begin": "b"})]}, "unknown step 'begin'"),
        ({"Manifests": [manifest(Artifacts=[{"Uri": "http://a"}])]}, "neither s3"),
        (
            {
                "Manifests": [
                    manifest(Artifacts=[{"Uri": "s3://buck/a/x"}, {"Uri": "s3://buck/b/x"}])
                ]
            },
            "'x' twice",
        ),
        (
            {"Manifests": [manifest(Artifacts=[{"Uri": "s3://bucket/a", "Digest": "x"}])]},
            "set by the service",
        ),
        (
            {"Manifests": [manifest(Artifacts=[{"Uri": "s3://bucket/a", "Unarchive": "TAR"}])]},
            "unknown Unarchive",
        ),
        ({"ComponentDescription": "x" * 16_000}, "16000"),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_reason(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ServiceError) as caught:
        read({**recipe(), **change})
    assert caught.value.code == "ValidationException"
    assert said in caught.value.message


@pytest.mark.parametrize("blob", [b"{", b"\xff\xfe", b"- a\n- b\n", b"a: [b\n"])
def test_what_is_no_document_is_refused(blob: bytes) -> None:
    with pytest.raises(ServiceError, match="recipe"):
        recipes.read(blob)


@pytest.mark.parametrize(
    ("platform", "attributes", "runs"),
    [
        ({"os": "linux"}, {"os": "linux", "architecture": "amd64"}, True),
        (
            {"os": "linux", "architecture": "aarch64"},
            {"os": "linux", "architecture": "amd64"},
            False,
        ),
        ({"os": "all"}, {"os": "windows"}, True),
        ({"os": "*", "runtime": "*"}, {"os": "linux"}, True),
        ({"runtime": "aws_nucleus_lite"}, {"runtime": "aws_nucleus_classic"}, False),
        ({"architecture": "/amd64|x86/"}, {"architecture": "x86"}, True),
        ({"own": "key"}, {"os": "linux"}, False),
        ({}, {"os": "linux"}, True),
    ],
)
def test_a_manifest_is_for_the_platforms_that_it_names(
    platform: dict[str, str], attributes: dict[str, str], *, runs: bool
) -> None:
    found = read(recipe(Manifests=[manifest(Platform=platform)]))
    assert recipes.runs_on(found, attributes) is runs
