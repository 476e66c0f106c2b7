"""What a site's link bears: when a package's files may be fetched, and how fast.

It is kept where bytes are read, so that it holds for whole files, for what is continued and for
deltas alike. Release, manifest and signature are not held back: they are small, and they say what
the limits are.

A device may have no clock that is right. So the rules are:

- A clock that says a time before 2024 was never set. The device waits some minutes for somebody to
  set it, and then fetches: a window of a clock that nobody sets would never open.
- The time is looked at again and again while a device waits, so a clock that is put right counts.
- Nobody waits longer than a window's longest gap by the clock that cannot be set. A window that
  did not open by then is one of a broken clock, and is not kept for the rest of the update.

The rate counts what the program takes; the kernel may hold some 100 kB more of each connection.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

import msgspec

from edge_components.contract.release import NetworkSettings
from edge_components.contract.window import DAYS, find_zone
from edge_components.update.errors import CalledOffError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

_LOG = logging.getLogger(__name__)
SET_SINCE = 1_704_067_200.0
"""2024-01-01T00:00Z: a clock that says less was never set."""
CLOCK_PATIENCE_S = 600.0
"""How long a clock is given to be set."""
SLACK_S = 2 * 3600.0
"""What a change to or from summer time, and a clock that is put right, may add to a gap."""
_LOOK_S = 30.0
_TRUST_S = 1.0
_CHUNK = 64 << 10
_SMALLEST_CHUNK = 1 << 10
_DAY_S = 86_400.0
_UNSET = "waits until its clock is set, to know its download window"


class Clock(Protocol):
    """The time, and how it passes."""

    def wall(self) -> float:
        """Return seconds since 1970 UTC, as far as this machine knows."""

    def steady(self) -> float:
        """Return seconds of a clock that nobody can set."""

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        """Wait; return early, and true, when ``stop`` is set."""


class _SystemClock:
    def wall(self) -> float:
        time.tzset()  # the device's zone may have been changed since the program began
        return time.time()

    def steady(self) -> float:
        return time.monotonic()

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        return stop.wait(seconds)


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """Who hears what a device waits for.

    Attributes:
        told: What was heard last, for one that a restart made deaf.
        tell: Takes what the device waits for, and "" when it waits no more.
    """

    told: str = ""
    tell: Callable[[str], None] = lambda _what: None


class Link:
    """The limits of one device's network during one update; for one thread.

    Args:
        limits: What was signed; None sets no limits.
        listener: Who hears what the device waits for.
        clock: The time.
    """

    def __init__(
        self,
        limits: NetworkSettings | None = None,
        *,
        listener: Listener | None = None,
        clock: Clock | None = None,
    ) -> None:
        limits = limits or NetworkSettings()
        self._rate = limits.bandwidth
        self._hours = limits.hours
        self._place = None if self._hours is None else _place(limits.zone)
        self._listener = listener or Listener()
        self._told = self._listener.told
        self._logged = ""
        self._clock = clock or _SystemClock()
        self._credit = 0.0
        self._counted_at = self._clock.steady()
        self._looked_at = 0.0
        self._opens_in: float | None = None
        self._why = ""
        self._unset_since: float | None = None
        self._shut_since: float | None = None
        self._distrusted = False

    @property
    def chunk_bytes(self) -> int:
        """How many bytes to read at once, so that a slow link is used evenly."""
        if not self._rate:
            return _CHUNK
        return max(_SMALLEST_CHUNK, min(_CHUNK, self._rate // 8))

    def is_open(self) -> bool:
        """Whether files may be fetched now."""
        if self._hours is None:
            return True
        if not self._looked_at or self._clock.steady() - self._looked_at >= _TRUST_S:
            self._look()
        return self._opens_in is None

    def hold(self, stop: threading.Event) -> None:
        """Wait until files may be fetched.

        Raises:
            CalledOffError: ``stop`` was set.
        """
        while self._hours is not None:
            self._look()
            if self._opens_in is None:
                break
            self._say(self._why)
            if self._clock.wait(stop, min(self._opens_in, _LOOK_S)):
                raise CalledOffError
        self._say("")
        if stop.is_set():
            raise CalledOffError

    def spend(self, count: int, stop: threading.Event) -> None:
        """Account for bytes that were read: wait until they are paid for.

        Raises:
            CalledOffError: ``stop`` was set.
        """
        if not self._rate:
            return
        now = self._clock.steady()
        earned = (now - self._counted_at) * self._rate
        # Of a link that stood still at most a second is made up for.
        self._credit = min(self._credit + earned, float(self._rate)) - count
        self._counted_at = now
        if self._credit < 0 and self._clock.wait(stop, -self._credit / self._rate):
            raise CalledOffError

    def _say(self, what: str) -> None:
        if what != self._logged:
            self._logged = what
            _LOG.info("the device %s", what or "need not wait any more")
        if what != self._told:
            self._told = what
            self._listener.tell(what)

    def _look(self) -> None:
        """See when files may be fetched, and why not now."""
        self._looked_at = steady = self._clock.steady()
        self._opens_in, self._why = self._find(self._clock.wall(), steady)
        if self._opens_in is None:
            self._shut_since = None

    def _find(self, now: float, steady: float) -> tuple[float | None, str]:
        if self._hours is None or self._distrusted:
            return None, ""
        if now < SET_SINCE:
            return self._without_clock(steady)
        self._unset_since = None
        opens = self._hours.opens_at(now, self._place)
        if opens is None:
            return None, ""
        since = self._shut_since = steady if self._shut_since is None else self._shut_since
        if steady - since > self._hours.longest_gap_s + SLACK_S:
            self._distrusted = True
            _LOG.warning("the download window did not open: the clock cannot be right")
            return None, ""
        return opens - now, f"waits for its download window until {_wall(opens, now, self._place)}"

    def _without_clock(self, steady: float) -> tuple[float | None, str]:
        since = self._unset_since = steady if self._unset_since is None else self._unset_since
        left = since + CLOCK_PATIENCE_S - steady
        if left > 0:
            return left, _UNSET
        _LOG.warning("the clock was not set: the download window cannot be kept")
        return None, ""


def _place(zone: str) -> ZoneInfo | None:
    """Return the zone of a window's clock; None is the machine's own, as for one it lacks."""
    if not zone:
        return None
    try:
        return find_zone(zone)
    except ValueError as exc:
        _LOG.warning("%s; the download window goes by the device's own clock", exc)
        return None


def _wall(moment: float, now: float, place: ZoneInfo | None) -> str:
    found = datetime.fromtimestamp(moment, place)
    day = "" if moment - now < _DAY_S else f"{DAYS[found.weekday()].capitalize()} "
    return f"{day}{found:%H:%M}"
