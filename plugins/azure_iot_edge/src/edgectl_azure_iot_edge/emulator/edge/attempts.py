"""Decides whether a step of the plan is taken now, later, or never again for this deployment.

As the agent does (OrderedRetryPlanRunner): each failure of a step doubles the pause before the next
try, without a bound, and another version of the deployment makes it forget. So a device whose pulls
failed often enough is stuck until it gets a new version or its agent starts anew (iotedge#6971).
"""

from __future__ import annotations

from collections.abc import Iterable

from edgectl.api import Record
from edgectl_azure_iot_edge.emulator.edge.planner import Step
from edgectl_azure_iot_edge.emulator.edge.restarts import Pace


class _Tried(Record, frozen=True, kw_only=True):
    times: int
    at: float
    message: str


class Attempts:
    """What became of the steps of one deployment."""

    def __init__(self) -> None:
        self._version: int | None = None
        self._tried: dict[str, _Tried] = {}

    def begin(self, version: int) -> None:
        """Forget everything when the deployment is another."""
        if self._version != version:
            self._tried.clear()
            self._version = version

    def refusal(self, step: Step, now: float, pace: Pace) -> str:
        """Return why a step is not taken now, "" when it is."""
        tried = self._tried.get(step.show)
        if tried is None:
            return ""
        if tried.times >= pace.max_restarts:
            return (
                f"Step previously failed in deployment {self._version} on prior attempt."
                f" Not running command {step.show}. Skipping remaining commands in deployment."
            )
        gone = now - tried.at
        return "" if gone < 0 or gone > pace.unit_s * 2.0**tried.times else tried.message

    def failed(self, step: Step, now: float, message: str) -> None:
        """Take note of a failure."""
        tried = self._tried.get(step.show)
        times = tried.times + 1 if tried else 1
        self._tried[step.show] = _Tried(times=times, at=now, message=message)

    def done(self, step: Step) -> None:
        """Take note of a success."""
        self._tried.pop(step.show, None)


def told(messages: Iterable[str]) -> str:
    """Return failures as one description, as .NET words an AggregateException."""
    each = list(messages)
    if len(each) == 1 and each[0].startswith("Step previously failed"):
        return each[0]
    return "One or more errors occurred. " + " ".join(f"({message})" for message in each)
