"""Jobs and their executions as the store keeps them, and the rules that need no store.

Statuses and transitions: AWS IoT developer guide, "Job execution states"; rollout and abort:
"Job rollout and abort configurations".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from edgectl_aws_greengrass.emulator.ports import JobExecution
from edgectl_aws_greengrass.emulator.wire import Params

TERMINAL = frozenset({"SUCCEEDED", "FAILED", "TIMED_OUT", "REJECTED", "REMOVED", "CANCELED"})
REPORTABLE = frozenset({"IN_PROGRESS", "SUCCEEDED", "FAILED", "REJECTED"})
DEFAULT_RATE = 1000
"""Things a minute when the job says nothing, which is also the most that it may say."""


@dataclass
class Execution:
    """One thing's execution of a job.

    Attributes:
        deadline: When IN_PROGRESS becomes TIMED_OUT, seconds of the epoch.
    """

    job_id: str
    thing: str
    queued_at: float
    number: int
    status: str = "QUEUED"
    version: int = 1
    updated_at: float = 0.0
    started_at: float | None = None
    deadline: float | None = None
    details: dict[str, str] = field(default_factory=dict)
    force_canceled: bool = False

    def shown(self, document: str) -> JobExecution:
        """Return it as devices see it."""
        return JobExecution(
            job_id=self.job_id,
            thing=self.thing,
            status=self.status,
            document=document,
            number=self.number,
            version=self.version,
            queued_at=int(self.queued_at),
            updated_at=int(self.updated_at),
            started_at=int(self.started_at) if self.started_at is not None else None,
            details=dict(self.details),
        )

    def change(self, status: str, now: float, details: dict[str, str] | None = None) -> None:
        """Move to a status and count the version up."""
        if status == "IN_PROGRESS" and self.started_at is None:
            self.started_at = now
        if status in TERMINAL:
            self.deadline = None
        self.status = status
        self.updated_at = now
        self.version += 1
        if details is not None:
            self.details = dict(details)


@dataclass
class Job:
    """A job.

    Attributes:
        waiting: Things that were members at creation and have not been told yet.
        notified: How many of those were told.
        window: When the running minute began and how many were told in it.
        rate: Things a minute now; an exponential rollout raises it.
        raised: How often it was raised.
    """

    id: str
    arn: str
    targets: tuple[str, ...]
    document: str
    namespace: str | None
    continuous: bool
    created: float
    description: str = ""
    rollout: Params = field(default_factory=dict)
    abort: Params = field(default_factory=dict)
    timeout_minutes: int | None = None
    status: str = "IN_PROGRESS"
    comment: str | None = None
    reason_code: str | None = None
    forced: bool = False
    updated: float = 0.0
    completed: float | None = None
    waiting: list[str] = field(default_factory=list)
    notified: int = 0
    window: tuple[float, int] = (0.0, 0)
    rate: float = DEFAULT_RATE
    raised: int = 0

    def __post_init__(self) -> None:
        exponential = self.rollout.get("exponentialRate")
        most = self.rollout.get("maximumPerMinute") or DEFAULT_RATE
        self.rate = exponential["baseRatePerMinute"] if exponential else most
        self.updated = self.created

    def raise_rate(self, succeeded: int) -> None:
        """Apply the rate increase criteria of an exponential rollout."""
        exponential = self.rollout.get("exponentialRate")
        if not exponential:
            return
        criteria = exponential["rateIncreaseCriteria"]
        step = criteria.get("numberOfNotifiedThings") or criteria.get("numberOfSucceededThings")
        reached = self.notified if criteria.get("numberOfNotifiedThings") else succeeded
        most = self.rollout.get("maximumPerMinute") or DEFAULT_RATE
        while reached >= step * (self.raised + 1) and self.rate < most:
            self.raised += 1
            self.rate = min(self.rate * exponential["incrementFactor"], most)

    def release(self, now: float, minute_s: float) -> list[str]:
        """Take the things that may be told now out of those that wait."""
        started, told = self.window
        if now >= started + minute_s:
            started, told = now, 0
        count = max(min(int(self.rate) - told, len(self.waiting)), 0)
        released, self.waiting = self.waiting[:count], self.waiting[count:]
        self.window = (started, told + count)
        self.notified += count
        return released


def counts(executions: Iterable[Execution]) -> Counter[str]:
    """Count executions by status."""
    return Counter(execution.status for execution in executions)


def must_abort(criteria: Params, found: Counter[str]) -> bool:
    """Say whether a job's abort criteria are met by its executions so far."""
    failures = {
        "FAILED": found["FAILED"],
        "REJECTED": found["REJECTED"],
        "TIMED_OUT": found["TIMED_OUT"],
    }
    failures["ALL"] = sum(failures.values())
    executed = failures["ALL"] + found["SUCCEEDED"]
    for criterion in criteria.get("criteriaList") or ():
        if executed < max(criterion["minNumberOfExecutedThings"], 1):
            continue
        if (
            100.0 * failures[criterion["failureType"]] / executed
            >= criterion["thresholdPercentage"]
        ):
            return True
    return False
