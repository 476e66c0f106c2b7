"""Decides what a fleet status message says.

Topic ``$aws/things/T/greengrassv2/health/json``, fields as the nucleus's ``FleetStatusDetails``:
COMPLETE messages list all components, PARTIAL ones what has changed; one that is gone is FINISHED
and of no deployment.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from edgectl.api import Record
from edgectl_aws_greengrass.emulator.nucleus.failures import DeploymentError, status_details
from edgectl_aws_greengrass.emulator.nucleus.settings import VERSION, NucleusSettings
from edgectl_aws_greengrass.emulator.nucleus.state import Installed

_IN_TROUBLE = frozenset({"ERRORED", "BROKEN"})
_COMPLETE = frozenset({"NUCLEUS_LAUNCH", "NETWORK_RECONFIGURE", "CADENCE"})


class Condition(Record, frozen=True, kw_only=True):
    """How a service is."""

    state: str
    code: str = "NONE"
    reason: str = ""


def fleet_status(
    settings: NucleusSettings,
    *,
    trigger: str,
    sequence: int,
    components: Mapping[str, Installed],
    conditions: Mapping[str, Condition],
    removed: Iterable[str] = (),
    deployment: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a message.

    Args:
        settings: The device.
        trigger: What it is sent for, for example ``NUCLEUS_LAUNCH``.
        sequence: Its number, one more than the last one's.
        components: What is installed.
        conditions: How its services are.
        removed: What has been taken away since the last message.
        deployment: ``deploymentInformation``, after a deployment.
    """
    listed = [_component(name, each, conditions.get(name)) for name, each in components.items()]
    listed += [_gone(name) for name in removed if name not in components]
    arns = {arn for each in components.values() for arn in each.from_arns}
    if settings.nucleus not in components:
        finished = Condition(state="FINISHED")
        listed.append(_entry(settings.nucleus, VERSION, sorted(arns), finished))
    unhealthy = any(each.state == "BROKEN" for each in conditions.values())
    found: dict[str, Any] = {
        "ggcVersion": VERSION,
        "platform": "linux",
        "architecture": settings.platform["architecture"],
        "runtime": settings.platform["runtime"],
        "thing": settings.thing,
        "overallDeviceStatus": "UNHEALTHY" if unhealthy else "HEALTHY",
        "sequenceNumber": sequence,
        "timestamp": int(time.time() * 1_000),
        "messageType": "COMPLETE" if trigger in _COMPLETE else "PARTIAL",
        "trigger": trigger,
        "components": listed,
    }
    if deployment is not None:
        found["deploymentInformation"] = dict(deployment)
    return found


def information(failure: DeploymentError | None) -> dict[str, object]:
    """Return what a message says of a deployment's result, but for which one it was."""
    return {
        "status": "SUCCEEDED" if failure is None else "FAILED",
        "statusDetails": status_details(failure),
        "unchangedRootComponents": [],
    }


def _component(name: str, component: Installed, condition: Condition | None) -> dict[str, Any]:
    found = condition or Condition(state="NEW")
    entry = _entry(name, component.version, list(component.from_arns), found)
    return {**entry, "isRoot": component.root}


def _gone(name: str) -> dict[str, Any]:
    return _entry(name, "0.0.0", [], Condition(state="FINISHED"))


def _entry(name: str, version: str, arns: list[str], condition: Condition) -> dict[str, Any]:
    details = None
    if condition.state in _IN_TROUBLE:
        details = {"statusCodes": [condition.code], "statusReason": condition.reason}
    return {
        "componentName": name,
        "version": version,
        "fleetConfigArns": arns,
        "componentStatusDetails": details,
        "isRoot": False,
        "status": condition.state,
    }
