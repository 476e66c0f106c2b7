"""A release as IoT Hub documents: the layered deployment, its condition, routes and labels.

A layered deployment adds modules and routes to whatever base deployment a device has, and touches
nothing else (module-deployment-monitoring). Its content never changes: a release has one of its
own, with a higher priority than those before. Everything here is pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edgectl.api import DesiredRelease, Record, sha256_digest
from edgectl_azure_iot_edge.config import AzureConfig, FunctionConfig
from edgectl_azure_iot_edge.createoptions import module_options, split_options
from edgectl_azure_iot_edge.limits import MAX_QUERY, check_desired, check_id
from edgectl_azure_iot_edge.names import (
    AGENT,
    APPLICATION_LABEL,
    CONTENT_LABEL,
    DESIRED,
    HUB,
    MADE_BY,
    PACKAGE_LABEL,
    RELEASE_LABEL,
    TAG,
    TARGET_LABEL,
    configuration_id,
    function_module,
    module_name,
    route_name,
    tag_key,
)
from edgectl_azure_iot_edge.queries import reported
from edgectl_azure_iot_edge.schema import check_content
from edgectl_azure_iot_edge.selector import Selector, quoted

OUTPUT = "telemetry"
"""The output of our module that telemetry leaves by."""
FUNCTION_OUTPUT = "answers"
"""What the outputs to function modules begin with; ``answers-NAME`` is one."""
MAX_PRIORITY = 2147483647

Document = dict[str, Any]


class Layer(Record, frozen=True, kw_only=True):
    """What a release's layered deployment is made of.

    Attributes:
        application: The application.
        target: The target's name.
        hardware: The target's hardware profile, or None.
        number: The release's number.
        package: The package's digest.
        repository: Where package and release lie, ``host/repository``.
        artifact: Digest of the release's manifest there.
        image: The module's image, by digest.
        functions: Names of the functions that the package's pipeline sends answers to.
        baked: Whether package and release are in the image.
    """

    application: str
    target: str
    hardware: str | None = None
    number: int
    package: str
    repository: str
    artifact: str
    image: str
    functions: tuple[str, ...] = ()
    baked: bool = False


def configuration(config: AzureConfig, layer: Layer, selector: Selector) -> Document:
    """Return the configuration that the hub is given for a release.

    Raises:
        PlanError: The content would not keep IoT Edge's schemas.
        LimitError: A limit of IoT Hub would be exceeded.
        ProjectError: A function or an option of providers.azure does not fit.
    """
    found = configuration_id(layer.application, layer.target, layer.number)
    check_id(found)
    content = layer_content(config, layer)
    check_content(content)
    for name, part in content["modulesContent"].items():
        check_desired(f"'{name}'", part)
    return {
        "id": found,
        "schemaVersion": "2.0",
        "labels": labels(layer, content),
        "content": content,
        "targetCondition": target_condition(
            layer.application, layer.target, layer.number, selector
        ),
        "priority": priority(config, layer.number),
        "metrics": {"queries": metrics(layer)},
    }


def priority(config: AzureConfig, number: int) -> int:
    """Return a release's priority: each above the one before."""
    return min(config.priority + number, MAX_PRIORITY)


def target_condition(application: str, target: str, number: int, selector: Selector) -> str:
    """Return whom a release's deployment is for: who has our tag, and is in the target."""
    path = f"tags.{TAG}.{tag_key(application)}"
    ours = f"{path}.release = {number} AND {path}.target = {quoted(target)}"
    whole = f"{ours} AND ({selector.condition})"
    # Named devices may be many; only they are ever given the tag.
    alone = selector.devices or not selector.condition or len(whole) > MAX_QUERY // 2
    return ours if alone else whole


def layer_content(config: AzureConfig, layer: Layer) -> Document:
    """Return what the deployment adds to a device."""
    name = module_name(layer.application)
    agent: Document = {f"properties.desired.modules.{name}": _module(config, layer)}
    hub: Document = _routes(config, layer)
    for function in layer.functions:
        settings = config.functions[function]
        agent[f"properties.desired.modules.{function_module(function)}"] = _function(settings)
    return {
        "modulesContent": {
            AGENT: agent,
            HUB: hub,
            name: {f"properties.desired.{DESIRED}": desired(layer)},
        }
    }


def desired(layer: Layer) -> Document:
    """Return what our module reads: which release, and where it lies."""
    return DesiredRelease(
        release=layer.number,
        package=layer.package,
        repository=layer.repository,
        artifact=layer.artifact,
    ).to_twin()


def metrics(layer: Layer) -> dict[str, str]:
    """Return queries whose numbers the portal shows beside the deployment."""
    name = module_name(layer.application)
    return {
        phase: reported(name, layer.number, phase) for phase in ("healthy", "failed", "rolled_back")
    }


def labels(layer: Layer, content: Mapping[str, Any]) -> dict[str, str]:
    """Return the marks of a deployment of ours, by which it is found again."""
    return {
        MADE_BY: "edgectl",
        APPLICATION_LABEL: layer.application,
        TARGET_LABEL: layer.target,
        RELEASE_LABEL: str(layer.number),
        PACKAGE_LABEL: layer.package,
        CONTENT_LABEL: content_digest(content),
    }


def content_digest(content: Mapping[str, Any]) -> str:
    """Return the digest of a deployment's content, however its keys are ordered."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return sha256_digest(text.encode())


def is_ours(document: Mapping[str, Any], application: str, target: str) -> bool:
    """Whether a configuration of the hub was made by edgectl for a target."""
    marks = document.get("labels") or {}
    return (
        marks.get(MADE_BY) == "edgectl"
        and marks.get(APPLICATION_LABEL) == application
        and marks.get(TARGET_LABEL) == target
    )


def _module(config: AzureConfig, layer: Layer) -> Document:
    runtime = config.runtime
    env = {"EDGECTL_APPLICATION": layer.application, **runtime.env}
    return {
        "version": "1.0",
        "type": "docker",
        "status": "running",
        "restartPolicy": "always",
        "imagePullPolicy": "on-create",
        "startupOrder": runtime.startup_order,
        "env": {key: {"value": value} for key, value in sorted(env.items())},
        "settings": {
            "image": layer.image,
            **split_options(module_options(runtime, layer.hardware)),
        },
    }


def _function(settings: FunctionConfig) -> Document:
    return {
        "version": "1.0",
        "type": "docker",
        "status": "running",
        "restartPolicy": "always",
        "imagePullPolicy": "on-create",
        "env": {key: {"value": value} for key, value in sorted(settings.env.items())},
        "settings": {"image": settings.image, **split_options(settings.create_options)},
    }


def _routes(config: AzureConfig, layer: Layer) -> Document:
    application, name = layer.application, module_name(layer.application)
    routes = {
        route_name(application, "telemetry"): f"FROM /messages/modules/{name}/outputs/{OUTPUT}"
        " INTO $upstream"
    }
    for function in layer.functions:
        settings, module = config.functions[function], function_module(function)
        out = f"FROM /messages/modules/{name}/outputs/{FUNCTION_OUTPUT}-{function}"
        into = f'BrokeredEndpoint("/modules/{module}/inputs/{settings.input}")'
        routes[route_name(application, f"to-{function}")] = f"{out} INTO {into}"
        if settings.output:
            routes[route_name(application, f"from-{function}")] = (
                f"FROM /messages/modules/{module}/outputs/{settings.output} INTO $upstream"
            )
    return {
        f"properties.desired.routes.{key}": {
            "route": value,
            "priority": config.route.priority,
            "timeToLiveSecs": config.route.ttl_s,
        }
        for key, value in routes.items()
    }
