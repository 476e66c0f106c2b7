"""One revision of a deployment, and the document that devices get of it.

The document's form is what the nucleus reads (DeploymentDocumentConverter).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from edgectl_aws_greengrass.emulator.wire import Params, ServiceError


@dataclass
class Deployment:
    """One revision.

    Attributes:
        given: The input of CreateDeployment, as GetDeployment shows it again.
        canceled: Whether CancelDeployment or a later revision ended it.
    """

    id: str
    target: str
    revision: int
    given: Params
    created: datetime
    document: str
    job_id: str | None = None
    job_arn: str | None = None
    canceled: bool = False
    latest: bool = True
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name that the caller gave, or the id."""
        return str(self.given.get("deploymentName") or "")

    @property
    def parent(self) -> str | None:
        """The group that this is a subdeployment of."""
        return self.given.get("parentTargetArn")

    @property
    def is_thing(self) -> bool:
        """Whether the target is a single thing."""
        return ":thing/" in self.target


def invalid(reason: str) -> ServiceError:
    """Return a ValidationException."""
    return ServiceError("ValidationException", reason, reason="OTHER")


def configuration_arn(arn: Callable[[str, str], str], deployment: Deployment) -> str:
    """Return the ARN by which devices know a revision."""
    resource = deployment.target.split(":", 5)[5]
    return arn("greengrass", f"configuration:{resource}:{deployment.revision}")


def document(arn: Callable[[str, str], str], deployment: Deployment) -> dict[str, Any]:
    """Return the document that devices get (nucleus, DeploymentDocumentConverter)."""
    given = deployment.given
    policies = given.get("deploymentPolicies") or {}
    update = policies.get("componentUpdatePolicy") or {}
    validation = policies.get("configurationValidationPolicy") or {}
    found: dict[str, Any] = {
        "configurationArn": configuration_arn(arn, deployment),
        "deploymentId": deployment.id,
        "deploymentName": deployment.name,
        "creationTimestamp": int(deployment.created.timestamp() * 1000),
        "components": {
            name: _component(wanted) for name, wanted in (given.get("components") or {}).items()
        },
        "requiredCapabilities": [],
        "failureHandlingPolicy": policies.get("failureHandlingPolicy", "ROLLBACK"),
        "componentUpdatePolicy": {
            "timeout": update.get("timeoutInSeconds", 60),
            "action": update.get("action", "NOTIFY_COMPONENTS"),
        },
        "configurationValidationPolicy": {"timeout": validation.get("timeoutInSeconds", 30)},
    }
    if deployment.parent:
        found["parentTargetArn"] = deployment.parent
        found["onBehalfOf"] = deployment.parent.split(":", 5)[5]
    return found


def _component(wanted: Params) -> dict[str, Any]:
    found: dict[str, Any] = {"version": wanted["componentVersion"]}
    change = wanted.get("configurationUpdate") or {}
    update: dict[str, Any] = {}
    if change.get("merge"):
        update["merge"] = json.loads(change["merge"])
    if change.get("reset") is not None:
        update["reset"] = change["reset"]
    if update:
        found["configurationUpdate"] = update
    run_with = wanted.get("runWith") or {}
    if run_with:
        found["runWith"] = {
            "posixUser": run_with.get("posixUser"),
            "systemResourceLimits": run_with.get("systemResourceLimits"),
        }
    return found


def check_job_configuration(given: Params) -> None:
    """Check the rules of the job's configuration that the model does not tell.

    Raises:
        ServiceError: ``ValidationException``.
    """
    rollout = given.get("jobExecutionsRolloutConfig") or {}
    rate = rollout.get("exponentialRate")
    if rate:
        criteria = rate["rateIncreaseCriteria"]
        if len([v for v in criteria.values() if v is not None]) != 1:
            raise invalid("give exactly one of numberOfNotifiedThings and numberOfSucceededThings")
        if round(rate["incrementFactor"], 1) != rate["incrementFactor"]:
            raise invalid("incrementFactor has at most one decimal")
    for criterion in (given.get("abortConfig") or {}).get("criteriaList", ()):
        if round(criterion["thresholdPercentage"], 2) != criterion["thresholdPercentage"]:
            raise invalid("thresholdPercentage has at most two decimals")
    minutes = (given.get("timeoutConfig") or {}).get("inProgressTimeoutInMinutes")
    if minutes is not None and not 1 <= minutes <= 10_080:
        raise invalid("inProgressTimeoutInMinutes has to be from 1 to 10080")
