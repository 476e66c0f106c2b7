"""How a deploy went on each target, and the exit code of all of them."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from edgectl.errors import EdgectlError
from edgectl.records import Record
from edgectl.rollout.verdict import Verdict
from edgectl.workflow.plan import Plan, Refusal, TargetPlan


class TargetResult(Record, frozen=True, kw_only=True):
    """How it went on one target: a verdict, or the error that stopped it.

    Attributes:
        verdict: None if the driver did not wait, or failed.
        driven_by: Who else drives the release already, or "".
        waits_for: What the target waits for before it begins, or "".
        error: One sentence, or "".
        vendor_code: The provider's own code for the error, or "".
    """

    target: str
    provider: str
    release: int
    package: str
    verdict: Verdict | None = None
    driven_by: str = ""
    waits_for: str = ""
    error: str = ""
    hint: str = ""
    vendor_code: str = ""
    error_exit_code: int = 0

    @property
    def exit_code(self) -> int:
        """What this target contributes to the command's exit code."""
        if self.error:
            return self.error_exit_code
        return self.verdict.exit_code if self.verdict is not None else 0


def exit_code(results: Iterable[TargetResult]) -> int:
    """Return the command's exit code: the gravest of its targets'."""
    gravity = [0, 3, 5, 6, 4, 1]
    return max((r.exit_code for r in results), key=gravity.index, default=0)


def result_of(plan: Plan, one: TargetPlan | Refusal) -> TargetResult:
    """Return the result of a target with which nothing has come of its plan yet."""
    return TargetResult(
        target=one.target,
        provider=one.provider,
        release=plan.release_of(one.target),
        package=plan.package,
    )


def refused(plan: Plan, one: Refusal) -> TargetResult:
    """Return the result of a target that could not be planned for."""
    return msgspec.structs.replace(
        result_of(plan, one),
        error=one.error,
        hint=one.hint,
        vendor_code=one.vendor_code,
        error_exit_code=one.exit_code,
    )


def failed(result: TargetResult, error: EdgectlError) -> TargetResult:
    """Return a result with the error that stopped its target."""
    return msgspec.structs.replace(
        result,
        error=error.message,
        hint=error.hint,
        vendor_code=error.vendor_code,
        error_exit_code=error.exit_code,
    )


def stopped(plan: Plan, one: TargetPlan, by: str) -> TargetResult:
    """Return the result of a target that another one's failure stopped."""
    return msgspec.structs.replace(
        result_of(plan, one),
        error=f"stopped where it is, because target '{by}' failed",
        hint="`edgectl deploy` goes on; without --fail-fast targets do not stop each other",
        error_exit_code=EdgectlError.exit_code,
    )
