"""When a target's devices may be given a release, and how they may fetch it."""

from __future__ import annotations

from edge_components.contract.release import NetworkSettings
from edge_components.contract.window import DAYS, Hours, find_zone, parse_clock
from edgectl.project.spec import DownloadWindowSpec, NetworkSpec, WindowSpec
from edgectl.project.validate import InvalidKeyError
from edgectl.rates import parse_rate
from edgectl.rollout.window import Window


def read_window(spec: WindowSpec) -> Window:
    """Return a maintenance window.

    Raises:
        ValueError: A time or the zone is wrong.
    """
    hours = _hours(spec)
    find_zone(spec.timezone)
    return Window(
        begin=hours.begin,
        end=hours.end,
        days=hours.days,
        zone=spec.timezone,
        zone_label=spec.timezone_label,
    )


def read_network(spec: NetworkSpec) -> NetworkSettings | None:
    """Return what devices are told of their network; None where it has no limits.

    Raises:
        InvalidKeyError: With the key below ``network``.
    """
    if spec.bandwidth is None and spec.download_window is None:
        return None
    try:
        bandwidth = 0 if spec.bandwidth is None else parse_rate(spec.bandwidth)
    except ValueError as exc:
        raise InvalidKeyError("bandwidth", str(exc)) from exc
    window = spec.download_window
    if window is None:
        return NetworkSettings(bandwidth=bandwidth)
    try:
        if window.timezone:
            find_zone(window.timezone)
        return NetworkSettings(bandwidth=bandwidth, hours=_hours(window), zone=window.timezone)
    except ValueError as exc:
        raise InvalidKeyError("download_window", str(exc)) from exc


def _hours(spec: WindowSpec | DownloadWindowSpec) -> Hours:
    return Hours(
        begin=parse_clock(spec.begin),
        end=parse_clock(spec.end),
        days=tuple(sorted({DAYS.index(day) for day in spec.days})),
    )
