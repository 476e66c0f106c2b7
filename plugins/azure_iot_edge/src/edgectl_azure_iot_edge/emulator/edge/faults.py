"""What can be wrong with a virtual device: read from ``faults.json`` in its folder, at any time.

A test or a teacher writes the file while the device runs; nothing has to be started anew.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import msgspec

from edgectl.api import Record

FILE = "faults.json"


class DeviceFaults(Record, frozen=True, kw_only=True):
    """What is wrong.

    Attributes:
        network_cut: Nothing beyond the device answers: neither hub nor registry, and not to
            its modules either.
        pull_delay_s: How much longer each pull of an image takes.
        disk_bytes: How large the disk seems that images are kept on, or None for what it is.
        crash_after_s: Module → it is killed so long after each start.
        link_bytes_per_s: How fast modules get what they fetch, or None for no limit.
        skew_s: How far the device's clock goes ahead (below 0: behind).
    """

    network_cut: bool = False
    pull_delay_s: float = 0.0
    disk_bytes: int | None = None
    crash_after_s: dict[str, float] = {}
    link_bytes_per_s: float | None = None
    skew_s: float = 0.0


NONE = DeviceFaults()


class FaultFile:
    """Looks at the file whenever it is asked, cheaply."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        self._stamp: tuple[int, int] | None = None
        self._now = NONE

    @property
    def now(self) -> DeviceFaults:
        """What is wrong now; what cannot be read changes nothing."""
        try:
            stat = self._file.stat()
        except OSError:
            self._stamp, self._now = None, NONE
            return NONE
        stamp = (stat.st_mtime_ns, stat.st_ino)
        if stamp != self._stamp:
            with contextlib.suppress(OSError, msgspec.DecodeError):
                self._now = msgspec.json.decode(self._file.read_bytes(), type=DeviceFaults)
                self._stamp = stamp
        return self._now

    def clock(self) -> float:
        """Return the device's time in seconds of the epoch."""
        return time.time() + self.now.skew_s


def write_faults(folder: Path, faults: DeviceFaults) -> None:
    """Make something wrong with the device of a folder, from any process."""
    part = folder / f"{FILE}.part"
    part.write_bytes(msgspec.json.encode(faults))
    part.replace(folder / FILE)
