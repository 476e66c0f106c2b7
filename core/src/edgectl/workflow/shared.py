"""What operators of one target share: the lease, and the state of the rollout.

Both are short JSON texts that the provider keeps and swaps atomically, so a second operator is
refused wherever they sit, a rollout can be paused from another machine, and a driver that was
killed goes on from what stands here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from edgectl.errors import ConflictError
from edgectl.provider import Provider
from edgectl.records import Record, Target
from edgectl.workflow.holder import Claim, Holder
from edgectl.workflow.lease import Sightings
from edgectl.workflow.texts import Texts, encode

KEY = "control"
Phase = Literal["run", "pause", "abort", "rollback", "done"]


class Control(Record, frozen=True, kw_only=True):
    """A rollout as its operators see it.

    Attributes:
        release: The release that goes out.
        phase: What is wanted of it; ``rollback`` while the version before is brought back.
        baseline: The package that devices had before, or "".
        back: The rollback release's number, once there is one.
        started_at: Seconds since 1970 UTC.
        why: Why it is rolled back, in short.
        waits: The wave after which it waits for approval, or 0.
        approved: The wave up to which an operator has approved.
    """

    release: int
    phase: Phase
    baseline: str = ""
    back: int = 0
    started_at: float = 0.0
    by: str = ""
    why: str = ""
    waits: int = 0
    approved: int = 0


# Made at import: msgspec crashes when two threads decode a type for the first time at once, and
# targets are looked at side by side.
_CONTROLS = msgspec.json.Decoder(Control)


class Shared:
    """The two shared texts of one application on one target.

    Args:
        provider: The target's.
        target: What is shared.
        application: What is rolled out on it.
        clock: Tells the time, seconds since 1970 UTC.
        memory: A folder that remembers since when a lease looks as it does; None remembers nothing.
    """

    def __init__(
        self,
        provider: Provider,
        target: Target,
        application: str,
        clock: Callable[[], float] = time.time,
        *,
        memory: Path | None = None,
    ) -> None:
        self._texts = Texts(provider, target, application)
        seen = None if memory is None else memory / f"{application}@{target.name}.json"
        self._holder = Holder(self._texts, Sightings(seen), clock)

    def control(self) -> Control | None:
        """Return the rollout's state; None if there never was one."""
        return self._control(self._texts.read(KEY))

    def set_control(self, change: Callable[[Control | None], Control]) -> Control:
        """Change the rollout's state, whoever else writes at the same time.

        Raises:
            ConflictError: Others changed it again and again.
        """
        for _ in range(8):
            text = self._texts.read(KEY)
            control = change(self._control(text))
            if self._texts.swap(KEY, text, encode(control)).swapped:
                return control
        raise ConflictError(f"the rollout on target '{self._texts.target.name}' keeps changing")

    @contextmanager
    def lease(self, claim: Claim) -> Iterator[None]:
        """Hold the target while something is rolled out.

        Raises:
            LeaseError: Somebody else holds it; the message names them.
        """
        self._holder.take(claim)
        try:
            yield
        finally:
            self._holder.give_back()

    def driver(self, *, surely: bool = False) -> str:
        """Return who drives the target now, for people; "" if nobody does.

        Args:
            surely: Count only a holder that is known to be alive, not one that may be.
        """
        found = self._holder.other()
        if found is None:
            return ""
        lease, standing = found
        alive = standing == "held" or (standing == "unsure" and not surely)
        return str(lease) if alive else ""

    def refresh(self, *, surely: bool = False) -> None:
        """Say that the lease's holder is alive; cheap enough to call at every turn.

        Args:
            surely: Ask the provider also if it was asked a moment ago: before every change.

        Raises:
            LeaseError: It was taken over; nothing may be changed any more.
        """
        self._holder.refresh(surely=surely)

    def _control(self, text: str | None) -> Control | None:
        return None if text is None else self._texts.decode(text, _CONTROLS)
