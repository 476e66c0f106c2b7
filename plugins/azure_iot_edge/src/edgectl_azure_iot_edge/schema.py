"""Whether a deployment's content keeps the schemas of edgeAgent and edgeHub 1.1.

The vendor's schemas are draft-04, their patterns are unanchored, and its own command line skips
layered content without a word; here the same rules stand anchored and for both kinds. A key that
the schema does not know is refused, as ``storeLimits``, which edgeHub reads only with a setting
that loses messages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from edgectl.api import PlanError
from edgectl_azure_iot_edge.createoptions import MAX_PARTS, PART_CHARS, join_options
from edgectl_azure_iot_edge.names import AGENT, HUB

_LAYER = "properties.desired."
_MODULE = re.compile(_LAYER.replace(".", r"\.") + r"modules\.(?P<name>[a-zA-Z0-9_-]+)")
_ROUTE = re.compile(_LAYER.replace(".", r"\.") + r"routes\.(?P<name>[^.$# ]+)")
_NAME = r"^[a-zA-Z0-9_-]+$(?!\n)"
_ENV = {
    "type": "object",
    "patternProperties": {
        r"^[^+#$\s.]+$": {
            "type": "object",
            "properties": {"value": {"type": ["number", "string", "boolean"]}},
            "required": ["value"],
            "additionalProperties": False,
        }
    },
    "additionalProperties": False,
}
_SETTINGS = {
    "type": "object",
    "properties": {"image": {"type": "string", "pattern": r"^\S+$(?!\n)"}},
    "patternProperties": {
        r"^createOptions(0[1-9]|[1-9][0-9])?$": {"type": "string", "maxLength": PART_CHARS}
    },
    "required": ["image"],
    "additionalProperties": False,
}
_PULL = {"enum": ["never", "on-create"]}
_ORDER = {"type": "integer", "minimum": 0, "maximum": 4294967295}
_STATUS = {"enum": ["running", "stopped"]}
_RESTART = {"enum": ["never", "on-failure", "on-unhealthy", "always"]}
_USER_MODULE = {
    "type": "object",
    "properties": {
        "version": {"type": "string"},
        "type": {"const": "docker"},
        "status": _STATUS,
        "restartPolicy": _RESTART,
        "startupOrder": _ORDER,
        "imagePullPolicy": _PULL,
        "env": _ENV,
        "settings": _SETTINGS,
    },
    "required": ["type", "status", "restartPolicy", "settings"],
    "additionalProperties": False,
}
_SYSTEM: dict[str, Any] = {
    "type": {"const": "docker"},
    "env": _ENV,
    "imagePullPolicy": _PULL,
    "settings": _SETTINGS,
}
_SYSTEM_AGENT = {
    "type": "object",
    "properties": _SYSTEM,
    "required": ["type", "settings"],
    "additionalProperties": False,
}
_SYSTEM_HUB = {
    "type": "object",
    "properties": {
        **_SYSTEM,
        "status": {"const": "running"},
        "restartPolicy": {"const": "always"},
        "startupOrder": _ORDER,
    },
    "required": ["type", "settings", "status", "restartPolicy"],
    "additionalProperties": False,
}
_VERSION = {"type": "string", "pattern": r"^1\.[01]$(?!\n)"}
_AGENT = {
    "type": "object",
    "properties": {
        "schemaVersion": _VERSION,
        "runtime": {
            "type": "object",
            "properties": {
                "type": {"const": "docker"},
                "settings": {
                    "type": "object",
                    "properties": {
                        "minDockerVersion": {"type": "string"},
                        "loggingOptions": {"type": "string"},
                        "registryCredentials": {
                            "type": "object",
                            "patternProperties": {
                                r"^[^.$# ]+$": {
                                    "type": "object",
                                    "properties": {
                                        "username": {"type": "string"},
                                        "password": {"type": "string"},
                                        "address": {"type": "string", "pattern": r"^\S+$"},
                                    },
                                    "required": ["username", "password", "address"],
                                    "additionalProperties": False,
                                }
                            },
                            "additionalProperties": False,
                        },
                    },
                    "additionalProperties": False,
                },
            },
            "required": ["type"],
            "additionalProperties": False,
        },
        "systemModules": {
            "type": "object",
            "properties": {"edgeAgent": _SYSTEM_AGENT, "edgeHub": _SYSTEM_HUB},
            "required": ["edgeAgent", "edgeHub"],
            "additionalProperties": False,
        },
        "modules": {
            "type": "object",
            "patternProperties": {_NAME: _USER_MODULE},
            "additionalProperties": False,
        },
    },
    "required": ["schemaVersion", "runtime", "systemModules"],
    "additionalProperties": False,
}
_TTL = {"type": "integer", "minimum": 0, "maximum": 4294967295}
_ROUTE_VALUE = {
    "oneOf": [
        {"type": "string", "minLength": 1},
        {
            "type": "object",
            "properties": {
                "route": {"type": "string", "minLength": 1},
                "priority": {"type": "integer", "minimum": 0, "maximum": 9},
                "timeToLiveSecs": _TTL,
            },
            "required": ["route"],
            "additionalProperties": False,
        },
    ]
}
_HUB = {
    "type": "object",
    "properties": {
        "schemaVersion": _VERSION,
        "routes": {
            "type": "object",
            "patternProperties": {r"^[^.$# ]+$(?!\n)": _ROUTE_VALUE},
            "additionalProperties": False,
        },
        "storeAndForwardConfiguration": {
            "type": "object",
            "properties": {"timeToLiveSecs": _TTL},
            "required": ["timeToLiveSecs"],
            "additionalProperties": False,
        },
    },
    "required": ["schemaVersion", "routes", "storeAndForwardConfiguration"],
    "additionalProperties": False,
}

_RULES: dict[str, tuple[dict[str, Any], re.Pattern[str], str, dict[str, Any]]] = {
    AGENT: (_AGENT, _MODULE, "modules", _USER_MODULE),
    HUB: (_HUB, _ROUTE, "routes", _ROUTE_VALUE),
}


def check_content(content: Mapping[str, Any]) -> None:
    """Check a deployment's content, base or layered.

    Raises:
        PlanError: It breaks a rule; the message has the place and what stands there.
    """
    problem = next(iter(problems(content)), None)
    if problem is not None:
        raise PlanError(f"the deployment would not be valid: {problem}")


def problems(content: Mapping[str, Any]) -> Iterable[str]:
    """Yield what is wrong with a deployment's content, a sentence each."""
    modules = content.get("modulesContent")
    if not isinstance(modules, Mapping) or len(content) != 1:
        yield f"expected `modulesContent` alone, found {', '.join(sorted(content)) or 'nothing'}"
        return
    for name, part in modules.items():
        if not isinstance(part, Mapping):
            yield f"{name}: expected a mapping"
        elif name in _RULES:
            yield from _section(name, part)
        else:
            yield from _own_section(name, part)


