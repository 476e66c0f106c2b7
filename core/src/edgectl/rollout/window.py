"""Maintenance windows: when a device may be given a release, by the clock on its wall.

What the hours of a window mean is the contract's (``edge_components.contract.window``); here
stands whose clock it is.
"""

from __future__ import annotations

from edge_components.contract.window import Hours, find_zone
from edgectl.records import Record


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
        hours = Hours(begin=self.begin, end=self.end, days=self.days)
        return hours.opens_at(now, find_zone(zone))
