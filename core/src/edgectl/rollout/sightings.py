"""When a state began, for providers that do not say it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from edgectl.records import DeviceStatus


def fill_since(
    statuses: Iterable[DeviceStatus], earlier: Mapping[str, DeviceStatus], now: float
) -> dict[str, DeviceStatus]:
    """Return the statuses by device, each with a ``since``.

    What the provider says stands. Where it says nothing, a state that was seen before keeps the
    time of that first sight, and a new one begins now. A driver that starts again therefore
    waits longer, never shorter.

    Args:
        statuses: What was observed now.
        earlier: What this function returned for the observation before.
        now: Seconds since 1970 UTC.
    """
    filled: dict[str, DeviceStatus] = {}
    for status in statuses:
        if status.since is not None:
            filled[status.device] = status
            continue
        before = earlier.get(status.device)
        same = (
            before is not None and before.state is status.state and before.release == status.release
        )
        since = before.since if before is not None and same else now
        filled[status.device] = msgspec.structs.replace(status, since=since)
    return filled