def is_layered(content: Mapping[str, Any]) -> bool:
    """Whether a deployment lies over a base deployment, rather than being one."""
    agent = (content.get("modulesContent") or {}).get(AGENT)
    return isinstance(agent, Mapping) and "properties.desired" not in agent


def layer_modules(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the user modules of a deployment by name, base or layered."""
    agent = (content.get("modulesContent") or {}).get(AGENT) or {}
    whole = agent.get("properties.desired") or {}
    found = dict(whole.get("modules") or {})
    for key, value in agent.items():
        if match := _MODULE.fullmatch(key):
            found[match["name"]] = value
    return found


def _section(name: str, part: Mapping[str, Any]) -> Iterable[str]:
    schema, layer, what, one = _RULES[name]
    if "properties.desired" in part:
        if len(part) > 1:
            yield f"{name}: a base deployment has `properties.desired` alone"
        yield from _against(f"{name}.properties.desired", part["properties.desired"], schema)
        if name == AGENT:
            yield from _options(part["properties.desired"].get("modules") or {})
        return
    for key, value in part.items():
        if not (match := layer.fullmatch(key)):
            yield f"{name}: a layered deployment has `{_LAYER}{what}.NAME` keys, '{key}' is none"
            continue
        yield from _against(f"{name}.{key}", value, one)
        if name == AGENT:
            yield from _options({match["name"]: value})


def _own_section(name: str, part: Mapping[str, Any]) -> Iterable[str]:
    if not re.fullmatch(r"[a-zA-Z0-9_-]+", name):
        yield f"'{name}' cannot be the name of a module"
    for key in part:
        if key != "properties.desired" and not key.startswith(_LAYER):
            yield f"{name}: expected `properties.desired`, found '{key}'"


def _options(modules: Mapping[str, Any]) -> Iterable[str]:
    for name, module in modules.items():
        settings = module.get("settings") if isinstance(module, Mapping) else None
        if not isinstance(settings, Mapping):
            continue
        keys = [key for key in settings if key.startswith("createOptions")]
        wanted = [f"createOptions{n:02}" if n else "createOptions" for n in range(len(keys))]
        if sorted(keys) != wanted or len(keys) > MAX_PARTS:
            yield f"{name}: the parts of `createOptions` are not numbered without a gap"
            continue
        try:
            fits = not keys or isinstance(json.loads(join_options(settings)), dict)
        except ValueError:
            fits = False
        if not fits:
            yield f"{name}: `createOptions` is not a JSON object"


def _against(path: str, value: object, schema: Mapping[str, Any]) -> Iterable[str]:
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - 0.1 s that a plan alone pays

    for error in Draft202012Validator(schema).iter_errors(value):
        place = ".".join([path, *(str(step) for step in error.absolute_path)])
        said = error.message
        yield f"{place}: {said if len(said) < 200 else f'{said[:80]} … {said[-80:]}'}"
