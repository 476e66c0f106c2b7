"""The lease on a target: what stands in it, and when somebody else may take it.

The clocks of two operators' machines differ, so the time that a holder wrote is only a hint. That
a lease is abandoned is judged by the watcher's own clock: its text did not change for longer than
its holder promised, though every sign of life changes it. Nothing here talks to a provider.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from edgectl.records import Record
from edgectl.session import operator

LEASE_TTL_S = 60.0
REFRESH_S = 15.0
SKEW_S = 5.0
"""A sign of life from the future by more than this shows that the clocks differ."""
Standing = Literal["held", "abandoned", "unsure"]


class Lease(Record, frozen=True, kw_only=True):
    """Who works on a target, and when they last said so, by their own clock.

    Attributes:
        by: ``user@host``.
        since: When they took it, seconds since 1970 UTC.
        beat: When they last said that they are alive.
        turn: Counts the signs of life, so that each changes the text whatever the clock does.
        place: Whose processes can see each other by number (``place``); "" is not known.
        ttl_s: For how long it may stay unchanged while its holder lives.
    """

    by: str
    pid: int
    since: float
    beat: float
    turn: int = 0
    place: str = ""
    ttl_s: float = LEASE_TTL_S

    def __str__(self) -> str:
        """Say who and where."""
        return f"{self.by} (process {self.pid})"

    @property
    def begun(self) -> str:
        """Since when, for people."""
        return datetime.fromtimestamp(self.since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")

    def is_of(self, other: Lease) -> bool:
        """Whether it is the same holder's, at another turn."""
        mine, theirs = (
            msgspec.structs.replace(one, beat=0.0, turn=0, ttl_s=0.0) for one in (self, other)
        )
        return mine == theirs


class Takeover(Record, frozen=True, kw_only=True):
    """A lease that was taken from its holder, and why that was right."""

    holder: Lease
    why: str

    @property
    def facts(self) -> dict[str, str]:
        """What the journal keeps of it."""
        return {"holder": str(self.holder), "since": self.holder.begun, "why": self.why}


def new_lease(now: float) -> Lease:
    """Return the lease of this process."""
    return Lease(by=operator(), pid=os.getpid(), since=now, beat=now, place=place())


def judge(lease: Lease, *, now: float, unchanged_s: float) -> Standing:
    """Say whether a lease's holder is alive.

    Args:
        lease: Somebody else's.
        now: The watcher's time, seconds since 1970 UTC.
        unchanged_s: For how long the watcher has seen the same text, by the watcher's own clock.
    """
    if is_dead(lease) or unchanged_s >= lease.ttl_s:
        return "abandoned"
    if -SKEW_S <= now - lease.beat < lease.ttl_s:
        return "held"
    return "unsure"


def is_dead(lease: Lease) -> bool:
    """Whether the holder was a process that this one could see, and is no more."""
    here = place()
    if lease.place != here or (not here and lease.by != operator()):
        return False
    try:
        os.kill(lease.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def place() -> str:
    """Return a name for all processes that see each other by number.

    Two containers of one machine may have one host name and the same process numbers, so it is
    the kernel's boot and its namespace of process numbers. It is "" where there is no ``/proc``.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        space = Path("/proc/self/ns/pid").readlink()
    except OSError:
        return ""
    return hashlib.sha256(f"{boot} {space}".encode()).hexdigest()[:12]


class Sighting(Record, frozen=True, kw_only=True):
    """When a lease's text was first seen, by the clock of this machine since it was started."""

    text: str
    machine: str
    at: float


# Made at import: msgspec crashes when two threads decode a type for the first time at once.
_SIGHTINGS = msgspec.json.Decoder(Sighting)


class Sightings:
    """Remembers since when a lease looks as it does, over the calls of one operator.

    Args:
        path: Where it is kept for the next command; None keeps it for this one only.
        clock: Counts seconds; never set, and the same for all processes of a machine.
    """

    def __init__(
        self, path: Path | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = path
        self._clock = clock
        self._machine = place() or socket.gethostname()
        self._seen = self._read()

    def unchanged_s(self, text: str) -> float:
        """Return for how long the lease is known to have had this text."""
        now, seen = self._clock(), self._seen
        digest = hashlib.sha256(text.encode()).hexdigest()
        same = seen is not None and (seen.text, seen.machine) == (digest, self._machine)
        if seen is not None and same and seen.at <= now:
            return now - seen.at
        self._seen = Sighting(text=digest, machine=self._machine, at=now)
        self._write(self._seen)
        return 0.0

    def _read(self) -> Sighting | None:
        if self._path is None:
            return None
        try:
            return _SIGHTINGS.decode(self._path.read_bytes())
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None  # it only saves a wait

    def _write(self, seen: Sighting) -> None:
        if self._path is None:
            return
        with contextlib.suppress(OSError):  # it only saves a wait
            self._path.parent.mkdir(parents=True, exist_ok=True)
            part = self._path.with_name(f"{self._path.name}.{os.getpid()}")
            part.write_bytes(msgspec.json.encode(seen))
            part.replace(self._path)
