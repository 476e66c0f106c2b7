"""What every provider's emulator needs: processes, devices as a user adds them, and an end.

The second public surface for plugins beside :mod:`edgectl.api`, for their ``emulator`` packages
only: the way to real devices imports nothing of it.
"""

from __future__ import annotations

from edgectl.emulation.devices import (
    DEFAULT_HARDWARE,
    EDGECTL,
    add_device,
    parse_device,
    settle_device,
)
from edgectl.emulation.processes import Processes
from edgectl.emulation.running import Running, run_until_told

__all__ = [
    "DEFAULT_HARDWARE",
    "EDGECTL",
    "Processes",
    "Running",
    "add_device",
    "parse_device",
    "run_until_told",
    "settle_device",
]
