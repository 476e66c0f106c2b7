"""When a rollout moves on: a pure decision from what its groups have reached.

The rules are hawkBit's. A group that reaches its success threshold starts the next one; a group
whose share of errors is above its error threshold stops the rollout; a group with nothing left to
do is finished; a rollout without unfinished groups is finished.
"""

from __future__ import annotations

import enum

import msgspec


class Step(enum.Enum):
    """What to do with a rollout or one of its groups."""

    READY = "ready"
    AWAIT_APPROVAL = "await approval"
    START = "start"
    RUN = "run"
    START_GROUP = "start group"
    FINISH_GROUP = "finish group"
    FAIL_GROUP = "fail group"
    FINISH = "finish"
    STOPPED = "stopped"


class GroupView(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision needs of a group; the counts are of its actions, by how they stand."""

    id: int
    status: str
    success_threshold: int
    success_action: str
    error_threshold: int
    total: int
    finished: int = 0
    error: int = 0
    canceled: int = 0

    @property
    def left(self) -> int:
        """Return how many devices are still at it; a removed device counts as gone."""
        return max(0, self.total - self.finished - self.error - self.canceled)


class RolloutView(msgspec.Struct, frozen=True, kw_only=True):
    """What a decision needs of a rollout; groups in their order."""

    status: str
    start_at: int | None
    groups: tuple[GroupView, ...]


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One step; ``group`` is the group's id where the step is about one."""

    step: Step
    group: int = 0


def decide(rollout: RolloutView, *, now_ms: int, approval: bool) -> Decision | None:
    """Return the next step, None when there is nothing to do now.

    Applying a step and deciding again ends: each step moves a status forward.
    """
    match rollout.status:
        case "creating":
            return Decision(step=Step.AWAIT_APPROVAL if approval else Step.READY)
        case "ready" if rollout.start_at is not None and rollout.start_at <= now_ms:
            return Decision(step=Step.START)
        case "starting":
            return Decision(step=Step.RUN)
        case "stopping":
            return Decision(step=Step.STOPPED)
        case "running":
            return _running(rollout.groups)
    return None


def _running(groups: tuple[GroupView, ...]) -> Decision | None:
    for index, group in enumerate(groups):
        if group.status != "running":
            continue
        if _failed(group):
            return Decision(step=Step.FAIL_GROUP, group=group.id)
        following = groups[index + 1] if index + 1 < len(groups) else None
        if _succeeded(group) and following is not None and following.status == "scheduled":
            if group.success_action == "PAUSE":
                if not group.left:
                    return Decision(step=Step.FINISH_GROUP, group=group.id)
                continue
            return Decision(step=Step.START_GROUP, group=following.id)
        if not group.left:
            return Decision(step=Step.FINISH_GROUP, group=group.id)
    return _nothing_runs(groups)


def _nothing_runs(groups: tuple[GroupView, ...]) -> Decision | None:
    if any(group.status == "running" for group in groups):
        return None
    waiting = next((group for group in groups if group.status == "scheduled"), None)
    return (
        Decision(step=Step.START_GROUP, group=waiting.id) if waiting else Decision(step=Step.FINISH)
    )


def _failed(group: GroupView) -> bool:
    if not group.total or not group.error_threshold:
        return False
    return 100 * group.error > group.error_threshold * group.total


def _succeeded(group: GroupView) -> bool:
    return 100 * group.finished >= group.success_threshold * group.total


def split(total: int, amount: int) -> list[int]:
    """Return the sizes of ``amount`` groups of nearly equal size, the larger ones first."""
    amount = min(amount, total)
    return [total // amount + (1 if index < total % amount else 0) for index in range(amount)]
