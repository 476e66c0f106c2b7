"""Effective deployments of a core device: one entry a target that reaches it.

Group deployments end as SUCCEEDED, those of a single thing as COMPLETED (API reference,
EffectiveDeployment). Error stacks are what the device's fleet status said of the deployment.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from edgectl_aws_greengrass.emulator.greengrass.deployments import Deployments
from edgectl_aws_greengrass.emulator.greengrass.devices import CoreDevice
from edgectl_aws_greengrass.emulator.greengrass.documents import Deployment, configuration_arn
from edgectl_aws_greengrass.emulator.ports import JobExecution
from edgectl_aws_greengrass.emulator.wire import Params

_THING_STATUS = {"SUCCEEDED": "COMPLETED"}
_LONGEST_STACK = 100


class Effective:
    """Joins deployments, job executions and fleet status.

    Args:
        arn: Makes ARNs: (service, resource) → ARN.
        executions: The job executions of a thing, newest first.
    """

    def __init__(
        self,
        arn: Callable[[str, str], str],
        deployments: Deployments,
        executions: Callable[[str], list[JobExecution]],
    ) -> None:
        self._arn = arn
        self._deployments = deployments
        self._executions = executions

    def of(self, device: CoreDevice) -> list[Params]:
        """Return the ``EffectiveDeployment`` records of a device, last changed first."""
        found: dict[str, Params] = {}
        for execution in self._executions(device.name):
            deployment = self._deployments.of_job(execution.job_id)
            if deployment is not None and deployment.target not in found:
                found[deployment.target] = self._from_job(device, deployment, execution)
        single = self._deployments.latest(self._arn("iot", f"thing/{device.name}"))
        if single is not None:
            found[single.target] = self._from_shadow(device, single)
        entries = found.values()
        return sorted(entries, key=lambda entry: entry["modifiedTimestamp"], reverse=True)

    def _from_job(
        self, device: CoreDevice, deployment: Deployment, execution: JobExecution
    ) -> Params:
        status = "CANCELED" if execution.status == "REMOVED" else execution.status
        entry = self._entry(device, deployment, status)
        entry |= {"iotJobId": deployment.job_id, "iotJobArn": deployment.job_arn}
        entry["modifiedTimestamp"] = datetime.fromtimestamp(execution.updated_at, UTC)
        cause = execution.details.get("deployment-failure-cause")
        if cause:
            entry["reason"] = cause
        return entry

    def _from_shadow(self, device: CoreDevice, deployment: Deployment) -> Params:
        report = self._deployments.thing_report(deployment)
        status = str(report.get("status") or "QUEUED")
        if deployment.canceled and not report:
            status = "CANCELED"
        entry = self._entry(device, deployment, _THING_STATUS.get(status, status))
        cause = (report.get("statusDetails") or {}).get("failureCause")
        if cause:
            entry["reason"] = str(cause)
        return entry

    def _entry(self, device: CoreDevice, deployment: Deployment, status: str) -> Params:
        entry: Params = {
            "deploymentId": deployment.id,
            "deploymentName": deployment.name,
            "targetArn": deployment.target,
            "coreDeviceExecutionStatus": status,
            "creationTimestamp": deployment.created,
            "modifiedTimestamp": device.updated,
        }
        arn = configuration_arn(self._arn, deployment)
        information = device.deployments.get(deployment.id) or device.deployments.get(arn) or {}
        details = information.get("statusDetails") or {}
        stack, types = _words(details.get("errorStack")), _words(details.get("errorTypes"))
        if stack or types:
            entry["statusDetails"] = {"errorStack": stack, "errorTypes": types}
        return entry


def _words(given: Any) -> list[str]:
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except json.JSONDecodeError:
            given = given.strip("[]").split(",")
    if not isinstance(given, list):
        return []
    return [str(word).strip()[:255] for word in given[:_LONGEST_STACK]]
