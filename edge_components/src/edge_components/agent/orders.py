"""What to do about an order or a cancellation, given the record; pure.

An action is the hub's, or an import that a person at the device asked for: the hub is told nothing
of those, and gives way to one that is under way.
"""

from __future__ import annotations

import enum

from edge_components.agent.ddi import Deployment
from edge_components.contract.state import Reason
from edge_components.update.record import Outcome, Phase, Record, Update

_IMPORT = "import-"


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


def import_action(number: int) -> str:
    """Return the name in the record of an import of that release."""
    return f"{_IMPORT}{number}"


def is_import(action: str) -> bool:
    """Whether an action is an import; the hub's are numbers."""
    return action.startswith(_IMPORT)


def open_outcome(outcome: Outcome | None) -> Outcome | None:
    """Return the outcome if the hub has still to hear of it, else None."""
    if outcome is None or outcome.delivered or is_import(outcome.action):
        return None
    return outcome


def decide_order(record: Record, action: str, deployment: Deployment) -> OrderDecision:
    """Say what to do about an open action.

    An action that ended is only reported once more. One that runs goes on; another one that is
    ordered meanwhile takes its place, which works until the switch. An import is let finish: its
    release may be higher than the one that is ordered, which would then be refused.
    """
    outcome, update = record.outcome, record.update
    if outcome is not None and outcome.action == action:
        return OrderDecision.REPEAT_OUTCOME
    if update is not None and update.phase is not Phase.HELD:
        if update.action == action or update.phase.is_switched or is_import(update.action):
            return OrderDecision.IGNORE
        return OrderDecision.REPLACE
    if not deployment.may_download():
        return OrderDecision.IGNORE
    if deployment.may_install():
        return OrderDecision.INSTALL
    held = update is not None and update.action == action
    return OrderDecision.IGNORE if held else OrderDecision.DOWNLOAD


def may_give_way(update: Update | None, number: int) -> bool:
    """Whether an update can be put aside for an import of release ``number``.

    The hub's orders can before the switch, unless theirs is a higher release: the import would be
    refused after it.
    """
    if update is None or update.phase is Phase.HELD:
        return True
    if update.phase.is_switched or is_import(update.action):
        return False
    return update.release is None or update.release.number <= number


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
