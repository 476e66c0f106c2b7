"""Decides where ``$edgeHub`` sends a message: the routes of its desired properties.

Sources: module-composition; priority and time to live: doc/Route_priority_and_TTL.md. A message
that reaches an endpoint by several routes goes there once, with the best priority.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from edgectl.api import Record
from edgectl_azure_iot_edge.emulator.edge.conditions import (
    ConditionError,
    is_met,
    parse_condition,
)
from edgectl_azure_iot_edge.emulator.edge.values import Condition, Message

UPSTREAM = "$upstream"
DEFAULT_PRIORITY = 2_000_000_000
DEFAULT_TTL_S = 7_200
_MAX_PRIORITY = 9
_NAME = re.compile(r"[^.$# ]+")
_VERSION = re.compile(r"1\.[0-2](\.\d+)?")
_ROUTE = re.compile(
    r"\s*FROM\s+(?P<source>\S+)(?:\s+WHERE\s+(?P<condition>.+?))?\s+INTO\s+(?P<sink>\S.*?)\s*",
    re.IGNORECASE | re.DOTALL,
)
_BROKERED = re.compile(
    r"BrokeredEndpoint\(\s*[\"']/modules/(?P<module>[^/\"']+)/inputs/(?P<input>[^\"']+)[\"']\s*\)",
    re.IGNORECASE,
)
_SOURCE = re.compile(
    r"(/\*|/messages(/\*)?|/messages/modules(/[^/*]+(/outputs(/[^/*]+)?)?)?(/\*)?)"
)


class RouteError(ValueError):
    """Desired properties of ``$edgeHub`` that cannot be followed."""


class Endpoint(Record, frozen=True, kw_only=True):
    """Where messages go: a module's input, or the hub when both are empty."""

    module: str = ""
    input: str = ""

    @property
    def is_upstream(self) -> bool:
        """Whether it is the hub."""
        return not self.module

    @property
    def name(self) -> str:
        """What its queue is called."""
        return f"{self.module}/{self.input}" if self.module else UPSTREAM


class Delivery(Record, frozen=True, kw_only=True):
    """What a message has ahead."""

    endpoint: Endpoint
    priority: int
    ttl_s: float


class Route(Record, frozen=True, kw_only=True):
    """One route.

    Attributes:
        source: Where messages come from; ``/*`` at its end stands for anything below.
        condition: What they have to meet, or None.
        priority: 0 is first.
        ttl_s: How long they may wait, or None for as long as any.
    """

    name: str
    source: str
    condition: Condition | None
    endpoint: Endpoint
    priority: int = DEFAULT_PRIORITY
    ttl_s: float | None = None

    def takes(self, source: str, message: Message) -> bool:
        """Say whether a message from somewhere takes this route."""
        wanted = self.source.lower()
        found = source.lower()
        if wanted.endswith("/*"):
            if found != wanted[:-2] and not found.startswith(wanted[:-1]):
                return False
        elif found != wanted:
            return False
        return self.condition is None or is_met(self.condition, message)


class HubConfig(Record, frozen=True, kw_only=True):
    """The desired properties of ``$edgeHub``, read."""

    version: int = 0
    routes: tuple[Route, ...] = ()
    ttl_s: float = DEFAULT_TTL_S

    def deliveries(self, source: str, message: Message) -> tuple[Delivery, ...]:
        """Return where a message goes; nowhere when no route takes it."""
        found: dict[str, Delivery] = {}
        for route in self.routes:
            if not route.takes(source, message):
                continue
            ttl_s = self.ttl_s if route.ttl_s is None else route.ttl_s
            delivery = Delivery(endpoint=route.endpoint, priority=route.priority, ttl_s=ttl_s)
            before = found.get(route.endpoint.name)
            if before is None or delivery.priority < before.priority:
                found[route.endpoint.name] = delivery
        return tuple(found.values())


