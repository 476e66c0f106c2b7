"""What operators of one target share: the lease, and the state of the rollout.

Both are short JSON texts that the provider keeps and swaps atomically, so a second operator is
refused wherever they sit, a rollout can be paused from another machine, and a driver that was
killed goes on from what stands here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

import msgspec

from edgectl.errors import ConflictError, LeaseError
from edgectl.provider import Provider
from edgectl.records import Record, Target
from edgectl.requests import CoordinateRequest
from edgectl.session import operator

LEASE_TTL_S = 60.0
REFRESH_S = 15.0
Phase = Literal["run", "pause", "abort", "rollback", "done"]
T = TypeVar("T", bound=msgspec.Struct)


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


class Lease(Record, frozen=True, kw_only=True):
    """Who works on a target, and when they last said so."""

    by: str
    pid: int
    since: float
    beat: float


# Made at import: msgspec crashes when two threads decode a type for the first time at once, and
# targets are looked at side by side.
_DECODERS: dict[type, msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(kind) for kind in (Control, Lease)
}


class Shared:
    """The two shared texts of one application on one target."""

    def __init__(
        self,
        provider: Provider,
        target: Target,
        application: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._provider = provider
        self._target = target
        self._application = application
        self._clock = clock
        self._lease: str | None = None
        self._beat = 0.0

    def control(self) -> Control | None:
        """Return the rollout's state; None if there never was one."""
        return self._decode(self._read("control"), Control)

    def set_control(self, change: Callable[[Control | None], Control]) -> Control:
        """Change the rollout's state, whoever else writes at the same time.

        Raises:
            ConflictError: Others changed it again and again.
        """
        for _ in range(8):
            text = self._read("control")
            control = change(self._decode(text, Control))
            if self._swap("control", text, _encode(control)):
                return control
        raise ConflictError(f"the rollout on target '{self._target.name}' keeps changing")

    @contextmanager
    def lease(self, taken_over: Callable[[str], None]) -> Iterator[None]:
        """Hold the target while something is rolled out.

        Args:
            taken_over: Told when the lease of an operator that fell silent is taken over.

        Raises:
            LeaseError: Somebody else holds it; the message names them.
        """
        self._acquire(taken_over)
        try:
            yield
        finally:
            if self._lease is not None:
                self._swap("lease", self._lease, None)
                self._lease = None

    def driver(self) -> str:
        """Return who drives the target now, for people; "" if nobody does."""
        held = self._decode(self._read("lease"), Lease)
        return f"{held.by} (process {held.pid})" if held is not None and self._holds(held) else ""

    def refresh(self) -> None:
        """Say that the lease's holder is alive; cheap enough to call at every turn.

        Raises:
            LeaseError: It was taken over.
        """
        now = self._clock()
        if self._lease is None or now - self._beat < REFRESH_S:
            return
        held = self._decode(self._lease, Lease)
        text = _encode(msgspec.structs.replace(held, beat=now)) if held is not None else ""
        if not self._swap("lease", self._lease, text):
            self._lease = None
            raise LeaseError(
                f"the lease on target '{self._target.name}' was taken over by somebody else",
                hint="`edgectl status` shows where the rollout stands",
            )
        self._lease, self._beat = text, now

    def _acquire(self, taken_over: Callable[[str], None]) -> None:
        now = self._clock()
        mine = _encode(Lease(by=operator(), pid=os.getpid(), since=now, beat=now))
        if self._swap("lease", None, mine):
            self._lease, self._beat = mine, now
            return
        text = self._read("lease")
        other = self._decode(text, Lease)
        if other is not None and self._holds(other):
            since = datetime.fromtimestamp(other.since, UTC).strftime("%H:%M:%S UTC")
            raise LeaseError(
                f"{other.by} (process {other.pid}) deploys to target '{self._target.name}' "
                f"since {since}",
                hint="wait for it, or `edgectl abort`; a lease that falls silent ends after "
                f"{LEASE_TTL_S:.0f} s",
            )
        if not self._swap("lease", text, mine):
            raise LeaseError(f"somebody else just began to deploy to '{self._target.name}'")
        taken_over(other.by if other is not None else "nobody")
        self._lease, self._beat = mine, now

    def _holds(self, lease: Lease) -> bool:
        return self._clock() - lease.beat < LEASE_TTL_S and not _is_dead(lease)

    def _read(self, key: str) -> str | None:
        return self._provider.coordinate(
            CoordinateRequest(
                target=self._target, application=self._application, key=key, read_only=True
            )
        ).value

    def _swap(self, key: str, expect: str | None, value: str | None) -> bool:
        return self._provider.coordinate(
            CoordinateRequest(
                target=self._target,
                application=self._application,
                key=key,
                expect=expect,
                value=value,
            )
        ).swapped

    def _decode(self, text: str | None, type_: type[T]) -> T | None:
        if text is None:
            return None
        try:
            found: T = _DECODERS[type_].decode(text)
        except msgspec.DecodeError as exc:
            raise ConflictError(
                f"what stands at target '{self._target.name}' is not ours: {text[:80]!r}"
            ) from exc
        return found


def _is_dead(lease: Lease) -> bool:
    """Whether the holder was a process of this machine and user that is no more."""
    if lease.by != operator():
        return False
    try:
        os.kill(lease.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _encode(value: msgspec.Struct) -> str:
    return msgspec.json.encode(value).decode()
