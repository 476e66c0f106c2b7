"""Decides what ``$edgeAgent`` reports, and which patch brings the hub there.

Shape and values: doc/reported_states_during_deployment.md and AgentState of the vendor.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from edgectl.api import Record
from edgectl_azure_iot_edge.emulator.edge.manifest import split_options
from edgectl_azure_iot_edge.emulator.edge.records import (
    EDGE_AGENT,
    EDGE_HUB,
    LAST_ORDER,
    Deployment,
    Module,
    ModuleSpec,
    RuntimeStatus,
)

Document = dict[str, Any]

SCHEMA_VERSION = "1.0"
AGENT_VERSION = "1.5.0"
SHUT_DOWN = "Agent is not running"
_NEVER = "0001-01-01T00:00:00"


class DeploymentStatus(Record, frozen=True, kw_only=True):
    """``lastDesiredStatus``: 200, 400, 406, 412, 417 or 500, and a sentence."""

    code: int
    description: str = ""


class AgentState(Record, frozen=True, kw_only=True):
    """What the agent knows when it reports.

    Attributes:
        version: Of the deployment that it acted on last.
        agent: The agent's own module.
        modules: All others, ``edgeHub`` among them.
    """

    version: int
    status: DeploymentStatus
    deployment: Deployment | None
    agent: Module | None
    modules: Mapping[str, Module]


def document(state: AgentState) -> Document:
    """Return the whole reported section."""
    system: Document = {}
    if state.agent is not None:
        system[EDGE_AGENT] = _agent(state.agent)
    users = {name: module for name, module in state.modules.items() if name != EDGE_HUB}
    if EDGE_HUB in state.modules:
        system[EDGE_HUB] = _module(state.modules[EDGE_HUB])
    found: Document = {
        "schemaVersion": SCHEMA_VERSION,
        "version": {"version": AGENT_VERSION, "build": "", "commit": ""},
        "lastDesiredVersion": state.version,
        "lastDesiredStatus": {
            "code": state.status.code,
            "description": state.status.description,
        },
        "runtime": _runtime(state.deployment),
        "systemModules": system,
        "modules": {name: _module(module) for name, module in sorted(users.items())},
    }
    return found


def at_shutdown(reported: Mapping[str, Any]) -> Document:
    """Return what is reported by an agent that leaves: code 406, every status unknown."""
    found: Document = {
        **reported,
        "lastDesiredStatus": {"code": 406, "description": SHUT_DOWN},
    }
    for section in ("systemModules", "modules"):
        found[section] = {
            name: {**module, "runtimeStatus": RuntimeStatus.UNKNOWN.value}
            for name, module in reported.get(section, {}).items()
        }
    return found


def patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> Document:
    """Return the least patch from one section to another; null takes a key away."""
    found: Document = {}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            inner = patch(before, value)
            if inner:
                found[key] = inner
        elif value != before or key not in old:
            found[key] = value
    found.update(dict.fromkeys((key for key in old if key not in new), None))
    return found


def _runtime(deployment: Deployment | None) -> Document:
    settings: Document = {"minDockerVersion": "", "registryCredentials": {}}
    if deployment is not None:
        settings["minDockerVersion"] = deployment.min_docker_version
    return {
        "type": "docker",
        "platform": {
            "os": "linux",
            "architecture": platform.machine(),
            "version": AGENT_VERSION,
        },
        "settings": settings,
    }


def _agent(module: Module) -> Document:
    found = _common(module)
    found["imagePullPolicy"] = module.spec.pull_policy
    found["type"] = "docker"
    found["settings"] = _settings(module.spec, module.image_hash)
    found["env"] = _env(module.spec)
    return found


def _module(module: Module) -> Document:
    spec = module.spec
    found = _common(module)
    found |= {
        "restartCount": module.restart_count,
        "lastRestartTimeUtc": _time(module.restarted_at),
        "status": spec.status,
        "restartPolicy": spec.restart_policy,
        "imagePullPolicy": spec.pull_policy,
        "type": "docker",
        "settings": _settings(spec, module.image_hash),
        "env": _env(spec),
    }
    if spec.version:
        found["version"] = spec.version
    if spec.startup_order != LAST_ORDER:
        found["startupOrder"] = spec.startup_order
    return found


def _common(module: Module) -> Document:
    return {
        "exitCode": module.exit_code,
        "statusDescription": module.description,
        "lastStartTimeUtc": _time(module.started_at),
        "lastExitTimeUtc": _time(module.exited_at),
        "runtimeStatus": module.status.value,
    }


def _settings(spec: ModuleSpec, image_hash: str) -> Document:
    return {"image": spec.image, "imageHash": image_hash, **split_options(spec.create_options)}


def _env(spec: ModuleSpec) -> Document:
    return {name: {"value": value} for name, value in sorted(spec.env.items())}


def _time(seconds: float) -> str:
    if not seconds:
        return _NEVER
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
