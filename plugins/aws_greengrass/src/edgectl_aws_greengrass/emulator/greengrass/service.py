"""The operations of the ``greengrassv2`` API, from the records of this package."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from edgectl_aws_greengrass.emulator.callers import Caller
from edgectl_aws_greengrass.emulator.front import Handler
from edgectl_aws_greengrass.emulator.greengrass import recipes
from edgectl_aws_greengrass.emulator.greengrass.components import Component, Components, missing
from edgectl_aws_greengrass.emulator.greengrass.deployments import Deployments
from edgectl_aws_greengrass.emulator.greengrass.devices import CoreDevices, installed
from edgectl_aws_greengrass.emulator.greengrass.documents import Deployment
from edgectl_aws_greengrass.emulator.greengrass.effective import Effective
from edgectl_aws_greengrass.emulator.greengrass.resolve import resolve
from edgectl_aws_greengrass.emulator.paging import page
from edgectl_aws_greengrass.emulator.ports import Candidate, Platform
from edgectl_aws_greengrass.emulator.wire import Params, ServiceError


class GreengrassService:
    """The control plane.

    Args:
        things_of: The names of the things in a group, by its ARN.
        s3_url: Where a presigned address of an artifact points; None when there is no listener.
    """

    def __init__(
        self,
        *,
        components: Components,
        deployments: Deployments,
        devices: CoreDevices,
        effective: Effective,
        things_of: Callable[[str], list[str]],
    ) -> None:
        self._components = components
        self._deployments = deployments
        self._devices = devices
        self._effective = effective
        self._things_of = things_of

    def handlers(self) -> Mapping[tuple[str, str], Handler]:
        """Return the operations."""
        table: dict[str, Callable[[Params], Params]] = {
            "CancelDeployment": lambda p: self._deployments.cancel(p["deploymentId"]),
            "CreateDeployment": self._deployments.create,
            "DeleteComponent": self._delete_component,
            "DeleteCoreDevice": self._delete_device,
            "DeleteDeployment": self._delete_deployment,
            "DescribeComponent": self._describe_component,
            "GetComponent": self._get_component,
            "GetCoreDevice": self._get_device,
            "GetDeployment": self._get_deployment,
            "ListComponentVersions": self._list_versions,
            "ListComponents": self._list_components,
            "ListCoreDevices": self._list_devices,
            "ListDeployments": self._list_deployments,
            "ListEffectiveDeployments": self._list_effective,
            "ListInstalledComponents": self._list_installed,
            "ListTagsForResource": lambda p: {"tags": self._tags(p["resourceArn"])},
            "ResolveComponentCandidates": self._resolve,
            "TagResource": self._tag,
            "UntagResource": self._untag,
        }
        found: dict[tuple[str, str], Handler] = {
            ("greengrassv2", name): _without_caller(function) for name, function in table.items()
        }
        found["greengrassv2", "CreateComponentVersion"] = self._components.create
        return found

    def _delete_component(self, params: Params) -> Params:
        self._components.delete(params["arn"])
        return {}

    def _delete_device(self, params: Params) -> Params:
        self._devices.delete(params["coreDeviceThingName"])
        return {}

    def _delete_deployment(self, params: Params) -> Params:
        self._deployments.delete(params["deploymentId"])
        return {}

    def _describe_component(self, params: Params) -> Params:
        found = self._components.get(params["arn"])
        answer: Params = {
            "arn": found.arn,
            "componentName": found.name,
            "componentVersion": found.version,
            "creationTimestamp": found.created,
            "publisher": found.recipe.get("ComponentPublisher", ""),
            "description": found.recipe.get("ComponentDescription", ""),
            "status": found.status(),
            "platforms": recipes.platforms(found.recipe),
        }
        return _with_tags(answer, found.tags)

    def _get_component(self, params: Params) -> Params:
        found = self._components.get(params["arn"])
        if found.state not in {"DEPLOYABLE", "DEPRECATED"}:
            raise missing("component", params["arn"])
        form = params.get("recipeOutputFormat") or "JSON"
        recipe = (
            recipes.encode(found.recipe)
            if form == "JSON"
            else yaml.safe_dump(json.loads(recipes.encode(found.recipe)), sort_keys=False).encode()
        )
        return _with_tags({"recipeOutputFormat": form, "recipe": recipe}, found.tags)

    def _list_versions(self, params: Params) -> Params:
        name = params["arn"].rpartition(":components:")[2]
        public = params["arn"].split(":")[4] == "aws"
        found = [c for c in self._components.versions(name) if c.public == public]
        if not found:
            raise missing("component", params["arn"])
        listed, more = page(found, params)
        entries = [
            {"componentName": c.name, "componentVersion": c.version, "arn": c.arn} for c in listed
        ]
        return {"componentVersions": entries, **more}

    def _list_components(self, params: Params) -> Params:
        by_name = self._components.all(public=params.get("scope") == "PUBLIC")
        listed, more = page(list(by_name.items()), params)
        return {"components": [_component_entry(versions) for _, versions in listed], **more}

    def _get_device(self, params: Params) -> Params:
        device = self._devices.get(params["coreDeviceThingName"])
        answer = device.summary() | {"coreVersion": device.status.ggc_version}
        return _with_tags(answer, device.tags)

    def _list_devices(self, params: Params) -> Params:
        found = self._devices.all()
        group = params.get("thingGroupArn")
        if group:
            members = set(self._things_of(group))
            found = [device for device in found if device.name in members]
        for name, wanted in (
            ("status", params.get("status")),
            ("runtime", params.get("runtime")),
        ):
            if wanted:
                found = [device for device in found if device.summary().get(name) == wanted]
        listed, more = page(found, params)
        return {"coreDevices": [device.summary() for device in listed], **more}

    def _list_installed(self, params: Params) -> Params:
        device = self._devices.get(params["coreDeviceThingName"])
        roots = (params.get("topologyFilter") or "ROOT") == "ROOT"
        listed, more = page(installed(device, roots_only=roots), params)
        return {"installedComponents": listed, **more}

    def _list_effective(self, params: Params) -> Params:
        device = self._devices.get(params["coreDeviceThingName"])
        listed, more = page(self._effective.of(device), params)
        return {"effectiveDeployments": listed, **more}

    def _get_deployment(self, params: Params) -> Params:
        found = self._deployments.get(params["deploymentId"])
        answer = _deployment_entry(found, self._deployments.status(found))
        answer["deploymentName"] = found.name
        if found.job_id:
            answer |= {"iotJobId": found.job_id, "iotJobArn": found.job_arn}
        answer["components"] = found.given.get("components") or {}
        answer["deploymentPolicies"] = _policies(found.given.get("deploymentPolicies") or {})
        answer["iotJobConfiguration"] = found.given.get("iotJobConfiguration") or {}
        return _with_tags(answer, found.tags)

    def _list_deployments(self, params: Params) -> Params:
        found = self._deployments.all()
        if params.get("targetArn"):
            found = [d for d in found if d.target == params["targetArn"]]
        if params.get("parentTargetArn"):
            found = [d for d in found if d.parent == params["parentTargetArn"]]
        if (params.get("historyFilter") or "LATEST_ONLY") == "LATEST_ONLY":
            found = [d for d in found if d.latest]
        listed, more = page(found, params, default=50)
        entries = [_deployment_entry(d, self._deployments.status(d)) for d in listed]
        return {"deployments": entries, **more}

    def _resolve(self, params: Params) -> Params:
        platform = params.get("platform") or {}
        candidates = tuple(
            Candidate(
                name=entry["componentName"],
                requirements=entry.get("versionRequirements") or {},
                version=entry.get("componentVersion"),
            )
            for entry in params.get("componentCandidates") or ()
        )
        found = resolve(
            self._components,
            candidates,
            Platform(name=platform.get("name"), attributes=platform.get("attributes") or {}),
        )
        return {
            "resolvedComponentVersions": [
                {
                    "arn": version.arn,
                    "componentName": version.name,
                    "componentVersion": version.version,
                    "recipe": version.recipe,
                    "vendorGuidance": "ACTIVE",
                }
                for version in found
            ]
        }

    def _tags(self, arn: str) -> dict[str, str]:
        kind, _, rest = arn.split(":", 5)[5].partition(":")
        if kind == "components":
            return self._components.get(arn).tags
        if kind == "deployments":
            return self._deployments.get(rest).tags
        if kind == "coreDevices":
            return self._devices.get(rest).tags
        raise missing("resource", arn)

    def _tag(self, params: Params) -> Params:
        tags = self._tags(params["resourceArn"])
        if len({**tags, **params["tags"]}) > 50:
            raise ServiceError("ValidationException", "a resource has at most 50 tags")
        tags.update(params["tags"])
        return {}

    def _untag(self, params: Params) -> Params:
        tags = self._tags(params["resourceArn"])
        for key in params["tagKeys"]:
            tags.pop(key, None)
        return {}


def _without_caller(function: Callable[[Params], Params]) -> Handler:
    def handler(params: Params, caller: Caller) -> Params:
        del caller
        return function(params)

    return handler


def _with_tags(answer: Params, tags: dict[str, str]) -> Params:
    return answer | {"tags": dict(tags)} if tags else answer


def _component_entry(versions: list[Component]) -> Params:
    newest = versions[0]
    latest: dict[str, Any] = {
        "arn": newest.arn,
        "componentVersion": newest.version,
        "creationTimestamp": newest.created,
        "platforms": recipes.platforms(newest.recipe),
    }
    for member, name in (("description", "Description"), ("publisher", "Publisher")):
        if newest.recipe.get(f"Component{name}"):
            latest[member] = newest.recipe[f"Component{name}"]
    arn = newest.arn.rpartition(":versions:")[0]
    return {"arn": arn, "componentName": newest.name, "latestVersion": latest}


def _deployment_entry(deployment: Deployment, status: str) -> Params:
    entry: Params = {
        "targetArn": deployment.target,
        "revisionId": str(deployment.revision),
        "deploymentId": deployment.id,
        "creationTimestamp": deployment.created,
        "deploymentStatus": status,
        "isLatestForTarget": deployment.latest,
    }
    if deployment.name:
        entry["deploymentName"] = deployment.name
    if deployment.parent:
        entry["parentTargetArn"] = deployment.parent
    return entry


def _policies(given: Params) -> Params:
    """Return deployment policies with their defaults, as GetDeployment shows them."""
    update = given.get("componentUpdatePolicy") or {}
    validation = given.get("configurationValidationPolicy") or {}
    return {
        "failureHandlingPolicy": given.get("failureHandlingPolicy", "ROLLBACK"),
        "componentUpdatePolicy": {
            "timeoutInSeconds": update.get("timeoutInSeconds", 60),
            "action": update.get("action", "NOTIFY_COMPONENTS"),
        },
        "configurationValidationPolicy": {
            "timeoutInSeconds": validation.get("timeoutInSeconds", 30)
        },
    }
