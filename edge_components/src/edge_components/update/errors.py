"""How a step of an update ends early: refused with a reason, or called off."""

from __future__ import annotations

from edge_components.contract.release import ReleaseDocument
from edge_components.contract.state import Reason


class RefusedError(Exception):
    """A step of an update cannot succeed.

    Attributes:
        reason: What the device reports.
        detail: One sentence for people.
        claimed: What a refused release says of itself; only for the report.
    """

    def __init__(self, reason: Reason, detail: str, claimed: ReleaseDocument | None = None) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail
        self.claimed = claimed


class CalledOffError(Exception):
    """The update was canceled, or the agent is stopping, while a step was under way."""
