"""What the states of a wave's devices come to, and whether its failures are too many.

A device is *judged* when it came to an end that tells something about the release: healthy or
failed. Devices that were skipped, superseded or written off as unreachable tell nothing, so they
neither fail a wave nor dilute its failures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec

from edge_components.contract.state import Reason, State
from edgectl.records import DeviceStatus
from edgectl.rollout.policy import FailureThreshold

SAID = 3
"""Ends of windows that are named; devices of more time zones than that are others."""


class Tally(msgspec.Struct, kw_only=True):
    """The devices of one wave, or of all waves together.

    Attributes:
        size: All of them.
        open: Never given the release, in wave order.
        busy: Given it, and neither settled nor written off.
        healthy: Healthy devices.
        failed: Devices on which it did not take.
        healthy_first: When the first of them became healthy; None for none.
        healthy_since: When the last did; None for none.
        grace_ends: When the next silent device is written off; None for none.
        waits: Busy devices whose download waits for its window, by what they say of it.
    """

    size: int = 0
    open: list[str] = msgspec.field(default_factory=list)
    busy: int = 0
    healthy: int = 0
    failed: int = 0
    healthy_first: float | None = None
    healthy_since: float | None = None
    grace_ends: float | None = None
    waits: Counter[str] = msgspec.field(default_factory=Counter)

    @property
    def judged(self) -> int:
        """Devices that tell something about the release."""
        return self.healthy + self.failed

    @property
    def is_over(self) -> bool:
        """Whether every device was given the release and none is waited for."""
        return not self.open and not self.busy


def tally_wave(
    devices: Iterable[str], statuses: Mapping[str, DeviceStatus], *, now: float, grace_s: float
) -> Tally:
    """Count a wave.

    Args:
        devices: The wave's devices.
        statuses: Where each device stands with the release; missing if it never got it.
        now: Seconds since 1970 UTC.
        grace_s: How long a device may be unreachable before it is written off.
    """
    tally = Tally()
    for device in devices:
        tally.size += 1
        status = statuses.get(device)
        if status is None:
            tally.open.append(device)
        else:
            _count(tally, status, now=now, grace_s=grace_s)
    return tally


def add_up(tallies: Iterable[Tally]) -> Tally:
    """Return the sizes and counts of several waves together."""
    total = Tally()
    for tally in tallies:
        total.size += tally.size
        total.open += tally.open
        total.busy += tally.busy
        total.healthy += tally.healthy
        total.failed += tally.failed
        total.waits += tally.waits
    return total


def too_many_failures(threshold: FailureThreshold | None, tally: Tally) -> str | None:
    """Say why the failures cross the threshold; None if they do not.

    The share is of judged devices. It is judged from ``min_devices`` on, or from what there is
    where the wave is smaller or over: otherwise a failing canary would never count.
    """
    if tally.failed == 0:
        return None
    if threshold is None:
        return f"{tally.failed} of {tally.judged} devices failed and no failure is allowed"
    enough = tally.is_over or tally.judged >= min(threshold.min_devices, tally.size)
    if not enough or tally.failed * 100 <= threshold.percent * tally.judged:
        return None
    return (
        f"{tally.failed} of {tally.judged} devices failed, "
        f"at most {threshold.percent:g}% are allowed"
    )


def describe_waits(waits: Counter[str]) -> str:
    """Say how many devices wait for their download window, and until when; "" for none."""
    if not waits:
        return ""
    told = {said: said.partition(" until ")[2] for said, _count in waits.most_common(SAID)}
    ends = list(dict.fromkeys(end for end in told.values() if end))
    more = " and others" if ends and len(waits) > len(ends) else ""
    until = f" until {', '.join(ends)}{more}" if ends else ""
    verb = "waits for its" if waits.total() == 1 else "wait for their"
    return f"{waits.total()} {verb} download window{until}"


def _count(tally: Tally, status: DeviceStatus, *, now: float, grace_s: float) -> None:
    since = now if status.since is None else min(status.since, now)
    if status.state is State.HEALTHY:
        tally.healthy += 1
        first, last = tally.healthy_first, tally.healthy_since
        tally.healthy_first = since if first is None else min(since, first)
        tally.healthy_since = since if last is None else max(since, last)
    elif status.state.is_failure:
        tally.failed += 1
    elif status.state is State.UNREACHABLE:
        _count_silent(tally, since + grace_s, now)
    elif not status.state.is_settled:
        tally.busy += 1
        if status.reason == Reason.DOWNLOAD_WINDOW:
            tally.waits[status.detail] += 1


def _count_silent(tally: Tally, grace_ends: float, now: float) -> None:
    if grace_ends <= now:
        return
    tally.busy += 1
    first = tally.grace_ends
    tally.grace_ends = grace_ends if first is None else min(grace_ends, first)
