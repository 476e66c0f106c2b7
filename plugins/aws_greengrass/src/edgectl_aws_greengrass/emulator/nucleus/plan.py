"""Decides what a new set of components stops and starts, and in which order. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edgectl.api import Record
from edgectl_aws_greengrass.emulator.nucleus.failures import DeploymentError

Graph = Mapping[str, Mapping[str, bool]]
"""By component, its dependencies and whether each is hard."""


class Change(Record, frozen=True, kw_only=True):
    """What to stop, dependents first, and what to start, dependencies first."""

    stop: tuple[str, ...]
    start: tuple[str, ...]


def ordered(names: Iterable[str], graph: Graph) -> tuple[str, ...]:
    """Return components after what they depend on; else by name.

    Raises:
        DeploymentError: They depend on each other in a circle.
    """
    wanted = set(names)
    found: list[str] = []
    open_: list[str] = []

    def visit(name: str) -> None:
        if name in found:
            return
        if name in open_:
            raise DeploymentError(
                f"Circular dependency: {' -> '.join((*open_, name))}",
                "COMPONENT_CIRCULAR_DEPENDENCY_ERROR",
            )
        open_.append(name)
        for dependency in sorted(graph.get(name, {})):
            visit(dependency)
        open_.pop()
        found.append(name)

    for name in sorted(wanted):
        visit(name)
    return tuple(name for name in found if name in wanted)


def change(
    old: Mapping[str, object],
    new: Mapping[str, object],
    old_graph: Graph,
    new_graph: Graph,
    restart: Iterable[str] = (),
) -> Change:
    """Return how to get from one set to another.

    A component restarts when it differs, when it is in ``restart`` (broken ones), or when one that
    it depends on hard does.

    Args:
        old: By name, whatever tells components apart.
        new: The same of the set to come.
        old_graph: Who depends on whom now.
        new_graph: And then.
        restart: Further components to start anew.
    """
    touched = {name for name, value in new.items() if old.get(name) != value}
    touched |= set(restart) & set(new)
    stopped = {name for name in old if name not in new or name in touched}
    grew = True
    while grew:
        before = len(stopped) + len(touched)
        stopped |= _dependents(stopped, old_graph) & set(old)
        touched |= stopped & set(new)
        touched |= _dependents(touched, new_graph) & set(new)
        stopped |= touched & set(old)
        grew = len(stopped) + len(touched) > before
    return Change(
        stop=tuple(reversed(ordered(stopped, old_graph))), start=ordered(touched, new_graph)
    )


def _dependents(names: set[str], graph: Graph) -> set[str]:
    return {
        name
        for name, dependencies in graph.items()
        if any(hard and dependency in names for dependency, hard in dependencies.items())
    }
