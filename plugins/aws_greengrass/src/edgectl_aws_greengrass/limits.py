"""AWS's limits and request rates, each with its source, and what a plan says of them.

Sources: AWS General Reference, "AWS IoT Greengrass V2 endpoints and quotas" and "AWS IoT Core
endpoints and quotas"; the Greengrass V2 developer guide; the GDK, which refuses recipes above
16,000 bytes before the service does.
"""

from __future__ import annotations

from collections.abc import Iterable

from edgectl.api import LimitError

MAX_RECIPE_BYTES = 16_000
MAX_ARTIFACTS_BYTES = 2_000_000_000
"""Of one component version: "2 GB", in its smaller reading."""
MAX_DOCUMENT_BYTES = 10 * 1024 * 1024
"""Of a deployment: the longest ``merge`` that the API takes is the longest document."""
LARGE_DOCUMENT_BYTES = {"thing": 7 * 1024, "thinggroup": 31 * 1024}
"""Above this a device fetches the document itself, which its policy has to allow."""
MAX_COMPONENT_NAME = 128
MAX_THINGS = 100
"""Of a target that names its things: each is a deployment of its own."""

CONTROL_PLANE_RATE = 30.0
"""Calls a second and Region that the Greengrass control plane takes."""
CALLS_PER_SECOND = 26
"""What we make at most, all control planes together, so that there is room for others."""
DATA_PLANES = {"s3": 100, "iot-data": 100}
"""Services that take thousands of calls a second: they are paced by themselves."""
RATES: dict[str, int] = {
    "greengrassv2:CreateComponentVersion": 1,
    "greengrassv2:CreateDeployment": 5,
    "greengrassv2:CancelDeployment": 5,
    "iot:ListJobExecutionsForJob": 10,
    "iot:DescribeJobExecution": 10,
    "iot:CancelJobExecution": 10,
    "iot:AttachPolicy": 15,
    "iot:CreatePolicy": 10,
    "iot:CreateRoleAlias": 10,
    "iot:CreateThingGroup": 10,
    "iot:DeleteThingGroup": 10,
    "iot:DescribeEndpoint": 10,
    "iot:DescribeRoleAlias": 10,
    "iot:ListThings": 10,
    "iot:ListThingsInThingGroup": 25,
    "iot:SearchIndex": 15,
}
"""Operations that take fewer calls a second than all together."""


def rate_of(service: str, operation: str) -> int:
    """Return how many calls of an operation may be made in any second."""
    return RATES.get(f"{service}:{operation}", DATA_PLANES.get(service, CALLS_PER_SECOND))


def check_recipe(component: str, recipe: bytes) -> None:
    """Check a recipe's size.

    Raises:
        LimitError: It is too long.
    """
    if len(recipe) > MAX_RECIPE_BYTES:
        raise LimitError(
            f"the recipe of '{component}' has {len(recipe)} bytes, Greengrass takes at most "
            f"{MAX_RECIPE_BYTES}",
            hint="a package of fewer files, or fewer variants, makes a shorter recipe",
        )


def check_artifacts(component: str, sizes: Iterable[int]) -> None:
    """Check what the artifacts of a component version have together.

    Raises:
        LimitError: They are too large.
    """
    total = sum(sizes)
    if total > MAX_ARTIFACTS_BYTES:
        raise LimitError(
            f"the artifacts of '{component}' have {total} bytes, Greengrass takes at most "
            f"{MAX_ARTIFACTS_BYTES} a component version",
            hint="leave out a variant (`model.variants`), or quantize the model",
        )


def check_document(target: str, document: bytes) -> None:
    """Check the size of a deployment.

    Raises:
        LimitError: It is too long.
    """
    if len(document) > MAX_DOCUMENT_BYTES:
        raise LimitError(
            f"the deployment to '{target}' would have {len(document)} bytes, Greengrass takes at "
            f"most {MAX_DOCUMENT_BYTES}",
            hint="other components of the target have large configurations",
        )


def needs_fetching(kind: str, document: bytes) -> bool:
    """Whether a deployment is so large that devices have to fetch it themselves."""
    return len(document) > LARGE_DOCUMENT_BYTES[kind]
