"""Decides whether desired properties of ``$edgeAgent`` are a deployment, and which.

The schema is the vendor's 1.0 and 1.1 with its patterns anchored and nothing added: a key that it
does not know is refused, as the Azure CLI's own validation does (the agent itself would pass over
it, and the user would never learn that it does nothing).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, cast, get_args

from edgectl_azure_iot_edge.emulator.edge.records import (
    EDGE_AGENT,
    EDGE_HUB,
    LAST_ORDER,
    Credential,
    Deployment,
    ModuleSpec,
    PullPolicy,
    RestartPolicy,
    Status,
)

Node = Mapping[str, Any]

PART_LENGTH = 512
MAX_PARTS = 100
_NAME = re.compile(r"[a-zA-Z0-9_-]+")
_SCHEMA_VERSION = re.compile(r"(\d+)\.(\d+)(\.\d+)?")
_OPTIONS = "createOptions"
_SYSTEM_KEYS = {"type", "settings", "env", "imagePullPolicy"}
_MODULE_KEYS = _SYSTEM_KEYS | {"status", "restartPolicy", "startupOrder", "version"}


class ConfigError(Exception):
    """Desired properties that are no deployment.

    Attributes:
        code: What ``lastDesiredStatus`` says: 400, 412 or 417.
        detail: Where and why; only the device's log has it, as with the real agent.
    """

    def __init__(self, code: int, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.detail = detail or message


def parse_deployment(desired: Node) -> Deployment:
    """Read a ``$edgeAgent`` twin's desired section.

    Raises:
        ConfigError: 417 when there is nothing, 412 for another schema version, 400 otherwise.
    """
    content = {key: value for key, value in desired.items() if not key.startswith("$")}
    if not content:
        raise ConfigError(
            417,
            "This device has an empty configuration for the edge agent. Please set a deployment"
            " manifest.",
        )
    try:
        schema_version = _text(content, "schemaVersion", "")
        minor = _minor(schema_version)
        return _deployment(content, schema_version, minor, int(desired.get("$version", 0)))
    except _Fault as exc:
        raise ConfigError(400, "Agent configuration format is invalid.", str(exc)) from exc


def join_options(settings: Node) -> str:
    """Put the parts of ``createOptions`` together (Docker/Constants.cs: 512 characters each).

    Raises:
        ConfigError: 400, when what they give is no JSON object.
    """
    try:
        return _joined(settings, "settings")
    except _Fault as exc:
        raise ConfigError(400, "Agent configuration format is invalid.", str(exc)) from exc


def split_options(text: str) -> dict[str, str]:
    """Cut ``createOptions`` into the keys and parts that a twin takes."""
    parts = [text[at : at + PART_LENGTH] for at in range(0, len(text), PART_LENGTH)] or [""]
    return {_part_key(number): part for number, part in enumerate(parts)}


class _Fault(Exception):  # noqa: N818  # never leaves this module
    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"'{path}' {why}")


def _part_key(number: int) -> str:
    return f"{_OPTIONS}{number:02}" if number else _OPTIONS


def _minor(schema_version: str) -> int:
    found = _SCHEMA_VERSION.fullmatch(schema_version)
    if found is None:
        raise _Fault("schemaVersion", f"is '{schema_version}', has to be as 1.1")
    if found[1] != "1" or int(found[2]) > 1:
        raise ConfigError(
            412, f"The deployment schema version {schema_version} is not compatible with 1.1"
        )
    return int(found[2])


def _deployment(content: Node, schema_version: str, minor: int, version: int) -> Deployment:
    _only(content, "", {"schemaVersion", "runtime", "systemModules", "modules"})
    runtime = _node(content, "runtime", "")
    _only(runtime, "runtime", {"type", "settings"})
    _docker(runtime, "runtime")
    settings = _node(runtime, "settings", "runtime")
    _only(
        settings, "runtime.settings", {"minDockerVersion", "loggingOptions", "registryCredentials"}
    )
    system = _node(content, "systemModules", "")
    _only(system, "systemModules", {EDGE_AGENT, EDGE_HUB})
    modules = _node(content, "modules", "") if "modules" in content else {}
    hub = _module(EDGE_HUB, _node(system, EDGE_HUB, "systemModules"), "systemModules", minor)
    found = {EDGE_HUB: hub}
    for name in modules:
        if not _NAME.fullmatch(name) or name in {EDGE_AGENT, EDGE_HUB}:
            raise _Fault(f"modules.{name}", "is no name that a module may have")
        found[name] = _module(name, _node(modules, name, "modules"), "modules", minor)
    return Deployment(
        version=version,
        schema_version=schema_version,
        min_docker_version=str(settings.get("minDockerVersion", "")),
        credentials=_credentials(settings),
        agent=_agent(_node(system, EDGE_AGENT, "systemModules"), minor),
        modules=found,
    )


def _agent(node: Node, minor: int) -> ModuleSpec:
    _only(node, f"systemModules.{EDGE_AGENT}", _SYSTEM_KEYS)
    return _module(EDGE_AGENT, node, "systemModules", minor)


def _module(name: str, node: Node, parent: str, minor: int) -> ModuleSpec:
    path = f"{parent}.{name}"
    _only(node, path, _MODULE_KEYS)
    _docker(node, path)
    settings = _node(node, "settings", path)
    image = _text(settings, "image", f"{path}.settings").strip()
    if not image:
        raise _Fault(f"{path}.settings.image", "is empty")
    if minor < 1 and "startupOrder" in node:
        raise _Fault(f"{path}.startupOrder", "needs schemaVersion 1.1")
    is_user = parent == "modules"
    return ModuleSpec(
        name=name,
        image=image,
        create_options=_joined(settings, f"{path}.settings"),
        env=_env(node, path),
        status=cast("Status", _choice(node, "status", path, get_args(Status), needed=is_user)),
        restart_policy=cast(
            "RestartPolicy",
            _choice(node, "restartPolicy", path, get_args(RestartPolicy), needed=is_user)
            if "restartPolicy" in node or is_user
            else "always",
        ),
        pull_policy=cast(
            "PullPolicy", _choice(node, "imagePullPolicy", path, get_args(PullPolicy), needed=False)
        ),
        startup_order=_order(node, path),
        version=str(node.get("version", "")),
    )


def _joined(settings: Node, path: str) -> str:
    allowed = {"image", *(_part_key(number) for number in range(MAX_PARTS))}
    _only(settings, path, allowed)
    given = sorted(key for key in settings if key != "image")
    if given != [_part_key(number) for number in range(len(given))]:
        raise _Fault(path, f"has {', '.join(given)}, where a part between is missing")
    text = ""
    for key in given:
        part = _text(settings, key, path)
        if len(part) > PART_LENGTH and len(given) > 1:
            raise _Fault(f"{path}.{key}", f"has {len(part)} characters, {PART_LENGTH} may be")
        text += part
    if not text.strip():
        return "{}"
    try:
        found = json.loads(text)
    except ValueError as exc:
        raise _Fault(f"{path}.{_OPTIONS}", f"is no JSON: {exc}") from exc
    if not isinstance(found, dict):
        raise _Fault(f"{path}.{_OPTIONS}", "is no JSON object")
    return text


def _env(node: Node, path: str) -> dict[str, str]:
    found: dict[str, str] = {}
    values = _node(node, "env", path) if "env" in node else {}
    for name in values:
        entry = _node(values, name, f"{path}.env")
        _only(entry, f"{path}.env.{name}", {"value"})
        value = entry.get("value")
        if isinstance(value, bool):
            found[name] = "true" if value else "false"
        elif isinstance(value, str | int | float):
            found[name] = str(value)
        else:
            raise _Fault(f"{path}.env.{name}.value", "is no text, number or boolean")
    return found


def _credentials(settings: Node) -> tuple[Credential, ...]:
    path = "runtime.settings.registryCredentials"
    found = []
    values = (
        _node(settings, "registryCredentials", "runtime.settings")
        if (settings.get("registryCredentials") is not None)
        else {}
    )
    for name in values:
        entry = _node(values, name, path)
        _only(entry, f"{path}.{name}", {"address", "username", "password"})
        texts = {
            key: _text(entry, key, f"{path}.{name}") for key in ("address", "username", "password")
        }
        found.append(Credential(**texts))
    return tuple(found)


def _order(node: Node, path: str) -> int:
    value = node.get("startupOrder", LAST_ORDER)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LAST_ORDER:
        raise _Fault(f"{path}.startupOrder", f"is {value!r}, has to be 0 to {LAST_ORDER}")
    return value


def _docker(node: Node, path: str) -> None:
    if node.get("type") != "docker":
        raise _Fault(f"{path}.type", f"is {node.get('type')!r}, has to be 'docker'")


def _choice(node: Node, key: str, path: str, known: tuple[str, ...], *, needed: bool) -> str:
    if key not in node and not needed:
        return known[0]
    value = node.get(key)
    if value not in known:
        raise _Fault(f"{path}.{key}", f"is {value!r}, has to be one of {', '.join(known)}")
    return str(value)


def _node(parent: Node, key: str, path: str) -> Node:
    value = parent.get(key)
    if not isinstance(value, Mapping):
        raise _Fault(f"{path}.{key}".lstrip("."), "is missing or no object")
    return value


def _text(parent: Node, key: str, path: str) -> str:
    value = parent.get(key)
    if not isinstance(value, str):
        raise _Fault(f"{path}.{key}".lstrip("."), "is missing or no text")
    return value


def _only(node: Node, path: str, allowed: set[str]) -> None:
    for key in node:
        if key not in allowed:
            raise _Fault(f"{path}.{key}".lstrip("."), "is not known to the schema")
