"""Decides whether a component may do what it asks for over IPC.

``accessControl`` in the component's configuration lists, by service, policies of operations and
resources; ``*`` stands for anything, and in topics ``+`` and ``#`` for what they do in MQTT.
Source: developer guide, interprocess-communication (authorize components).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from edgectl.emulation import mqtt
from edgectl_aws_greengrass.emulator.broker import topics

PUBSUB = "aws.greengrass.ipc.pubsub"
MQTT_PROXY = "aws.greengrass.ipc.mqttproxy"


def allowed(
    configuration: Mapping[str, Any], service: str, operation: str, resource: str, thing: str
) -> bool:
    """Say whether a policy names the operation and the resource.

    Args:
        configuration: The component's.
        service: For example ``aws.greengrass.ipc.mqttproxy``.
        operation: For example ``aws.greengrass#PublishToIoTCore``.
        resource: A topic, or whatever the service guards.
        thing: What ``{iot:thingName}`` in a resource stands for; "" where the nucleus does not
            interpolate configuration.
    """
    control = configuration.get("accessControl")
    policies = control.get(service) if isinstance(control, Mapping) else None
    if not isinstance(policies, Mapping):
        return False
    return any(
        isinstance(policy, Mapping)
        and any(each in {"*", operation} for each in policy.get("operations") or ())
        and any(_covers(str(each), resource, thing) for each in policy.get("resources") or ())
        for policy in policies.values()
    )


def _covers(pattern: str, resource: str, thing: str) -> bool:
    text = pattern.replace("{iot:thingName}", thing) if thing else pattern
    expression = ".*".join(re.escape(part) for part in text.split("*"))
    if re.fullmatch(expression, resource):
        return True
    return not topics.filter_fault(text) and mqtt.topics.matches(text, resource)
