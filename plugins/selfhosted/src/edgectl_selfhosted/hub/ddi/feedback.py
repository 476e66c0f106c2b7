"""What a device's feedback means for its action; pure tables.

Sources: hawkBit's DDI feedback for ``deploymentBase`` and for ``cancelAction``.
"""

from __future__ import annotations

import enum
from typing import Annotated, Literal

import msgspec

from edgectl_selfhosted.hub.store import actions

Execution = Literal[
    "closed",
    "proceeding",
    "canceled",
    "scheduled",
    "rejected",
    "resumed",
    "downloaded",
    "download",
]
Int32 = Annotated[int, msgspec.Meta(ge=-(1 << 31), lt=1 << 31)]


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far the device is."""

    cnt: Int32
    of: Int32 | None = None


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How an execution ended, if it did."""

    finished: Literal["success", "failure", "none"]
    progress: Progress | None = None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What the device is doing."""

    execution: Execution
    result: Result
    code: Int32 | None = None
    details: list[str] | None = None


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """A device's feedback; ``timestamp`` is the device's own clock, milliseconds."""

    status: Status
    timestamp: int | None = None
    time: str | None = None


class End(enum.Enum):
    """What happens to the action."""

    OPEN = "open"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELED = "canceled"
    BACK_TO_RUNNING = "back to running"


class Meaning(msgspec.Struct, frozen=True, kw_only=True):
    """The word for the action's history, and what happens to the action."""

    status: str
    end: End = End.OPEN


def of_deployment(feedback: Feedback) -> Meaning:
    """Return what feedback on an update means."""
    failed = feedback.status.result.finished == "failure"
    match feedback.status.execution:
        case "closed":
            if failed:
                return Meaning(status=actions.ERROR, end=End.FAILED)
            return Meaning(status=actions.FINISHED, end=End.FINISHED)
        case "canceled":
            return Meaning(status=actions.CANCELED, end=End.CANCELED)
        case "rejected":
            return Meaning(status="warning")
        case "download" | "downloaded" as word:
            return Meaning(status=word)
        case "proceeding" | "scheduled" | "resumed":
            return Meaning(status=actions.RUNNING)


def of_cancelation(feedback: Feedback) -> Meaning:
    """Return what feedback on a cancelation means."""
    match feedback.status.execution:
        case "closed" | "canceled":
            if feedback.status.result.finished == "failure":
                return Meaning(status=actions.ERROR, end=End.BACK_TO_RUNNING)
            return Meaning(status=actions.CANCELED, end=End.CANCELED)
        case "rejected":
            return Meaning(status=actions.CANCEL_REJECTED, end=End.BACK_TO_RUNNING)
        case _:
            return Meaning(status=actions.RUNNING)


def messages(feedback: Feedback, *, limit: int, max_chars: int) -> tuple[str, ...]:
    """Return what is kept of the device's own words, and its progress."""
    found = [text[:max_chars] for text in (feedback.status.details or [])[:limit]]
    progress = feedback.status.result.progress
    if progress is not None and len(found) < limit:
        found.append(f"Progress {progress.cnt} of {progress.of or '?'}")
    return tuple(found)
