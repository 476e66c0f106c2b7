"""Reading what the devices of a soaking wave tell, and having its gates judged.

Nothing is kept that the provider does not keep: whoever goes on with a rollout on another machine
reads the wave's telemetry again, from its switch on. Looks in between read what is new; the last
one reads all of the soak once more, because a device that was cut off tells late. Reads are pages
of many devices, never one call a device, and what is held is constant for each device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from edge_components.contract.device import TelemetrySection
from edge_components.contract.histogram import Histogram
from edge_components.contract.telemetry import BRISK_SHARE, Kind
from edgectl.durations import format_duration
from edgectl.errors import PlanError, ProviderError
from edgectl.provider import Provider
from edgectl.records import Release, Target
from edgectl.requests import TelemetryRequest
from edgectl.rollout.decision import Judge
from edgectl.rollout.gates import GatePolicy, Judged
from edgectl.rollout.judge import WaveTold, judge
from edgectl.rollout.meter import Meter, all_latencies
from edgectl.rollout.policy import RolloutPolicy

PAGE = 5000
SLACK_S = 120.0
"""How far a device's clock may be off, and how late a record may come up and still be seen."""
BEFORE_S = 15 * 60.0
"""How far back the release before is looked at, where a gate is relative to it."""


HEALTH_S = TelemetrySection().health_interval_s


class _Wave(NamedTuple):
    """What is known of a wave.

    Attributes:
        newest_ns: Time of the newest record of each kind that was read.
    """

    meter: Meter
    before: Histogram
    newest_ns: dict[Kind, int]


class GateKeeper:
    """Judges the waves of one rollout.

    Args:
        provider: The target's provider.
        target: Where the release goes.
        release: What goes out.
        policy: The gates, or None.
        say: Takes one line of progress.

    Attributes:
        judged: What the gates of each wave came to at the last look.
    """

    def __init__(
        self,
        provider: Provider,
        target: Target,
        release: Release,
        policy: GatePolicy | None,
        say: Callable[[str], None],
    ) -> None:
        self.judged: dict[int, Judged] = {}
        self._provider = provider
        self._target = target
        self._release = release
        self._policy = policy
        self._say = say
        self._waves: dict[int, _Wave] = {}
        self._trouble = ""

    def judge(self, asked: Judge, now: float) -> None:
        """Look at a wave's telemetry and judge its gates.

        Raises:
            ProviderError: The soak is over and telemetry cannot be read; before that it is said
                and tried again at the next look.
        """
        if self._policy is None:
            return
        try:
            wave = self._look(asked, self._policy, now)
        except ProviderError as exc:
            if asked.over:
                raise
            if exc.message != self._trouble:
                self._trouble = exc.message
                self._say(f"wave {asked.wave}: gates cannot be judged for now: {exc.message}")
            self.judged[asked.wave] = Judged(at=now)
            return
        told = WaveTold(
            wave=asked.wave,
            size=len(asked.devices),
            told=wave.meter.told,
            before=wave.before,
            over=asked.over,
        )
        judged = self.judged[asked.wave] = judge(self._policy, told, now)
        for finding in judged.findings:
            if finding.result == "missing" and not judged.missed:
                self._say(f"wave {asked.wave}: {finding.why}; it passes, as on_missing is 'pass'")

    def _look(self, asked: Judge, policy: GatePolicy, now: float) -> _Wave:
        known = self._waves.get(asked.wave)
        before = Histogram() if known is None else known.before
        if known is None and policy.is_relative:
            before = self._read_before(asked)
        if known is None or asked.over:
            number = self._release.number
            known = _Wave(Meter(asked.devices, range(number, number + 1)), before, {})
            self._waves[asked.wave] = known
        for kind in _kinds(policy):
            begin_ns = known.newest_ns.get(kind, _ns(asked.since)) - _ns(SLACK_S)
            newest_ns = self._read(known.meter, kind, begin_ns, asked.soaked + SLACK_S)
            # A clock that is ahead must not make the next look begin in the future.
            known.newest_ns[kind] = min(newest_ns, _ns(now))
        return known

    def _read_before(self, asked: Judge) -> Histogram:
        meter = Meter(asked.devices, range(1, self._release.number))
        begin_ns = _ns(asked.since - BEFORE_S)
        self._read(meter, Kind.HEALTH, begin_ns, asked.since + SLACK_S)
        return all_latencies(meter.told.values())

    def _read(self, meter: Meter, kind: Kind, begin_ns: int, until: float) -> int:
        """Read records from a time on until another; return the time of the newest."""
        request = TelemetryRequest(
            target=self._target,
            application=self._release.application,
            kind=kind,
            since_unix_ns=max(begin_ns, 0),
            limit=PAGE,
        )
        end_ns, newest_ns = _ns(until), begin_ns + _ns(SLACK_S)
        for page in self._provider.telemetry(request):
            for record in page.records:
                if record.time_unix_ns <= end_ns:
                    meter.take(record)
                    newest_ns = max(newest_ns, record.time_unix_ns)
            # Pages are ordered by time, though not to the second everywhere.
            if page.records and all(r.time_unix_ns > end_ns for r in page.records):
                break
        return newest_ns


def check_readable(provider: Provider, target: Target, application: str, now: float) -> None:
    """Check that telemetry can be read back, by reading some.

    Raises:
        PlanError: The provider cannot.
        ProviderError: It cannot just now.
        ProjectError: Its settings do not say from where.
    """
    if not (provider.supports("telemetry") and provider.capabilities().telemetry):
        raise PlanError(
            f"provider '{target.provider}' cannot read telemetry back, so rollout.gates cannot "
            f"be judged for target '{target.name}'",
            hint="take rollout.gates out, or deploy this target with another project file",
        )
    request = TelemetryRequest(
        target=target,
        application=application,
        kind=Kind.HEALTH,
        since_unix_ns=_ns(now),
        limit=1,
    )
    next(iter(provider.telemetry(request)), None)


def gate_notes(policy: RolloutPolicy) -> tuple[str, ...]:
    """Return what an operator should know of gates before anything begins."""
    if policy.gates is None or policy.soak_s >= HEALTH_S:
        return ()
    soak, every = format_duration(policy.soak_s), format_duration(BRISK_SHARE * HEALTH_S)
    return (
        f"gates have a soak of {soak}; by default devices tell their health every {every} then",
    )


def _kinds(policy: GatePolicy) -> list[Kind]:
    measures = policy.measures
    kinds = [Kind.HEALTH] if measures - {"drift"} else []
    return kinds + ([Kind.DRIFT] if "drift" in measures else [])


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
