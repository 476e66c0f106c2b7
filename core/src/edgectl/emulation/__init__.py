"""What every provider's emulator needs: processes, devices as a user adds them, and an end.

Of a cloud's own front: certificates, a TLS server, counts, faults and rates. What needs a library
of the extra ``emulation`` is a package below (``edgectl.emulation.mqtt``).

The second public surface for plugins beside :mod:`edgectl.api`, for their ``emulator`` packages
only: the way to real devices imports nothing of it.
"""

from __future__ import annotations

from edgectl.emulation.calls import CallCounts, Calls
from edgectl.emulation.certificates import Authority
from edgectl.emulation.devices import (
    DEFAULT_HARDWARE,
    EDGECTL,
    add_device,
    parse_device,
    settle_device,
)
from edgectl.emulation.faults import DropError, Fault, Faults
from edgectl.emulation.processes import Processes
from edgectl.emulation.running import Running, run_until_told
from edgectl.emulation.telling import tell
from edgectl.emulation.throttle import TokenBuckets
from edgectl.emulation.webserver import WebServer

__all__ = [
    "DEFAULT_HARDWARE",
    "EDGECTL",
    "Authority",
    "CallCounts",
    "Calls",
    "DropError",
    "Fault",
    "Faults",
    "Processes",
    "Running",
    "TokenBuckets",
    "WebServer",
    "add_device",
    "parse_device",
    "run_until_told",
    "settle_device",
    "tell",
]
