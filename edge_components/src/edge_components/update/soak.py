"""What a new version must not do in its soak; a pure judgement of what is seen."""

from __future__ import annotations

from edge_components.contract.state import Reason
from edge_components.update.errors import RefusedError
from edge_components.update.ports import Health


def soak_fault(
    before: Health, now: Health, *, number: int, unready_s: float, patience_s: float
) -> RefusedError | None:
    """Return why the new version has to go, or None while nothing speaks against it.

    Args:
        before: What was seen when the soak began.
        now: What is seen now.
        number: The release that soaks.
        unready_s: How long the runtime has not answered with it.
        patience_s: How long that may last.
    """
    if now.deaths > before.deaths:
        return RefusedError(
            Reason.RUNTIME_CRASHED, f"the runtime ended in the soak: {now.detail or 'no detail'}"
        )
    if now.errors > before.errors:
        return RefusedError(
            Reason.SOAK_FAILED, f"{now.errors - before.errors} inferences failed in the soak"
        )
    if unready_s > patience_s:
        return RefusedError(
            Reason.RUNTIME_NOT_READY,
            f"release {number} has not answered for {unready_s:.1f} s in the soak",
        )
    return None
