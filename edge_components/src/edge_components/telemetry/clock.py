"""The device's clock against the time since its start: what a jump did to a record's time.

A device without a battery-backed clock begins in 1970 and jumps when it finds a time server. The
time since the start does not jump, so a record of this start is dated again when it is sent; one
of an earlier start with an impossible date can only be marked.
"""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from edge_components.contract.telemetry import TelemetryRecord

JUMP_S = 2.0
FLOOR_UNIX_S = 1_704_067_200.0  # 2024: this program is younger
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
SHIFT = "clock.shift_s"
SUSPECT = "clock.suspect"


class Moment(msgspec.Struct, frozen=True):
    """What the clocks said together.

    Attributes:
        boot: The kernel's name for this start of the device, or "" where it has none.
        offset_s: The clock less the seconds since the start; it changes when the clock is set.
    """

    boot: str
    offset_s: float


class Clock:
    """The two clocks of this device."""

    def __init__(self) -> None:
        try:
            self._boot = BOOT_ID.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            self._boot = ""
        # Not every system counts suspended time; those that do not lose no jump, but find one.
        self._since_start = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

    def unix_s(self) -> float:
        """Return the device's time."""
        return time.time()

    def now(self) -> Moment:
        """Return what the clocks say."""
        return Moment(self._boot, self.unix_s() - time.clock_gettime(self._since_start))


def shift_s(then: Moment, now: Moment) -> float | None:
    """Return by how much the clock was set since ``then``; None if it is another start."""
    return now.offset_s - then.offset_s if then.boot and then.boot == now.boot else None


def dated(record: TelemetryRecord, then: Moment, now: Moment) -> TelemetryRecord:
    """Return the record with the time that the clock of now gives it, and a mark if it differs."""
    shift = shift_s(then, now)
    moved = shift is not None and abs(shift) > JUMP_S
    by_ns = int(shift * 1e9) if shift is not None and moved else 0
    time_ns = record.time_unix_ns + by_ns
    is_suspect = time_ns < FLOOR_UNIX_S * 1e9
    if not moved and not is_suspect:
        return record
    marks = dict(record.attributes)
    if shift is not None and moved:
        marks[SHIFT] = round(shift, 3)
    if is_suspect:
        marks[SUSPECT] = True
    queued_ns = record.queued_unix_ns + by_ns if record.queued_unix_ns else 0
    return msgspec.structs.replace(
        record, time_unix_ns=time_ns, queued_unix_ns=queued_ns, attributes=marks
    )
