"""The rollout policy: how large the waves are, and what a failure means.

Wave sizes are cumulative: ``[1, "10%", "100%"]`` is one device, then up to a tenth of all, then
all. Sizes of one unit have to rise; whether a count stands below a percentage depends on the
fleet, so that is settled when the waves are chosen. A last size below 100 % is followed by
everything else, so that a rollout never ends with devices left out by accident.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Literal

import msgspec

from edgectl.records import Record
from edgectl.rollout.gates import GatePolicy

OnFailure = Literal["rollback", "pause"]
DEFAULT_TIMEOUT_S = 30 * 60.0
DEFAULT_UNREACHABLE_GRACE_S = 120.0
DEFAULT_OUTAGE_S = 300.0
MAX_WAVES = 100
ALLOWED = (
    "a rising list of device counts and percentages, for example [1, '10%', '100%']; "
    "each size counts the devices of the waves before it too"
)
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,6})?) ?%", re.ASCII)


class WaveSize(Record, frozen=True, kw_only=True):
    """How many devices have the release after this wave: a count, or a share of all in percent."""

    amount: float
    unit: Literal["devices", "percent"]

    def of(self, total: int) -> int:
        """Return the cumulative number of devices out of ``total``; shares are rounded up."""
        if self.unit == "devices":
            return min(int(self.amount), total)
        # Rounding up at 1e-9 keeps 7 % of 100 at 7, whatever binary fractions make of it.
        return min(math.ceil(round(total * self.amount / 100, 9)), total)

    def __str__(self) -> str:
        return f"{self.amount:g}" + ("%" if self.unit == "percent" else "")


class FailureThreshold(Record, frozen=True, kw_only=True):
    """How many failures stop the rollout.

    Attributes:
        percent: The share of devices that may fail; more than that stops it.
        min_devices: How many devices must have come to an end before the share is judged; a
            wave that has fewer devices, or is over, is judged by what it has.
    """

    percent: float
    min_devices: int = 1


class RolloutPolicy(Record, frozen=True, kw_only=True):
    """How a release goes out.

    Attributes:
        waves: Cumulative sizes, first to last.
        soak_s: How long the last device of a wave has to be healthy before the wave counts as
            passed, seconds; the last wave too.
        concurrency: How many devices may be at it at the same time; None for a whole wave.
        failure_threshold: None: any failure stops the rollout.
        on_failure: Give everybody who has the release the version before, or stop and wait.
        timeout_s: Seconds for the whole rollout.
        unreachable_grace_s: Seconds that a wave waits for a device that does not answer.
        outage_s: Seconds that the provider may be out of reach, or too busy, in the middle of the
            rollout before its driver gives up; 0 for none.
        pause_after: Numbers of the waves after which an operator has to approve the rest.
        gates: What devices must keep to while a wave soaks, or None.
    """

    waves: tuple[WaveSize, ...] = (WaveSize(amount=100.0, unit="percent"),)
    soak_s: float = 0.0
    concurrency: int | None = None
    failure_threshold: FailureThreshold | None = None
    on_failure: OnFailure = "rollback"
    timeout_s: float = DEFAULT_TIMEOUT_S
    unreachable_grace_s: float = DEFAULT_UNREACHABLE_GRACE_S
    outage_s: float = DEFAULT_OUTAGE_S
    pause_after: tuple[int, ...] = ()
    gates: GatePolicy | None = None

    def __post_init__(self) -> None:
        """Refuse values that no rollout can keep.

        Raises:
            ValueError: A value is out of its range.
        """
        check_waves(self.waves)
        if self.concurrency is not None and self.concurrency < 1:
            raise ValueError(f"concurrency is {self.concurrency}; allowed: 1 or more")
        durations = {
            "soak": self.soak_s,
            "timeout": self.timeout_s,
            "unreachable grace": self.unreachable_grace_s,
            "outage": self.outage_s,
        }
        for name, seconds in durations.items():
            if not (math.isfinite(seconds) and seconds >= 0):
                raise ValueError(f"the {name} is {seconds} s; allowed: 0 s or more")
        for wave in self.pause_after:
            if not 1 <= wave < MAX_WAVES:
                raise ValueError(f"there is no wave {wave} to pause after; allowed: 1 or more")
        threshold = self.failure_threshold
        if threshold is not None and not 0 <= threshold.percent <= 100:
            raise ValueError(
                f"the failure threshold is {threshold.percent} percent; allowed: 0 to 100"
            )
        if threshold is not None and threshold.min_devices < 1:
            raise ValueError(f"min_devices is {threshold.min_devices}; allowed: 1 or more")


def parse_waves(values: Sequence[int | str]) -> tuple[WaveSize, ...]:
    """Read wave sizes as the project file has them: counts, and percentages as text.

    Raises:
        ValueError: The list is empty, does not rise, or holds something else.
    """
    sizes = tuple(_parse_size(value) for value in values)
    check_waves(sizes)
    return sizes


def check_waves(sizes: Sequence[WaveSize]) -> None:
    """Check that wave sizes rise and that nothing follows 100 %.

    Raises:
        ValueError: With the size that breaks the rule.
    """
    if not 0 < len(sizes) <= MAX_WAVES:
        raise ValueError(f"{len(sizes)} waves; allowed: 1 to {MAX_WAVES}, as {ALLOWED}")
    last: dict[str, float] = {"devices": 0.0, "percent": 0.0}
    for size in sizes:
        if last["percent"] >= 100:
            raise ValueError(f"wave '{size}' comes after 100%; allowed: {ALLOWED}")
        if not last[size.unit] < size.amount:
            raise ValueError(f"wave '{size}' is not larger than the one before; allowed: {ALLOWED}")
        if size.unit == "percent" and size.amount > 100:
            raise ValueError(f"wave '{size}' is more than 100%; allowed: {ALLOWED}")
        last[size.unit] = size.amount


def _parse_size(value: object) -> WaveSize:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return WaveSize(amount=float(value), unit="devices")
    if isinstance(value, str) and (match := _PERCENT.fullmatch(value.strip())):
        return WaveSize(amount=float(match[1]), unit="percent")
    shown = msgspec.json.encode(value).decode() if isinstance(value, (str, bool)) else repr(value)
    raise ValueError(f"wave {shown[:40]} is not a size; allowed: {ALLOWED}")