def message_source(module: str, output: str) -> str:
    """Return what routes call the place where a module's message comes from."""
    source = f"/messages/modules/{module}"
    return f"{source}/outputs/{output}" if output else source


def parse_hub_config(desired: Mapping[str, Any]) -> HubConfig:
    """Read a ``$edgeHub`` twin's desired section; an empty one has no routes.

    Raises:
        RouteError: It names a route that cannot be read; the message says which and why.
    """
    version = int(desired.get("$version", 0))
    content = {key: value for key, value in desired.items() if not key.startswith("$")}
    if not content:
        return HubConfig(version=version)
    schema = content.get("schemaVersion")
    if not isinstance(schema, str) or not _VERSION.fullmatch(schema):
        raise RouteError(f"'schemaVersion' is {schema!r}, has to be as 1.1")
    routes = content.get("routes") or {}
    if not isinstance(routes, Mapping):
        raise RouteError("'routes' is no object")
    return HubConfig(
        version=version,
        routes=tuple(_route(name, value) for name, value in sorted(routes.items())),
        ttl_s=_ttl(content.get("storeAndForwardConfiguration"), "storeAndForwardConfiguration"),
    )


def parse_route(name: str, text: str) -> Route:
    """Read ``FROM … WHERE … INTO …``.

    Raises:
        RouteError: It cannot be read.
    """
    match = _ROUTE.fullmatch(text)
    if match is None:
        raise RouteError(f"route '{name}' is '{text}', has to be FROM … [WHERE …] INTO …")
    if not _SOURCE.fullmatch(match["source"]):
        raise RouteError(f"route '{name}': '{match['source']}' is no source")
    try:
        condition = parse_condition(match["condition"]) if match["condition"] else None
    except ConditionError as exc:
        raise RouteError(f"route '{name}': {exc}") from exc
    endpoint = _endpoint(name, match["sink"])
    return Route(name=name, source=match["source"], condition=condition, endpoint=endpoint)


def _route(name: str, value: object) -> Route:
    if not _NAME.fullmatch(name):
        raise RouteError(f"'{name}' is no name that a route may have")
    if isinstance(value, str):
        return parse_route(name, value)
    if not isinstance(value, Mapping) or not isinstance(value.get("route"), str):
        raise RouteError(f"route '{name}' is neither a text nor an object with 'route'")
    unknown = set(value) - {"route", "priority", "timeToLiveSecs"}
    if unknown:
        raise RouteError(f"route '{name}' has '{min(unknown)}', which the schema does not know")
    found = parse_route(name, value["route"])
    priority = value.get("priority", DEFAULT_PRIORITY)
    if priority != DEFAULT_PRIORITY and (
        not isinstance(priority, int) or not 0 <= priority <= _MAX_PRIORITY
    ):
        raise RouteError(f"route '{name}': 'priority' is {priority!r}, has to be 0 to 9")
    ttl_s = _ttl(value, f"route '{name}'") if "timeToLiveSecs" in value else None
    return Route(
        name=name,
        source=found.source,
        condition=found.condition,
        endpoint=found.endpoint,
        priority=priority,
        ttl_s=ttl_s,
    )


def _endpoint(name: str, sink: str) -> Endpoint:
    if sink.lower() == UPSTREAM:
        return Endpoint()
    match = _BROKERED.fullmatch(sink)
    if match is None:
        raise RouteError(
            f"route '{name}' goes into '{sink}', has to be $upstream or"
            ' BrokeredEndpoint("/modules/<module>/inputs/<input>")'
        )
    return Endpoint(module=match["module"], input=match["input"])


def _ttl(section: object, path: str) -> float:
    if section is None:
        return DEFAULT_TTL_S
    value = section.get("timeToLiveSecs", DEFAULT_TTL_S) if isinstance(section, Mapping) else None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise RouteError(f"'timeToLiveSecs' of {path} is {value!r}, has to be a number of seconds")
    return float(value)
