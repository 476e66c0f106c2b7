"""What to do about an order or a cancellation, given the record; pure."""

from __future__ import annotations

import enum

from edge_components.agent.ddi import Deployment
from edge_components.contract.state import Reason
from edge_components.update.record import Phase, Record


class OrderDecision(enum.Enum):
    """What an open action asks of the agent now."""

    IGNORE = enum.auto()
    REPEAT_OUTCOME = enum.auto()
    REPLACE = enum.auto()
    DOWNLOAD = enum.auto()
    INSTALL = enum.auto()


class CancelDecision(enum.Enum):
    """What a cancellation asks of the agent now."""

    ACCEPT = enum.auto()
    ACCEPTED_BY_UPDATE = enum.auto()
    REJECT = enum.auto()
    INTERRUPT = enum.auto()


def decide_order(record: Record, action: str, deployment: Deployment) -> OrderDecision:
    """Say what to do about an open action.

    An action that ended is only reported once more. One that runs goes on; another one that is
    ordered meanwhile takes its place, which works until the switch.
    """
    outcome, update = record.outcome, record.update
    if outcome is not None and outcome.action == action:
        return OrderDecision.REPEAT_OUTCOME
    if update is not None and update.phase is not Phase.HELD:
        if update.action == action or update.phase.is_switched:
            return OrderDecision.IGNORE
        return OrderDecision.REPLACE
    if not deployment.may_download():
        return OrderDecision.IGNORE
    if deployment.may_install():
        return OrderDecision.INSTALL
    held = update is not None and update.action == action
    return OrderDecision.IGNORE if held else OrderDecision.DOWNLOAD


def decide_cancel(record: Record, action: str) -> CancelDecision:
    """Say what to do about the cancellation of ``action``."""
    outcome, update = record.outcome, record.update
    if update is not None and update.action == action:
        return CancelDecision.REJECT if update.phase.is_switched else CancelDecision.INTERRUPT
    if outcome is not None and outcome.action == action:
        if outcome.reason is Reason.CANCELED:
            return CancelDecision.ACCEPTED_BY_UPDATE
        return CancelDecision.REJECT
    return CancelDecision.ACCEPT
