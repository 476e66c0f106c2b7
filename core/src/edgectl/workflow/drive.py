"""Driving a rollout: ask the engine, call the provider, until there is a verdict.

The driver keeps nothing that the provider does not keep too. It can be killed at any moment, and
whoever runs it next goes on from the devices' states and the shared control record.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import msgspec

from edge_components.contract.state import State
from edgectl.errors import ConflictError, NotFoundError, PlanError
from edgectl.provider import Provider
from edgectl.records import DeviceStatus, Pace, Package, Record, Release, Target
from edgectl.requests import DeployRequest, InventoryRequest, ObserveRequest, WithdrawRequest
from edgectl.rollout.decision import (
    Assign,
    Complete,
    Decision,
    Hold,
    Judge,
    RollBack,
    RolloutState,
    Stop,
    Wait,
)
from edgectl.rollout.decision import (
    Control as Wish,
)
from edgectl.rollout.engine import decide
from edgectl.rollout.policy import RolloutPolicy
from edgectl.rollout.sightings import fill_since
from edgectl.rollout.verdict import Outcome, Verdict, make_verdict
from edgectl.rollout.waves import Waves
from edgectl.rollout.window import Window
from edgectl.workflow.gatekeeper import GateKeeper
from edgectl.workflow.outage import PASSING, Outage
from edgectl.workflow.shared import Control, Shared
from edgectl.workflow.telling import Teller

MAX_WHY = 100
MAX_REST_S = 10.0
_WISHES: dict[str, Wish] = {"pause": "pause", "abort": "abort"}


class Rollout(Record, frozen=True, kw_only=True):
    """What is driven on one target.

    Attributes:
        window: When devices may be given the release, or None for always.
        zones: The time zone of each device, where there is a window.
    """

    target: Target
    release: Release
    package: Package
    policy: RolloutPolicy
    waves: Waves
    baseline: str = ""
    window: Window | None = None
    zones: dict[str, str] = {}


Watch = Callable[[str, int, Mapping[str, int]], None]
MakeRelease = Callable[[str], tuple[Release, Package]]
Clock = Callable[[], float]


class Driver:
    """Drives one rollout on one target to its verdict.

    Args:
        provider: The target's provider.
        shared: The target's lease and control; the caller holds the lease.
        rollout: What goes out, and to whom.
        go_back: Makes the rollback release for a package digest, and brings it to the provider.
        say: Takes one line of progress.
        watch: Takes the target, its number of devices, and how many are in which state.
        poll_s: Seconds between looks at the devices.

    Attributes:
        waits_after: The wave after which an operator has to approve the rest; 0 for none.
    """

    def __init__(
        self,
        provider: Provider,
        shared: Shared,
        rollout: Rollout,
        go_back: MakeRelease,
        say: Callable[[str], None],
        *,
        watch: Watch = lambda target, total, counts: None,
        poll_s: float = 1.0,
        clock: Clock = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._provider = provider
        self._shared = shared
        self._rollout = rollout
        self._go_back = go_back
        self._say = say
        self._watch = watch
        self._poll_s = poll_s
        self._clock = clock
        self._sleep = sleep
        self._waves = rollout.waves
        self._seen: dict[str, DeviceStatus] = {}
        self._given: Assign | None = None
        self._teller = Teller()
        self._looked_s = 0.0
        self._outage = Outage(rollout.policy.outage_s, clock, self._tell_line)
        self._gates = GateKeeper(
            provider, rollout.target, rollout.release, rollout.policy.gates, self._tell_line
        )
        self.waits_after = 0

    def run(self, *, wait: bool = True) -> Verdict | None:
        """Drive to the end.

        Args:
            wait: False gives the first wave the release and returns None at once.

        Raises:
            EdgectlError: The provider failed, or the lease was lost; a rerun goes on from here.
        """
        control = self._begin()
        while True:
            try:
                control = self._now(control)
                verdict = self._turn(control)
            except PASSING as exc:
                if not wait:
                    raise
                self._outage.bear(exc)
                self._rest(None)
                continue
            self._outage.end()
            if verdict is not None:
                return verdict
            if not wait or self.waits_after:
                return None

    def _turn(self, control: Control) -> Verdict | None:
        if control.phase == "rollback":
            return self._roll_back(control)
        return self._act(self._decide(control), control)

    def _now(self, before: Control) -> Control:
        """Return how the rollout stands, while it is ours to drive."""
        self._shared.refresh()
        control = self._shared.control() or before
        if control.release != self._rollout.release.number:
            raise PlanError(
                f"release {control.release} replaced release "
                f"{self._rollout.release.number} on target '{self._rollout.target.name}'"
            )
        return control

    def _begin(self) -> Control:
        number = self._rollout.release.number

        def begin(present: Control | None) -> Control:
            if present is not None and present.release == number and present.phase != "done":
                # Whoever goes on with a rollout gets its whole time again.
                return msgspec.structs.replace(present, started_at=self._clock())
            return Control(
                release=number,
                phase="run",
                baseline=self._rollout.baseline,
                started_at=self._clock(),
            )

        return self._shared.set_control(begin)

    def _decide(self, control: Control) -> Decision:
        now = self._clock()
        self._look(self._rollout.release.number, now)
        state = RolloutState(
            policy=self._rollout.policy,
            waves=self._waves,
            statuses=self._seen,
            control=_WISHES.get(control.phase, "run"),
            now=now,
            started_at=control.started_at,
            approved=control.approved,
            closed=self._closed(now),
            judged=self._gates.judged,
        )
        decision = decide(state)
        if isinstance(decision, Judge):
            self._gates.judge(decision, now)
            decision = decide(msgspec.structs.replace(state, judged=self._gates.judged))
        return decision

    def _closed(self, now: float) -> dict[str, float]:
        """Return the devices outside of their window, and when each opens."""
        window, zones = self._rollout.window, self._rollout.zones
        if window is None:
            return {}
        opens = {zone: window.opens_at(now, zone) for zone in set(zones.values())}
        return {d: at for d, zone in zones.items() if (at := opens[zone]) is not None}

    def _look(self, release: int, now: float) -> None:
        request = ObserveRequest(
            target=self._rollout.target,
            application=self._rollout.release.application,
            release=release,
        )
        self._seen = fill_since(self._provider.observe(request), self._seen, now)
        self._looked_s = self._clock() - now
        self._watch(self._rollout.target.name, len(self._devices()), self._counts())

    def _devices(self) -> list[str]:
        return [device for wave in self._waves for device in wave]

    def _counts(self) -> Counter[str]:
        return Counter(str(status.state) for status in self._seen.values())

    def _act(self, decision: Decision, control: Control) -> Verdict | None:
        match decision:
            case Assign():
                self._assign(decision)
            case Hold(wave=wave) if wave:
                self._await_approval(decision, control)
            case Wait() | Hold():
                self._tell(decision.why)
                self._rest(decision.until if isinstance(decision, Wait) else None)
            case RollBack():
                return self._on_failure(decision, control)
            case Complete(verdict=verdict):
                return self._end(verdict)
            case Stop(verdict=verdict):
                if verdict.outcome is Outcome.ABORTED:
                    self._withdraw()
                return self._end(verdict)
        return None

    def _await_approval(self, decision: Hold, control: Control) -> None:
        """Leave the rollout to whoever approves it."""
        self._tell(decision.why)
        self._shared.refresh(surely=True)
        self._shared.set_control(
            lambda present: msgspec.structs.replace(present or control, waits=decision.wave)
        )
        self.waits_after = decision.wave

    def _assign(self, decision: Assign) -> None:
        if decision == self._given:
            # It did not take what it was given: there is no hurry to try again.
            self._rest(None)
        self._given = decision
        waves = len(self._waves)
        self._tell(f"wave {decision.wave} of {waves}: giving it to {len(decision.devices)} devices")
        try:
            self._give(self._rollout.release, self._rollout.package, decision.devices)
        except (NotFoundError, ConflictError):
            if not self._leave_out_removed():
                raise

    def _give(self, release: Release, package: Package, devices: Iterable[str]) -> None:
        self._shared.refresh(surely=True)
        self._provider.deploy(
            DeployRequest(
                target=self._rollout.target,
                release=release,
                package=package,
                devices=tuple(devices),
                pace=self._pace(),
            )
        )

    def _pace(self) -> Pace | None:
        """Return what a provider that can may keep to while nobody watches."""
        supported = self._provider.supports("capabilities")
        if not supported or not self._provider.capabilities().pace:
            return None
        policy, threshold = self._rollout.policy, self._rollout.policy.failure_threshold
        return Pace(
            concurrency=policy.concurrency,
            failure_percent=None if threshold is None else threshold.percent,
            min_devices=1 if threshold is None else threshold.min_devices,
            timeout_s=policy.timeout_s,
        )

    def _leave_out_removed(self) -> bool:
        """Go on without the devices that the target does not have any more; whether there were any.

        Raises:
            PlanError: Not one is left.
        """
        target = self._rollout.target
        there = {device.id for device in self._provider.inventory(InventoryRequest(target=target))}
        removed = [device for device in self._devices() if device not in there]
        if not removed:
            return False
        self._waves = tuple(tuple(d for d in wave if d in there) for wave in self._waves)
        if not self._devices():
            raise PlanError(f"no device of target '{target.name}' is left")
        more = f" and {len(removed) - 5} more" if len(removed) > 5 else ""
        names = ", ".join(removed[:5]) + more
        self._say(f"{target.name}: removed meanwhile, and left out: {names}")
        return True

    def _on_failure(self, decision: RollBack, control: Control) -> Verdict | None:
        """Begin to go back; the verdict if there is nothing to go back to."""
        self._say(f"{self._rollout.target.name}: {decision.why}")
        self._withdraw()
        if not control.baseline:
            why = f"{decision.why}; there is no earlier release to return to"
            return self._end(self._verdict(Outcome.STOPPED, why))
        self._shared.set_control(
            lambda present: msgspec.structs.replace(
                present or control, phase="rollback", why=decision.why[:MAX_WHY]
            )
        )
        return None

    def _roll_back(self, control: Control) -> Verdict:
        """Give everybody who has the release the package before, and wait until it runs."""
        number = self._rollout.release.number
        self._look(number, self._clock())
        bad = dict(self._seen)
        self._shared.refresh(surely=True)
        release, package = self._go_back(control.baseline)
        self._say(
            f"{self._rollout.target.name}: rolling back to {control.baseline[:19]} "
            f"as release {release.number}"
        )
        self._shared.set_control(
            lambda present: msgspec.structs.replace(present or control, back=release.number)
        )
        self._look(release.number, self._clock())
        there = set(self._seen)
        # Who has somebody else's newer release keeps that.
        bad_now = {d for d, status in bad.items() if status.state is not State.SUPERSEDED}
        given = [d for d in self._devices() if d in bad_now or d in there]
        self._give(release, package, given)
        given = self._await_back(release.number, given)
        back = sum(1 for d in given if self._state(d) is State.HEALTHY)
        devices = self._devices()
        why = f"{control.why}; {back} of {len(given)} devices are back on {control.baseline[:19]}"
        judged = self._gates.judged
        verdict = make_verdict(Outcome.ROLLED_BACK, why, devices, bad, judged)
        return self._end(verdict, back=release.number)

    def _await_back(self, release: int, devices: list[str]) -> list[str]:
        """Wait until the devices have settled on the rollback release; return who is there yet."""
        end = self._clock() + self._rollout.policy.timeout_s
        grace = self._clock() + self._rollout.policy.unreachable_grace_s
        while True:
            try:
                self._shared.refresh()
                now = self._clock()
                self._look(release, now)
            except PASSING as exc:
                self._outage.bear(exc)
                self._rest(None)
                continue
            self._outage.end()
            if any(d not in self._seen for d in devices) and self._leave_out_removed():
                left = set(self._devices())
                devices = [d for d in devices if d in left]
            states = [self._state(d) for d in devices]
            open_ = [s for s in states if not s.is_settled]
            gone = all(s is State.UNREACHABLE for s in open_) and now >= grace
            if not open_ or gone or now >= end:
                return devices
            healthy = sum(1 for state in states if state is State.HEALTHY)
            self._tell(f"rolling back: {healthy} of {len(devices)} devices are back")
            self._rest(None)

    def _state(self, device: str) -> State:
        return self._seen[device].state if device in self._seen else State.PENDING

    def _withdraw(self) -> None:
        self._shared.refresh(surely=True)
        if self._provider.supports("withdraw"):
            self._provider.withdraw(
                WithdrawRequest(
                    target=self._rollout.target,
                    application=self._rollout.release.application,
                    release=self._rollout.release.number,
                )
            )

    def _verdict(self, outcome: Outcome, why: str) -> Verdict:
        return make_verdict(outcome, why, self._devices(), self._seen, self._gates.judged)

    def _end(self, verdict: Verdict, *, back: int = 0) -> Verdict:
        self._shared.refresh(surely=True)
        self._shared.set_control(
            lambda present: msgspec.structs.replace(
                present or Control(release=self._rollout.release.number, phase="done"),
                phase="done",
                back=back or (present.back if present else 0),
                why=verdict.why[:MAX_WHY],
            )
        )
        return verdict

    def _tell(self, what: str) -> None:
        """Say where the rollout stands, when that is news."""
        states = ", ".join(f"{n} {state}" for state, n in sorted(self._counts().items()))
        if self._teller.is_news(what, states, self._clock()):
            self._tell_line(what + (f" ({states})" if states else ""))

    def _tell_line(self, what: str) -> None:
        self._say(f"{self._rollout.target.name}: {what}")

    def _rest(self, until: float | None) -> None:
        # A look at many devices takes long; what it took is left to the provider before the next.
        pause = max(self._poll_s, min(self._looked_s, MAX_REST_S))
        if until is not None:
            pause = min(pause, max(until - self._clock(), 0.05))
        self._sleep(pause)
