"""The component that the service makes of a Lambda function's numbered version.

Developer guide, run-lambda-functions and LambdaExecutionParameters with their defaults.
"""

from __future__ import annotations

from typing import Any

from edgectl_aws_greengrass.emulator.greengrass import recipes
from edgectl_aws_greengrass.emulator.greengrass.recipes import Recipe
from edgectl_aws_greengrass.emulator.wire import Params, ServiceError


def lambda_recipe(source: Params) -> Recipe:
    """Return the recipe that the service makes of a Lambda function's numbered version.

    Raises:
        ServiceError: The ARN names no numbered version, or name or version are not possible.
    """
    parts = str(source["lambdaArn"]).split(":")
    if len(parts) != 8 or parts[2] != "lambda" or not parts[7].isdigit():
        raise ServiceError(
            "ValidationException", f"'{source['lambdaArn']}' is no ARN of a numbered Lambda version"
        )
    name = source.get("componentName") or parts[6]
    version = source.get("componentVersion") or f"{parts[7]}.0.0"
    settings = source.get("componentLambdaParameters") or {}
    dependencies = {
        dependency: {
            "VersionRequirement": entry.get("versionRequirement", "*"),
            "DependencyType": entry.get("dependencyType", "HARD"),
        }
        for dependency, entry in (source.get("componentDependencies") or {}).items()
    }
    listed = source.get("componentPlatforms") or [{"attributes": {"os": "linux"}}]
    checked = recipes.read(
        recipes.encode(
            {
                "RecipeFormatVersion": recipes.FORMAT,
                "ComponentName": name,
                "ComponentVersion": version,
                "ComponentPublisher": "AWS Lambda",
                "ComponentConfiguration": {"DefaultConfiguration": _lambda_defaults(settings)},
                "ComponentDependencies": {**_LAMBDA_NEEDS, **dependencies},
                "Manifests": [{"Platform": p.get("attributes") or {}} for p in listed],
            }
        )
    )
    return checked | {
        "ComponentType": "aws.greengrass.lambda",
        "ComponentSource": source["lambdaArn"],
    }


_LAMBDA_NEEDS = {
    "aws.greengrass.LambdaLauncher": {"VersionRequirement": "^2.0.0", "DependencyType": "HARD"},
    "aws.greengrass.LambdaRuntimes": {"VersionRequirement": "^2.0.0", "DependencyType": "SOFT"},
    "aws.greengrass.TokenExchangeService": {
        "VersionRequirement": "^2.0.0",
        "DependencyType": "HARD",
    },
}


def _lambda_defaults(settings: Params) -> dict[str, Any]:
    """Return the configuration of a Lambda component, with the documented defaults."""
    sources = settings.get("eventSources") or []
    return {
        "lambdaExecutionParameters": {
            "EnvironmentVariables": settings.get("environmentVariables") or {}
        },
        "pubsubTopics": {
            str(index): {"topic": source["topic"], "type": source["type"]}
            for index, source in enumerate(sources)
        },
        "inputPayloadEncodingType": settings.get("inputPayloadEncodingType", "json"),
        "timeoutInSeconds": settings.get("timeoutInSeconds", 3),
        "maxInstancesCount": settings.get("maxInstancesCount", 100),
        "maxIdleTimeInSeconds": settings.get("maxIdleTimeInSeconds", 60),
        "maxQueueSize": settings.get("maxQueueSize", 1000),
        "statusTimeoutInSeconds": settings.get("statusTimeoutInSeconds", 60),
        "pinned": settings.get("pinned", True),
        "containerMode": (settings.get("linuxProcessParams") or {}).get(
            "isolationMode", "GreengrassContainer"
        ),
    }
