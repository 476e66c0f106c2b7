"""The verdict on a rollout, made from the devices' own states and nothing else."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from edge_components.contract.state import State
from edgectl.records import DeviceStatus, Record
from edgectl.rollout.gates import Finding, Judged

NOT_GIVEN = "not_given"
NOTHING_JUDGED: Mapping[int, Judged] = MappingProxyType({})


class Outcome(enum.StrEnum):
    """How a rollout ended."""

    HEALTHY = "healthy"
    PARTLY = "partly"
    STOPPED = "stopped"
    ABORTED = "aborted"
    TIMED_OUT = "timed_out"
    ROLLED_BACK = "rolled_back"

    @property
    def exit_code(self) -> int:
        """What the command line exits with."""
        return _EXIT_CODES[self]


_EXIT_CODES = {
    Outcome.HEALTHY: 0,
    Outcome.PARTLY: 3,
    Outcome.STOPPED: 4,
    Outcome.ABORTED: 4,
    Outcome.TIMED_OUT: 5,
    Outcome.ROLLED_BACK: 6,
}


class FailedDevice(Record, frozen=True, kw_only=True):
    """A device on which the release did not take, and why."""

    device: str
    state: State
    reason: str = ""
    detail: str = ""


class Verdict(Record, frozen=True, kw_only=True):
    """How a rollout ended, with the numbers.

    Attributes:
        why: One sentence for people.
        total: All devices of the rollout.
        counts: Devices by state; ``not_given`` are those that never got the release.
        failed: The devices that failed, in rollout order.
        others: The state of each device that is neither healthy nor failed.
        gates: What the gates of waves came to, where the rollout has any.
    """

    outcome: Outcome
    why: str
    total: int
    counts: dict[str, int] = {}
    failed: tuple[FailedDevice, ...] = ()
    others: dict[str, str] = {}
    gates: tuple[Finding, ...] = ()

    @property
    def exit_code(self) -> int:
        """What the command line exits with."""
        return self.outcome.exit_code


def make_verdict(
    outcome: Outcome,
    why: str,
    devices: Iterable[str],
    statuses: Mapping[str, DeviceStatus],
    judged: Mapping[int, Judged] = NOTHING_JUDGED,
) -> Verdict:
    """Count the devices' states into a verdict.

    Args:
        outcome: How it ended.
        why: One sentence for people.
        devices: All devices of the rollout, in its order.
        statuses: Where each device stands with the release; missing if it never got it.
        judged: What the gates of waves came to, by wave.
    """
    ordered = tuple(devices)
    by_device = {d: str(statuses[d].state) if d in statuses else NOT_GIVEN for d in ordered}
    states = Counter(by_device.values())
    failed = failed_devices(ordered, statuses)
    told = {one.device for one in failed}
    return Verdict(
        outcome=outcome,
        why=why,
        total=len(ordered),
        counts=dict(sorted(states.items())),
        failed=failed,
        others={d: s for d, s in by_device.items() if s != State.HEALTHY and d not in told},
        gates=tuple(finding for wave in sorted(judged) for finding in judged[wave].findings),
    )


def failed_devices(
    devices: Iterable[str], statuses: Mapping[str, DeviceStatus]
) -> tuple[FailedDevice, ...]:
    """Return the devices whose state is a failure, in the given order."""
    return tuple(
        FailedDevice(device=d, state=s.state, reason=s.reason, detail=s.detail)
        for d in devices
        if (s := statuses.get(d)) is not None and s.state.is_failure
    )


def describe(verdict: Verdict, target: str) -> str:
    """Return a verdict as lines for people."""
    lines = [f"{target}: {verdict.outcome} - {verdict.why}"]
    lines += [
        f"  {failed.device}: {failed.state}, {failed.reason or 'no reason given'}"
        + (f" - {failed.detail}" if failed.detail else "")
        for failed in verdict.failed[:20]
    ]
    if len(verdict.failed) > 20:
        lines.append(f"  and {len(verdict.failed) - 20} more devices")
    silent = [device for device, state in verdict.others.items() if state == State.UNREACHABLE]
    lines += [f"  {device}: {State.UNREACHABLE}" for device in silent[:20]]
    if len(silent) > 20:
        lines.append(f"  and {len(silent) - 20} more unreachable devices")
    lines += [
        f"  gate of wave {found.wave}, {found.measure} {found.limit}: {found.result} - {found.why}"
        for found in verdict.gates
        if found.result in {"missed", "missing"}
    ]
    return "\n".join(lines)
