"""Decides what a deployment document asks for.

The document is the same in an IoT job and, as text, in the shadow's ``fleetConfig``: the model
``Configuration`` that AWS's nucleus reads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edgectl.api import Record
from edgectl_aws_greengrass.emulator.nucleus.failures import DeploymentError

_UPDATE_TIMEOUT_S = 60.0
_CAPABILITIES = frozenset(
    {"LARGE_CONFIGURATION", "LINUX_RESOURCE_LIMITS", "SUB_DEPLOYMENTS", "CUSTOM_RESOURCE_LIMITS"}
)


class ComponentChange(Record, frozen=True, kw_only=True):
    """A component that the target is to have, at exactly this version."""

    version: str
    merge: dict[str, Any] = {}
    reset: tuple[str, ...] = ()
    posix_user: str | None = None


class Deployment(Record, frozen=True, kw_only=True):
    """A deployment.

    Attributes:
        group: Whose components it sets: ``thinggroup/NAME`` or ``thing/NAME``. A subdeployment
            stands for its parent.
        notify: Whether components are asked before they are stopped.
    """

    deployment_id: str
    configuration_arn: str
    group: str
    components: dict[str, ComponentChange]
    rollback: bool = True
    notify: bool = True
    notify_timeout_s: float = _UPDATE_TIMEOUT_S


def parse_document(text: str | bytes) -> Deployment:
    """Read a document.

    Raises:
        DeploymentError: It is not one, or needs what this nucleus cannot do.
    """
    try:
        document = json.loads(text)
        missing = set(document.get("requiredCapabilities") or []) - _CAPABILITIES
        if missing:
            raise DeploymentError(
                "The current nucleus version doesn't support one or more capabilities that are"
                f" required by this deployment: {', '.join(sorted(missing))}",
                "NUCLEUS_MISSING_REQUIRED_CAPABILITIES",
            )
        update = document.get("componentUpdatePolicy") or {}
        return Deployment(
            deployment_id=document["deploymentId"],
            configuration_arn=document["configurationArn"],
            group=_group(document),
            components={
                name: _change(entry) for name, entry in (document.get("components") or {}).items()
            },
            rollback=document.get("failureHandlingPolicy", "ROLLBACK") == "ROLLBACK",
            notify=update.get("action", "NOTIFY_COMPONENTS") == "NOTIFY_COMPONENTS",
            notify_timeout_s=float(update.get("timeout") or _UPDATE_TIMEOUT_S),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise DeploymentError(
            f"Unable to parse the job document: {exc!r}", "DEPLOYMENT_DOCUMENT_NOT_VALID"
        ) from exc


def _group(document: Mapping[str, Any]) -> str:
    parent = document.get("onBehalfOf") or document.get("parentTargetArn")
    if parent:
        name = str(parent).rsplit(":", 1)[-1]
        return name if "/" in name else f"thinggroup/{name}"
    # arn:aws:greengrass:R:A:configuration:thinggroup/NAME:REVISION
    resource = str(document["configurationArn"]).split(":configuration:", 1)[-1]
    return resource.rsplit(":", 1)[0] if ":" in resource else resource


def _change(entry: Mapping[str, Any]) -> ComponentChange:
    update = entry.get("configurationUpdate") or {}
    merge = update.get("merge") or {}
    return ComponentChange(
        version=str(entry["version"]),
        merge=json.loads(merge) if isinstance(merge, str) else dict(merge),
        reset=tuple(update.get("reset") or ()),
        posix_user=(entry.get("runWith") or {}).get("posixUser"),
    )
