"""What the engine is asked, and what it answers.

An answer is one of ``Assign``, ``Wait``, ``Hold``, ``Judge``, ``RollBack``, ``Complete`` and
``Stop``. The last two end the rollout; after ``RollBack`` the driver makes the rollback release;
after ``Judge`` it asks again, with what the gates came to.
"""

from __future__ import annotations

from typing import Literal

from edgectl.records import DeviceStatus, Record
from edgectl.rollout.gates import Judged
from edgectl.rollout.policy import RolloutPolicy
from edgectl.rollout.verdict import FailedDevice, Verdict
from edgectl.rollout.waves import Waves

Control = Literal["run", "pause", "abort"]


class RolloutState(Record, frozen=True, kw_only=True):
    """Everything that the engine looks at.

    Attributes:
        waves: The devices, wave by wave (``choose_waves``).
        statuses: Where each device stands with *this* release. A device that was never given it
            is missing. Without a ``since`` a state counts as begun now: ``fill_since`` helps
            with providers that tell none.
        control: What the operators want.
        now: Seconds since 1970 UTC.
        started_at: When the rollout began; its timeout counts from here.
        approved: The wave up to which an operator has approved that the rest goes on.
        closed: Devices outside of their maintenance window, and when each opens.
        judged: What the gates of waves came to when they were last looked at, by wave.
    """

    policy: RolloutPolicy
    waves: Waves
    statuses: dict[str, DeviceStatus]
    control: Control = "run"
    now: float
    started_at: float
    approved: int = 0
    closed: dict[str, float] = {}
    judged: dict[int, Judged] = {}


class Assign(Record, frozen=True, kw_only=True, tag="assign"):
    """Give the release to these devices.

    Attributes:
        wave: Number of the wave, from 1.
    """

    devices: tuple[str, ...]
    wave: int


class Wait(Record, frozen=True, kw_only=True, tag="wait"):
    """Nothing to do until a device moves on.

    Attributes:
        until: When the clock alone changes the answer, seconds since 1970 UTC.
        wave: Number of the wave that is waited for, from 1.
    """

    until: float
    why: str
    wave: int


class Hold(Record, frozen=True, kw_only=True, tag="hold"):
    """The rollout goes no further by itself; devices that have the release finish it.

    Attributes:
        wave: The wave after which an operator has to approve; 0 where one has paused.
    """

    why: str
    wave: int = 0


class Judge(Record, frozen=True, kw_only=True, tag="judge"):
    """Look at what the devices of a wave tell, and judge its gates; then ask again.

    Attributes:
        devices: Those that are healthy with the release.
        since: When the first of them became so, seconds since 1970 UTC.
        soaked: When the wave's soak is over; what is told later does not count.
        over: Whether it is.
    """

    wave: int
    devices: tuple[str, ...]
    since: float
    soaked: float
    over: bool


class RollBack(Record, frozen=True, kw_only=True, tag="roll_back"):
    """The release is bad: give these devices the version before.

    Attributes:
        devices: All that were given the release and have no newer one, in rollout order.
        failed: The devices that failed, and why.
    """

    devices: tuple[str, ...]
    why: str
    failed: tuple[FailedDevice, ...]


class Complete(Record, frozen=True, kw_only=True, tag="complete"):
    """The rollout went through all its waves."""

    verdict: Verdict


class Stop(Record, frozen=True, kw_only=True, tag="stop"):
    """The rollout ends here; nobody gets the release any more."""

    verdict: Verdict


Decision = Assign | Wait | Hold | Judge | RollBack | Complete | Stop
