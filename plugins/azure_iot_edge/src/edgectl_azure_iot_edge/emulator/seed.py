"""What is in the hub before edgectl comes: a base deployment and another team's layer.

A layered deployment needs a base deployment below it, and on a real hub other people's deployments
are there too; both have to stay as they were whatever edgectl does.
"""

from __future__ import annotations

from typing import Any

from edgectl_azure_iot_edge.emulator.hub.errors import HubError
from edgectl_azure_iot_edge.emulator.hub.hub import Hub
from edgectl_azure_iot_edge.emulator.images import ImageContent
from edgectl_azure_iot_edge.emulator.registry import RegistryRoom

BASE = "base"
OTHER_TEAM = "other-team-logger"
BASE_PRIORITY = 1
OTHER_PRIORITY = 10
LOGGER = "logger"
_AGENT_IMAGE = "azureiotedge-agent:1.5"
_HUB_IMAGE = "azureiotedge-hub:1.5"
_LOGGER_SCRIPT = "echo the other team is here; exec sleep infinity"


def seed(hub: Hub, registry: RegistryRoom) -> None:
    """Make what is there before; what is there already stays."""
    image = registry.push(
        "other-team/logger",
        "1",
        ImageContent(config={"Entrypoint": ["sh", "-c"], "Cmd": [_LOGGER_SCRIPT]}),
    )
    for body in (base_deployment(), other_team_layer(image)):
        try:
            hub.configurations.put(body["id"], body, None)
        except HubError as exc:
            if exc.status != 409:
                raise
    hub.background.wake()


def base_deployment() -> dict[str, Any]:
    """Return a base deployment for all edge devices: agent, hub, one catch-all route."""
    system = {
        "edgeAgent": {
            "type": "docker",
            "settings": {"image": _AGENT_IMAGE, "createOptions": "{}"},
        },
        "edgeHub": {
            "type": "docker",
            "status": "running",
            "restartPolicy": "always",
            "startupOrder": 0,
            "settings": {"image": _HUB_IMAGE, "createOptions": "{}"},
        },
    }
    agent = {
        "schemaVersion": "1.1",
        "runtime": {
            "type": "docker",
            "settings": {"minDockerVersion": "v1.25", "loggingOptions": ""},
        },
        "systemModules": system,
        "modules": {},
    }
    hub = {
        "schemaVersion": "1.1",
        "routes": {},
        "storeAndForwardConfiguration": {"timeToLiveSecs": 7200},
    }
    content = {
        "$edgeAgent": {"properties.desired": agent},
        "$edgeHub": {"properties.desired": hub},
    }
    return _configuration(BASE, content, BASE_PRIORITY)


def other_team_layer(image: str) -> dict[str, Any]:
    """Return another team's layer: a module and a route of its own."""
    module = {
        "type": "docker",
        "status": "running",
        "restartPolicy": "always",
        "settings": {"image": image, "createOptions": "{}"},
    }
    route = f"FROM /messages/modules/{LOGGER}/* INTO $upstream"
    content = {
        "$edgeAgent": {f"properties.desired.modules.{LOGGER}": module},
        "$edgeHub": {f"properties.desired.routes.{LOGGER}": {"route": route, "priority": 9}},
    }
    return _configuration(OTHER_TEAM, content, OTHER_PRIORITY)


def _configuration(name: str, content: dict[str, Any], priority: int) -> dict[str, Any]:
    return {
        "id": name,
        "schemaVersion": "2.0",
        "content": {"modulesContent": content},
        "targetCondition": "*",
        "priority": priority,
        "labels": {},
        "metrics": {"queries": {}},
    }
