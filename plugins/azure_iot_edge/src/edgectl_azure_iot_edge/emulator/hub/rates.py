"""The documented request rates of a hub, by tier and units.

Source: learn.microsoft.com/azure/iot-hub/iot-hub-devguide-quotas-throttling, "Operation throttles".
They are given for a minute or a second; a bucket holds as much, so a burst of one minute's calls
passes. What is over the rate of a second waits a little, as in a real hub's queue ("traffic
shaping"), and is refused when it waited for long; what is over the rate of a minute is refused at
once here, where a real hub lets some more pass.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from edgectl.emulation import TokenBuckets
from edgectl_azure_iot_edge.emulator.hub.errors import throttled
from edgectl_azure_iot_edge.emulator.hub.settings import HubSettings

REGISTRY, QUERY, CONFIGURATION = "Registry", "Query", "Configuration"
TWIN_READ, TWIN_WRITE, JOB, METHOD = "TwinRead", "TwinWrite", "Job", "DirectMethod"
CONNECT, SEND, JOB_DEVICE = "Connect", "D2CSend", "JobDevice"
METER_BYTES = 4 << 10
MAX_QUEUED_S = 10.0
_MINUTE_S = 60.0
_LOOK_S = 0.05
_HUNDRED = 100.0


def rates(settings: HubSettings) -> dict[str, float]:
    """Return calls a second by kind; direct methods in meters of 4 KB."""
    size = int(settings.tier[1])
    units = float(settings.units)
    large = size == 3
    kb = {1: 160.0, 2: 480.0, 3: 24_576.0}[size]
    return {
        REGISTRY: (5_000 if large else 100) * units / _MINUTE_S,
        QUERY: (1_000 if large else 20) * units / _MINUTE_S,
        CONFIGURATION: 20 * units / _MINUTE_S,
        JOB: (5_000 if large else 100) * units / _MINUTE_S,
        TWIN_READ: _by_size(size, units, _HUNDRED, 10.0, 500.0),
        TWIN_WRITE: _by_size(size, units, 50.0, 5.0, 250.0),
        JOB_DEVICE: _by_size(size, units, 10.0, 1.0, 50.0),
        CONNECT: {1: max(_HUNDRED, 12 * units), 2: 120 * units, 3: 6_000 * units}[size],
        SEND: {1: max(_HUNDRED, 12 * units), 2: 120 * units, 3: 6_000 * units}[size],
        METHOD: kb * 1024 / METER_BYTES * units,
    }


def _by_size(size: int, units: float, flat: float, each: float, large: float) -> float:
    return {1: flat, 2: max(flat, each * units), 3: large * units}[size]


class Rates:
    """The buckets of a hub: those of a minute, and those of a second."""

    MINUTE = frozenset({REGISTRY, QUERY, CONFIGURATION, JOB})

    def __init__(self, settings: HubSettings) -> None:
        self._enforced = settings.throttle
        self.replace(rates(settings))

    def replace(self, wanted: Mapping[str, float]) -> None:
        """Set other rates, calls a second by kind."""
        minute = {kind: rate for kind, rate in wanted.items() if kind in self.MINUTE}
        second = {kind: rate for kind, rate in wanted.items() if kind not in self.MINUTE}
        self.current = dict(wanted)
        self._minute = TokenBuckets(minute, burst_s=_MINUTE_S)
        self._second = TokenBuckets(second)

    def take(self, kind: str, operation: str, cost: float = 1.0) -> None:
        """Take a call out of its bucket, waiting for it where the hub would.

        Raises:
            HubError: It is one too many.
        """
        if not self._enforced:
            return
        until = time.monotonic() + (0.0 if kind in self.MINUTE else MAX_QUEUED_S)
        while self.wait_s(kind, cost) > 0.0:
            if time.monotonic() >= until:
                raise throttled(operation)
            time.sleep(_LOOK_S)

    def wait_s(self, kind: str, cost: float = 1.0) -> float:
        """Take a call out of its bucket, or return how long it has to wait."""
        buckets = self._minute if kind in self.MINUTE else self._second
        return buckets.take((kind,), cost)
