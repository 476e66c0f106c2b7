"""Decides which steps lead from the modules that there are to those that are wanted.

The order is the agent's (HealthRestartPlanner): by startup order, within one first what goes, then
what comes, what changed, what ended and what is to be started or stopped.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping

import msgspec

from edgectl.api import Record
from edgectl_azure_iot_edge.emulator.edge import restarts
from edgectl_azure_iot_edge.emulator.edge.records import Module, ModuleSpec, RuntimeStatus
from edgectl_azure_iot_edge.emulator.edge.restarts import Pace

Desired = Mapping[str, ModuleSpec]
Current = Mapping[str, Module]


class Action(enum.StrEnum):
    """What can be done to a module; the value is the agent's own word."""

    PREPARE = "Prepare"
    CREATE = "Create"
    REMOVE = "Remove"
    START = "Start"
    STOP = "Stop"
    COUNT = "Count restart of"
    FORGET = "Forget restarts of"


class Step(Record, frozen=True, kw_only=True):
    """Actions on one module that stand or fall together.

    Attributes:
        spec: How the module is to be made, for those that make one.
        first: Whether nothing after it may begin when it fails.
    """

    module: str
    actions: tuple[Action, ...]
    spec: ModuleSpec | None = None
    first: bool = False

    @property
    def show(self) -> str:
        """The step in the agent's words."""
        texts = [f"{action} module {self.module}" for action in self.actions]
        if len(texts) == 1:
            return texts[0]
        return "Command Group: (" + " ".join(f"[{text}]" for text in texts) + ")"


def plan(
    desired: Desired, current: Current, now: float, pace: Pace, *, pull_first: bool = False
) -> tuple[Step, ...]:
    """Return the steps to take; ``now`` is in seconds of the epoch.

    With ``pull_first`` every image is got before anything else is touched (``ModuleUpdateMode`` is
    ``WaitForAllPulls``).
    """
    orders = {_order(name, desired, current) for name in (*desired, *current)}
    steps = [
        step
        for order in sorted(orders)
        for step in _steps_of_order(order, desired, current, now, pace)
    ]
    if not pull_first:
        return tuple(steps)
    pulls = [
        Step(module=step.module, actions=(Action.PREPARE,), spec=step.spec, first=True)
        for step in steps
        if Action.PREPARE in step.actions
    ]
    return (*pulls, *(_without_pull(step) for step in steps))


def shutdown(current: Current) -> tuple[Step, ...]:
    """Return the steps with which the agent leaves."""
    return tuple(
        Step(module=name, actions=(Action.STOP,))
        for name, module in sorted(current.items())
        if module.status is RuntimeStatus.RUNNING
    )


def is_same(spec: ModuleSpec, other: ModuleSpec) -> bool:
    """Say whether two specifications make the same module, whatever is wanted of it."""
    return msgspec.structs.replace(spec, status="running") == msgspec.structs.replace(
        other, status="running"
    )


def _order(name: str, desired: Desired, current: Current) -> int:
    return desired[name].startup_order if name in desired else current[name].spec.startup_order


def _steps_of_order(
    order: int, desired: Desired, current: Current, now: float, pace: Pace
) -> Iterator[Step]:
    names = sorted(name for name in {*desired, *current} if _order(name, desired, current) == order)
    for name in names:
        if name not in desired:
            yield Step(module=name, actions=(Action.STOP,))
            yield Step(module=name, actions=(Action.REMOVE,))
    for name in names:
        if name in desired and name not in current:
            yield _making(desired[name], ())
    for name in names:
        if name in desired and name in current and not is_same(desired[name], current[name].spec):
            yield _making(desired[name], (Action.STOP, Action.REMOVE))
    for name in names:
        if name in desired and name in current and is_same(desired[name], current[name].spec):
            yield from _keeping(desired[name], current[name], now, pace)


def _making(spec: ModuleSpec, before: tuple[Action, ...]) -> Step:
    start = (Action.START,) if spec.status == "running" else ()
    actions = (Action.PREPARE, *before, Action.CREATE, *start)
    return Step(module=spec.name, actions=actions, spec=spec)


def _keeping(spec: ModuleSpec, module: Module, now: float, pace: Pace) -> Iterator[Step]:
    name, status = spec.name, module.status
    if spec.status == "stopped":
        if status is RuntimeStatus.RUNNING:
            yield Step(module=name, actions=(Action.STOP, Action.FORGET), spec=spec)
        return
    if module.spec.status == "stopped" and status is not RuntimeStatus.RUNNING:
        yield Step(module=name, actions=(Action.START, Action.FORGET), spec=spec)
    elif restarts.is_due(module, now, pace):
        yield Step(module=name, actions=(Action.STOP, Action.START, Action.COUNT))
    elif status is RuntimeStatus.STOPPED and (
        spec.restart_policy != "never" or not module.started_at
    ):
        yield Step(module=name, actions=(Action.START,))
    elif restarts.is_healthy_again(module, now, pace):
        yield Step(module=name, actions=(Action.FORGET,))


def _without_pull(step: Step) -> Step:
    actions = tuple(action for action in step.actions if action is not Action.PREPARE)
    return msgspec.structs.replace(step, actions=actions)
