"""Which devices get the release together.

Devices stand in the order of ``sha256(application, 0, device id)``, and waves are slices of that
order. So every machine and every re-run picks the same devices for the same set, each application
starts with other devices, and nobody can know by a device's name that it will be first.

When the set changes, a device that joins takes its own place in the order. The devices behind it
move one place, so at each boundary between two waves at most one device changes its wave, and
only to a neighbour (a percentage of a larger fleet may move the boundary along by one instead).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from edgectl.rollout.policy import WaveSize

Waves = tuple[tuple[str, ...], ...]


def wave_order(application: str, devices: Iterable[str]) -> list[str]:
    """Return the devices in the application's own stable order; doubles count once."""
    prefix = hashlib.sha256(application.encode() + b"\0")

    def place(device: str) -> tuple[bytes, str]:
        own = prefix.copy()
        own.update(device.encode())
        return own.digest(), device

    return sorted(set(devices), key=place)


def choose_waves(sizes: Sequence[WaveSize], application: str, devices: Iterable[str]) -> Waves:
    """Slice the devices into waves; none is empty, and every device is in exactly one.

    Args:
        sizes: Cumulative sizes; what is left after the last is a wave of its own.
        application: The application's name, part of the order.
        devices: The target's devices in any order.
    """
    ordered = wave_order(application, devices)
    waves: list[tuple[str, ...]] = []
    start = 0
    for end in (*(size.of(len(ordered)) for size in sizes), len(ordered)):
        if end > start:
            waves.append(tuple(ordered[start:end]))
            start = end
    return tuple(waves)
