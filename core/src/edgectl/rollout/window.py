"""Maintenance windows: when a device may be given a release, by the clock on its wall.

A window has days, a beginning and an end in local time; one that ends before it begins runs past
midnight and belongs to the day on which it begins. A time that comes twice when clocks go back is
its first; one that is left out when they go forward is as long after the change (PEP 495).
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from edgectl.records import Record

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)", re.ASCII)


class Window(Record, frozen=True, kw_only=True):
    """When devices may be given a release.

    Attributes:
        begin: Minutes after midnight.
        end: Likewise; not after ``begin`` where the window runs past midnight.
        days: Numbers of the days on which it begins, 0 is Monday.
        zone: The time zone of devices that do not say theirs (IANA name).
        zone_label: The label in which a device says its zone, or "".
    """

    begin: int
    end: int
    days: tuple[int, ...] = tuple(range(7))
    zone: str = "UTC"
    zone_label: str = ""

    def zone_of(self, labels: dict[str, str]) -> str:
        """Return the zone of a device with these labels.

        Raises:
            ValueError: There is no such zone.
        """
        name = labels.get(self.zone_label, self.zone) if self.zone_label else self.zone
        find_zone(name)
        return name

    def opens_at(self, now: float, zone: str) -> float | None:
        """Return when the window opens next, seconds since 1970 UTC; None while it is open."""
        place = find_zone(zone)
        today = datetime.fromtimestamp(now, place).replace(
            hour=0, minute=0, second=0, microsecond=0
        )
        minutes = self.end - self.begin + (1440 if self.end <= self.begin else 0)
        for offset in range(-1, 9):
            day = today + timedelta(days=offset)
            if day.weekday() not in self.days:
                continue
            begin = _moment(day + timedelta(minutes=self.begin), place)
            end = _moment(day + timedelta(minutes=self.begin + minutes), place)
            if begin <= now < end:
                return None
            if now < begin:
                return begin
        raise ValueError("the window has no day")


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
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError) as exc:
        raise ValueError(
            f"there is no time zone '{name[:60]}' (IANA names: Europe/Berlin)"
        ) from exc


def _moment(wall: datetime, zone: ZoneInfo) -> float:
    """Return the first moment at which the clock on the wall has come to this time."""
    # Of a time that comes twice fold 0 is the first; a time that is left out is read with the
    # offset from before the change, which is the same distance behind it.
    return wall.replace(tzinfo=zone, fold=0).timestamp()
