"""Hours of the week, by the clock on a wall: what both sides mean by a window.

A window has days, a beginning and an end in local time; one that ends before it begins runs past
midnight and belongs to the day on which it begins. A time that comes twice when clocks go back is
its first; one that is left out when they go forward is as long after the change (PEP 495).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
_DAY_MINUTES = 1440


class Hours(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When, every week.

    Attributes:
        begin: Minutes after midnight.
        end: Likewise; not after ``begin`` where the window runs past midnight.
        days: Numbers of the days on which it begins, 0 is Monday.
    """

    begin: int
    end: int
    days: tuple[int, ...]

    @property
    def minutes(self) -> int:
        """How long the window is open."""
        return self.end - self.begin + (_DAY_MINUTES if self.end <= self.begin else 0)

    @property
    def longest_gap_s(self) -> float:
        """Seconds from one beginning to the next at most, without a change of clocks."""
        days = sorted(set(self.days))
        following = [*days[1:], days[0] + 7]
        return 86_400.0 * max(after - day for day, after in zip(days, following, strict=True))

    def opens_at(self, now: float, place: ZoneInfo | None) -> float | None:
        """Return when the window opens next, seconds since 1970 UTC; None while it is open.

        Args:
            now: Seconds since 1970 UTC.
            place: The time zone of the wall; None is this machine's.

        Raises:
            ValueError: The window has no day.
        """
        for begin, end in self._nearby(now, place):
            if begin <= now < end:
                return None
            if now < begin:
                return begin
        raise ValueError("the window has no day")

    def closes_at(self, now: float, place: ZoneInfo | None) -> float | None:
        """Return when the window that is open now closes; None while it is closed."""
        ends = [end for begin, end in self._nearby(now, place) if begin <= now < end]
        return max(ends, default=None)

    def _nearby(self, now: float, place: ZoneInfo | None) -> Iterator[tuple[float, float]]:
        """Yield the windows from yesterday's on, as seconds since 1970 UTC."""
        today = datetime.fromtimestamp(now, place).replace(
            hour=0, minute=0, second=0, microsecond=0
        )
        for offset in range(-1, 9):
            day = today + timedelta(days=offset)
            if day.weekday() in self.days:
                yield (
                    _moment(day + timedelta(minutes=self.begin), place),
                    _moment(day + timedelta(minutes=self.begin + self.minutes), place),
                )


def parse_clock(text: str) -> int:
    """Return minutes after midnight.

    Raises:
        ValueError: It is not a time like 22:30.
    """
    match = _CLOCK.fullmatch(text)
    if match is None:
        raise ValueError(f"'{text[:20]}' is not a time of the day, such as '22:30'")
    return int(match[1]) * 60 + int(match[2])


@lru_cache(maxsize=512)
def find_zone(name: str) -> ZoneInfo:
    """Return a time zone.

    Raises:
        ValueError: There is no such zone, or this machine has no zones at all.
    """
    # The runtime reads releases, and has no use for a window.
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - see above

    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError) as exc:
        raise ValueError(
            f"there is no time zone '{name[:60]}' (IANA names: Europe/Berlin)"
        ) from exc


def _moment(wall: datetime, place: ZoneInfo | None) -> float:
    """Return the first moment at which the clock on the wall has come to this time."""
    # Of a time that comes twice fold 0 is the first; a time that is left out is read with the
    # offset from before the change, which is the same distance behind it.
    return wall.replace(tzinfo=place, fold=0).timestamp()
