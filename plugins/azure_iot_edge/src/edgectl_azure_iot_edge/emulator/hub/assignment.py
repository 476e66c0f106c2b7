"""Decides what each device gets of all deployments. Pure.

The base deployment with the highest priority (then the newest) is taken whole. Layered deployments
with a priority above its own are written over it, the lowest first, each at the paths that it
names; those below it, and all of them without a base, stay ``Targeted``. A device that no base
targets keeps what it has.

Source: learn.microsoft.com/azure/iot-edge/module-deployment-monitoring ("Priority", "Layered
deployment"); ties go to the newest creation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edgectl_azure_iot_edge.emulator.hub.configurations import DESIRED, Configuration
from edgectl_azure_iot_edge.emulator.hub.identity import AGENT

Json = dict[str, Any]
APPLIED, TARGETED = "Applied", "Targeted"


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What a device is to have.

    Attributes:
        statuses: Deployment → ``Applied`` or ``Targeted``.
        desired: Module → its whole desired properties; None when no base targets the device.
        paths: Module → values by path, of layers over a module that has no whole properties; what
            else is in the twin stays.
        modules: The modules that the deployments make the device run.
    """

    statuses: Mapping[str, str]
    desired: Mapping[str, Json] | None
    paths: Mapping[str, Mapping[tuple[str, ...], Any]]
    modules: frozenset[str]


def rank(configuration: Configuration) -> tuple[int, Any]:
    """Order deployments: what has the highest rank wins."""
    return (configuration.priority, configuration.created)


def assign(matching: Iterable[Configuration]) -> Assignment:
    """Merge the deployments that target a device."""
    ranked = sorted((c for c in matching if c.is_edge), key=rank)
    statuses = {c.id: TARGETED for c in ranked}
    bases = [c for c in ranked if not c.is_layered]
    if not bases:
        return Assignment(statuses=statuses, desired=None, paths={}, modules=frozenset())
    base = bases[-1]
    layers = [c for c in ranked if c.is_layered and c.priority > base.priority]
    statuses |= {c.id: APPLIED for c in (base, *layers)}
    desired: dict[str, Json] = {}
    paths: dict[str, dict[tuple[str, ...], Any]] = {}
    for configuration in (base, *layers):
        for module, section in configuration.modules.items():
            if DESIRED in section:
                desired[module] = section[DESIRED]
                paths.pop(module, None)
                continue
            for key, value in section.items():
                at = tuple(key.removeprefix(f"{DESIRED}.").split("."))
                if module in desired:
                    desired[module] = with_value(desired[module], at, value)
                else:
                    paths.setdefault(module, {})[at] = value
    modules = frozenset((desired.get(AGENT) or {}).get("modules") or {})
    return Assignment(statuses=statuses, desired=desired, paths=paths, modules=modules)


def with_value(document: Json, path: tuple[str, ...], value: object) -> Json:
    """Return a document with a value at a path; the document is not changed."""
    found = dict(document)
    head, *rest = path
    if not rest:
        found[head] = value
        return found
    below = found.get(head)
    found[head] = with_value(below if isinstance(below, dict) else {}, tuple(rest), value)
    return found
