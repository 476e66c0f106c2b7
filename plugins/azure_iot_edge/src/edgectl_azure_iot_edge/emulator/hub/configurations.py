"""Deployments and configurations: what may be in one, and how long it lives.

An edge deployment has ``modulesContent``; a *layered* one has ``properties.desired.modules.NAME``
in ``$edgeAgent`` in place of the whole desired properties. Content never changes: a PUT with other
content is answered 200 and keeps the old, as the real hub does, so a client has to compare.

Sources: learn.microsoft.com/rest/api/iothub/service/configuration, a recording of the service
(creation answers 200, ETag ``"MQ=="``), reports of what a real hub refuses, and
learn.microsoft.com/azure/iot-edge, "Understand IoT Edge automatic deployments".
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from edgectl_azure_iot_edge.emulator.hub import clock, etags
from edgectl_azure_iot_edge.emulator.hub.errors import HubError
from edgectl_azure_iot_edge.emulator.hub.identity import AGENT, EDGE_HUB
from edgectl_azure_iot_edge.emulator.hub.query.lexer import QueryError
from edgectl_azure_iot_edge.emulator.hub.query.parser import parse_condition, parse_query
from edgectl_azure_iot_edge.emulator.hub.query.tree import (
    Binary,
    Call,
    Expression,
    Not,
    Path,
)

Json = dict[str, Any]

MAX_CONFIGURATIONS = 100
MAX_MODULES = 50
MAX_PRIORITY = 2**31 - 1
CONTENTS = ("deviceContent", "modulesContent", "moduleContent")
DESIRED = "properties.desired"
_ID = re.compile(r"[a-z0-9\-:+%_#*?!(),=@;$']{1,128}")
_MODULES_WHERE = re.compile(r"(?i)^\s*from\s+devices\.modules\s+where\s+")
_LAYER = f"{DESIRED}.modules."


@dataclass
class Configuration:
    """A configuration of the hub.

    Attributes:
        counter: Of its writes, which the ETag tells.
        system_results: What the background work counted last, by system metric.
        results: The same by custom metric.
    """

    id: str
    content: Json
    created: datetime
    updated: datetime
    target_condition: str = ""
    priority: int = 0
    labels: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, str] = field(default_factory=dict)
    schema_version: str | None = None
    counter: int = 1
    system_results: dict[str, int] = field(default_factory=dict)
    results: dict[str, int] = field(default_factory=dict)

    @property
    def etag(self) -> str:
        """The ETag, without quotes: a counter in base64."""
        return base64.b64encode(str(self.counter).encode()).decode()

    @property
    def modules(self) -> Json:
        """The content for edge modules, {} for a configuration of another kind."""
        return self.content.get("modulesContent") or {}

    @property
    def is_edge(self) -> bool:
        """Whether it is a deployment for edge devices."""
        return bool(self.modules)

    @property
    def is_layered(self) -> bool:
        """Whether it adds to a base deployment."""
        return self.is_edge and DESIRED not in self.modules.get(AGENT, {})

    def system_queries(self) -> dict[str, str]:
        """Return the queries that the hub counts by itself."""
        if self.is_edge:
            return _edge_queries(self.id, self.target_condition)
        of_modules = bool(self.content.get("moduleContent"))
        collection = "devices.modules" if of_modules else "devices"
        columns = "deviceId, moduleId" if of_modules else "deviceId"
        condition = _MODULES_WHERE.sub("", self.target_condition)
        targeted = "" if condition in {"", "*"} else condition
        return {
            "targetedCount": _select(columns, collection, targeted),
            "appliedCount": _select(columns, collection, _applied(self.id)),
        }


def _select(columns: str, collection: str, condition: str) -> str:
    words = ["select", columns, "from", collection]
    return " ".join([*words, "where", condition] if condition else words)


def _applied(name: str) -> str:
    return f"configurations.[[{name}]].status = 'Applied'"


def _edge_queries(name: str, condition: str) -> dict[str, str]:
    agent = f"moduleId = '{AGENT}' and {_applied(name)}"
    current = f"{agent} and properties.desired.$version = properties.reported.lastDesiredVersion"
    code = "properties.reported.lastDesiredStatus.code"
    edge = "capabilities.iotEdge = true"
    targeted = edge if condition in {"", "*"} else f"{edge} and ({condition})"
    return {
        "targetedCount": _select("deviceId", "devices", targeted),
        "appliedCount": _select("deviceId", "devices.modules", agent),
        "reportedSuccessfulCount": _select(
            "deviceId", "devices.modules", f"{current} and {code} = 200"
        ),
        "reportedFailedCount": _select(
            "deviceId", "devices.modules", f"{current} and {code} != 200"
        ),
    }


def document(configuration: Configuration) -> Json:
    """Return a Configuration of the API."""
    return {
        "id": configuration.id,
        "schemaVersion": configuration.schema_version,
        "labels": configuration.labels,
        "content": configuration.content,
        "targetCondition": configuration.target_condition,
        "createdTimeUtc": clock.text(configuration.created),
        "lastUpdatedTimeUtc": clock.text(configuration.updated),
        "priority": configuration.priority,
        "systemMetrics": {
            "results": configuration.system_results,
            "queries": configuration.system_queries(),
        },
        "metrics": {"results": configuration.results, "queries": configuration.metrics},
        "etag": configuration.etag,
    }


class Configurations:
    """All configurations; the caller holds the registry's lock.

    Args:
        now: The account's time.
        limit: How many there may be: 100, or 10 on a free hub.
    """

    def __init__(self, now: Callable[[], datetime], limit: int = MAX_CONFIGURATIONS) -> None:
        self.all: dict[str, Configuration] = {}
        self.limit = limit
        self._now = now

    def get(self, name: str) -> Configuration:
        """Return a configuration.

        Raises:
            HubError: ``ConfigurationNotFound``.
        """
        found = self.all.get(name)
        if found is None:
            raise HubError("ConfigurationNotFound", f"Configuration with id '{name}' not found")
        return found

    def put(self, name: str, body: Json, if_match: str | None) -> Configuration:
        """Create or update.

        Raises:
            HubError: What the request breaks.
        """
        if not _ID.fullmatch(name):
            raise HubError(
                "ArgumentInvalid",
                f"The configuration id '{name}' is invalid: it takes up to 128 lower-case letters, "
                "digits and -:+%_#*?!(),=@;$'",
            )
        if body.get("id") != name:
            raise HubError("ArgumentInvalid", "The id in the body is not the one in the path")
        content = check_content(body.get("content"))
        fields = _fields(body, of_modules=bool(content.get("moduleContent")))
        condition = etags.wanted(if_match, quotes=True)
        found = self.all.get(name)
        now = self._now()
        if condition is None:
            if found is not None:
                said = f"Configuration with id '{name}' already exists"
                raise HubError("ConfigurationAlreadyExists", said)
            if len(self.all) >= self.limit:
                raise HubError(
                    "ConfigurationCountLimitExceeded",
                    f"The number of configurations is at its limit of {self.limit}.",
                )
            found = Configuration(id=name, content=content, created=now, updated=now)
            self.all[name] = found
        else:
            found = self.get(name)
            etags.check(condition, found.etag)
            found.counter += 1
        for key, value in fields.items():
            setattr(found, key, value)
        found.updated = now
        return found

    def delete(self, name: str, if_match: str | None) -> None:
        """Delete; no ``If-Match`` is needed.

        Raises:
            HubError: ``ConfigurationNotFound``, ``PreconditionFailed``.
        """
        found = self.get(name)
        etags.check(etags.wanted(if_match), found.etag)
        del self.all[name]


def check_content(content: object) -> Json:
    """Check what is to be deployed.

    Raises:
        HubError: ``InvalidConfigurationContent``.
    """
    if not isinstance(content, dict):
        raise _bad_content("it is missing")
    unknown = sorted(set(content) - set(CONTENTS))
    given = [name for name in CONTENTS if content.get(name)]
    if unknown or len(given) != 1:
        raise _bad_content(f"exactly one of {', '.join(CONTENTS)} is taken")
    inner = content[given[0]]
    if not isinstance(inner, dict):
        raise _bad_content(f"'{given[0]}' has to be an object")
    if given[0] == "modulesContent":
        check_modules(inner)
    else:
        _check_paths(inner, given[0])
    return {given[0]: inner}


def check_modules(modules: Mapping[str, Any]) -> None:
    """Check ``modulesContent``.

    Raises:
        HubError: ``InvalidConfigurationContent``.
    """
    if AGENT not in modules:
        raise _bad_content(f"'modulesContent' has no '{AGENT}'")
    for name, section in modules.items():
        if not isinstance(section, dict):
            raise _bad_content(f"the module '{name}' has to be an object")
        _check_paths(section, name)
        if DESIRED in section and len(section) > 1:
            said = f"'{name}' has '{DESIRED}' and parts of it"
            raise _bad_content(said)
    agent = modules[AGENT]
    whole = agent.get(DESIRED)
    if whole is not None and not isinstance(whole, dict):
        raise _bad_content(f"'{DESIRED}' of '{AGENT}' has to be an object")
    named = (
        set((whole or {}).get("modules") or {})
        if whole is not None
        else {key.removeprefix(_LAYER).partition(".")[0] for key in agent if key.startswith(_LAYER)}
    )
    if len(named) > MAX_MODULES:
        raise _bad_content(f"it has {len(named)} modules, {MAX_MODULES} may be")
    layered_hub = any(key != DESIRED for key in modules.get(EDGE_HUB, {}))
    if whole is not None and layered_hub:
        raise _bad_content(f"a base deployment has the whole '{DESIRED}' of '{EDGE_HUB}'")


def _check_paths(section: Mapping[str, Any], where: str) -> None:
    for key in section:
        if key != DESIRED and not key.startswith(f"{DESIRED}."):
            raise _bad_content(f"'{key}' in '{where}' is not below '{DESIRED}'")


def _bad_content(why: str) -> HubError:
    return HubError("InvalidConfigurationContent", f"The configuration content is invalid: {why}")


def _fields(body: Json, *, of_modules: bool) -> dict[str, Any]:
    condition = body.get("targetCondition") or ""
    if problem := condition_problem(condition, of_modules=of_modules):
        raise HubError("InvalidConfigurationTargetCondition", problem)
    priority = body.get("priority") or 0
    if not isinstance(priority, int) or isinstance(priority, bool):
        raise HubError("IotHubFormatError", "The priority is no integer.")
    if not 0 <= priority <= MAX_PRIORITY:
        raise HubError("ArgumentInvalid", f"The priority {priority} is out of range.")
    labels = body.get("labels") or {}
    metrics = (body.get("metrics") or {}).get("queries") or {}
    for name, group in (("labels", labels), ("metrics", metrics)):
        if not isinstance(group, dict) or not all(isinstance(v, str) for v in group.values()):
            raise HubError("IotHubFormatError", f"'{name}' has to hold texts")
    if problems := metric_problems(metrics):
        said = "; ".join(f"{name}: {why}" for name, why in sorted(problems.items()))
        raise HubError("InvalidConfigurationCustomMetricsQuery", said)
    return {
        "target_condition": condition,
        "priority": priority,
        "labels": labels,
        "metrics": metrics,
        "schema_version": body.get("schemaVersion"),
    }


def condition_problem(condition: object, *, of_modules: bool = False) -> str:
    """Return why a target condition is not good, or "".

    Only ``deviceId``, ``tags`` and ``properties.reported`` may stand in one; in one for modules
    ``moduleId`` too, behind ``FROM devices.modules WHERE``.
    """
    if not isinstance(condition, str):
        return "The target condition is no text"
    if condition.strip() in {"", "*"}:
        return ""
    text = condition
    if of_modules:
        text = _MODULES_WHERE.sub("", text)
    try:
        tree = parse_condition(text)
    except QueryError as exc:
        return f"The target condition '{condition}' is malformed: {exc}"
    for path in _paths(tree):
        if not _is_allowed(path, of_modules=of_modules):
            return (
                f"The target condition '{condition}' uses '{'.'.join(path.names)}': only "
                "deviceId, tags and properties.reported may be used"
            )
    return ""


def _is_allowed(path: Path, *, of_modules: bool) -> bool:
    names = path.names
    while names and names[0] in {"devices", "modules"} and len(names) > 1:
        names = names[1:]
    first = names[0].lower()
    if first == "deviceid" or (of_modules and first == "moduleid"):
        return len(names) == 1
    if first == "tags":
        return len(names) > 1
    return first == "properties" and len(names) > 2 and names[1] == "reported"


def _paths(tree: Expression) -> list[Path]:
    if isinstance(tree, Path):
        return [tree]
    if isinstance(tree, Not):
        return _paths(tree.inner)
    if isinstance(tree, Binary):
        return _paths(tree.left) + _paths(tree.right)
    if isinstance(tree, Call):
        return [path for argument in tree.arguments for path in _paths(argument)]
    return []


def metric_problems(queries: Mapping[str, str]) -> dict[str, str]:
    """Return why custom metrics are not good, by their names."""
    problems = {}
    for name, query in queries.items():
        try:
            found = parse_query(query)
        except QueryError as exc:
            problems[name] = f"The query '{query}' is malformed: {exc}"
            continue
        if found.collection == "devices.jobs":
            problems[name] = f"The query '{query}' is not on devices or devices.modules"
    return problems
