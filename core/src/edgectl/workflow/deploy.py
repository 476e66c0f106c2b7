"""Deploying: sign the release, and drive every target to its verdict.

Targets run side by side, each with a provider of its own; the failure of one does not stop the
others. A target that comes after others waits for them (``order``).
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import msgspec

from edgectl.errors import EdgectlError, LeaseError, NotFoundError, PackageError
from edgectl.package.read import open_package
from edgectl.package.sign import find_signature, sign_release
from edgectl.provider import Provider
from edgectl.records import Package, Release, Target
from edgectl.requests import PackageRequest
from edgectl.rollout.verdict import Outcome, Verdict
from edgectl.session import Session
from edgectl.workflow import results
from edgectl.workflow.drive import Driver, Rollout, Watch
from edgectl.workflow.holder import Claim
from edgectl.workflow.lease import Takeover
from edgectl.workflow.numbers import contents_of, document_of, known_numbers, number_of
from edgectl.workflow.order import Turns, check_gate, needs_word
from edgectl.workflow.plan import Plan, TargetPlan, release_history
from edgectl.workflow.publish import Publisher
from edgectl.workflow.results import TargetResult
from edgectl.workflow.shared import Shared

GATE = "approval"


class _Work(NamedTuple):
    """A plan while it is carried out."""

    plan: Plan
    package: Package
    publisher: Publisher
    turns: Turns
    wait: bool


class Deployer:
    """Carries out a plan.

    Args:
        session: The project at work.
        say: Takes one line of progress; called from several threads.
        watch: Takes the target, its number of devices, and how many are in which state.
        poll_s: Seconds between looks at the devices.
        approved: Targets that an operator lets begin.
        fail_fast: Whether the failure of one target stops the others where they are.
        take_over: Whether a target is taken from another operator who holds it.
    """

    def __init__(
        self,
        session: Session,
        say: Callable[[str], None],
        *,
        watch: Watch = lambda target, total, counts: None,
        poll_s: float = 1.0,
        approved: Collection[str] = (),
        fail_fast: bool = False,
        take_over: bool = False,
    ) -> None:
        self._session = session
        self._take_over = take_over
        self._approved = approved
        self._fail_fast = fail_fast
        self._say = say
        self._watch = watch
        self._poll_s = poll_s
        self._making = threading.Lock()
        self._interrupted = threading.Event()
        self._failed = ""

    def run(self, plan: Plan, package: Package, *, wait: bool = True) -> list[TargetResult]:
        """Deploy to every target of the plan; one result each, those that were refused last."""
        refused = [results.refused(plan, one) for one in plan.refused]
        if refused and self._fail_fast:
            return [results.stopped(plan, one, refused[0].target) for one in plan.targets] + refused
        work = _Work(
            plan=plan,
            package=package,
            publisher=self.publisher(plan, package),
            turns=Turns(plan.names, self._sleep),
            wait=wait,
        )
        for one in plan.refused:
            work.turns.end(one.target, healthy=False)
        with ThreadPoolExecutor(max_workers=max(len(plan.targets), 1)) as pool:
            driven = pool.map(lambda one: self._in_turn(work, one), plan.targets)
            try:
                return list(driven) + refused
            except KeyboardInterrupt:
                # The drivers give their leases back; leaving the pool waits for that.
                self._interrupted.set()
                raise

    def publisher(self, plan: Plan, package: Package) -> Publisher:
        """Return what makes the plan's releases when they are needed, and brings them."""
        targets = {plan.release_of(one.target): one.target for one in plan.targets}

        @functools.cache  # signing costs: where nothing changes, nothing is signed
        def signed(number: int) -> Release:
            return self.make_release(number, package.digest, package.version, targets[number])

        def release(target: Target) -> Release:
            return signed(plan.release_of(target.name))

        return Publisher(self._session, package, release, self._say)

    def _in_turn(self, work: _Work, one: TargetPlan) -> TargetResult:
        """Deploy to a target when those before it are done."""
        healthy = False
        try:
            result = self._behind_gate(work, one)
            healthy = result.verdict is not None and result.exit_code == 0
        except _OtherFailedError:
            return results.stopped(work.plan, one, self._failed)
        except EdgectlError as exc:
            result = results.failed(results.result_of(work.plan, one), exc)
        finally:
            work.turns.end(one.target, healthy=healthy)
        if result.exit_code and self._fail_fast:
            self._stop_others(one.target)
        return result

    def _behind_gate(self, work: _Work, one: TargetPlan) -> TargetResult:
        target = self._session.project.target(one.target)
        waits_for = self._await_gate(work.turns, target, work.plan)
        result = results.result_of(work.plan, one)
        if waits_for:
            return msgspec.structs.replace(result, waits_for=waits_for)
        verdict, after = self._drive(work, target, one)
        waits_for = f"approval after wave {after}" if after else ""
        return msgspec.structs.replace(result, verdict=verdict, waits_for=waits_for)

    def _await_gate(self, turns: Turns, target: Target, plan: Plan) -> str:
        """Wait until a target may begin; return what it waits for that this command cannot give.

        Raises:
            NotBegunError: A target before it is not healthy.
        """
        if not target.after:
            return ""
        turns.await_others(target)
        project = self._session.project
        before = [project.target(name) for name in target.after]

        def check() -> None:
            for other in before:
                provider = self._session.open(other.provider)
                number = self._number_before(provider, other, target, plan)
                check_gate(provider, other, target, project.spec.name, number)

        check()
        if target.gate_soak_s:
            self._say(f"{target.name}: {' and '.join(target.after)} soaks before it begins")
            self._sleep(target.gate_soak_s)
            check()
        return GATE if needs_word(target, self._approved) else ""

    def _number_before(self, provider: Provider, other: Target, target: Target, plan: Plan) -> int:
        """Return which release the devices of a target before have to be healthy with."""
        if any(one.target == other.name for one in plan.targets):
            return plan.release_of(other.name)
        contents = contents_of(self._session.project, package=plan.package, version=plan.version)
        if contents[other.name] == contents[target.name]:
            return plan.release_of(target.name)
        history = release_history(provider, other, plan.application)
        known = known_numbers([history], set(contents.values()), plan.package)
        return known.get(contents[other.name], plan.release)

    def _stop_others(self, failed: str) -> None:
        with self._making:
            self._failed = self._failed or failed
        self._interrupted.set()

    def _sleep(self, seconds: float) -> None:
        """Let a driver rest.

        Raises:
            KeyboardInterrupt: The command was interrupted; only its main thread hears of that.
            _OtherFailedError: Another target failed, and that is to stop all.
        """
        if self._interrupted.wait(seconds):
            if self._failed:
                raise _OtherFailedError
            raise KeyboardInterrupt

    def make_release(self, number: int, digest: str, version: str, target: str) -> Release:
        """Sign a release of a package for the devices of a target, and of those like it."""
        signature = _signature(self._session.layout, digest)
        key = self._session.key(make=False)
        project = self._session.project
        document = document_of(project, target, package=digest, version=version, number=number)
        return sign_release(document, signature, key)

    def _drive(self, work: _Work, target: Target, one: TargetPlan) -> tuple[Verdict | None, int]:
        """Drive a target; return its verdict, and the wave after which it waits for approval."""
        number = work.plan.release_of(target.name)
        if not one.changes and self._is_over(target, number):
            devices = [device.device for device in one.devices]
            why = f"all {len(devices)} devices have release {number} already"
            healthy = {"healthy": len(devices)}
            outcome = Outcome.HEALTHY
            return Verdict(outcome=outcome, why=why, total=len(devices), counts=healthy), 0
        provider = self._session.open(target.provider)
        memory = self._session.lease_dir
        shared = Shared(provider, target, self._session.project.spec.name, memory=memory)
        with shared.lease(self._claim(target)):
            try:
                # While somebody else holds the target, nobody would get the release.
                if one.changes or work.plan.is_new:
                    work.publisher.bring(target)
                shared.refresh(surely=True)
                return self._drive_leased(provider, shared, one, work)
            except LeaseError as exc:
                facts: dict[str, str | int] = {"target": target.name, "why": exc.message}
                self._session.record(target.provider, "lose-lease", exc.code, facts)
                raise

    def _claim(self, target: Target) -> Claim:
        def taken_over(takeover: Takeover) -> None:
            facts: dict[str, str | int] = {"target": target.name, **takeover.facts}
            self._session.record(target.provider, "take-over-lease", "ok", facts)

        return Claim(
            taken_over=taken_over,
            force=self._take_over,
            companion=lambda: self._session.open(target.provider),
            sleep=self._sleep,
            say=self._say,
        )

    def _is_over(self, target: Target, number: int) -> bool:
        """Whether no driver was cut off before it had the last soak and a verdict."""
        application = self._session.project.spec.name
        control = Shared(self._session.open(target.provider), target, application).control()
        return control is None or control.release != number or control.phase == "done"

    def _drive_leased(
        self, provider: Provider, shared: Shared, plan: TargetPlan, work: _Work
    ) -> tuple[Verdict | None, int]:
        target = self._session.project.target(plan.target)
        release, package = work.publisher.release(target), work.package
        policy = self._session.project.policy
        if not plan.gates:  # the way back has none
            policy = msgspec.structs.replace(policy, gates=None)
        rollout = Rollout(
            target=target,
            release=release,
            package=package,
            policy=policy,
            waves=plan.wave_devices(),
            baseline=plan.baseline,
            window=self._session.project.window(target.name),
            zones={one.device: one.timezone for one in plan.devices if one.timezone},
        )
        facts: dict[str, str | int] = {
            "target": target.name,
            "release": release.number,
            "from": plan.baseline,
            "to": package.digest,
        }
        self._session.record(target.provider, "rollout-begin", "ok", facts)
        driver = Driver(
            provider,
            shared,
            rollout,
            lambda digest: self._make_back(provider, target, digest),
            self._say,
            watch=self._watch,
            poll_s=self._poll_s,
            sleep=self._sleep,
        )
        verdict = driver.run(wait=work.wait)
        held = "waits" if driver.waits_after else "begun"
        outcome = str(verdict.outcome) if verdict is not None else held
        self._session.record(target.provider, "rollout-end", outcome, facts)
        return verdict, driver.waits_after

    def _make_back(
        self, provider: Provider, target: Target, digest: str
    ) -> tuple[Release, Package]:
        """Make the release that brings a package back, and bring it to the provider.

        Several targets of one provider that go back to the same package share the release.
        """
        with self._making:
            application = self._session.project.spec.name
            known = release_history(provider, target, application)
            before = next((record for record in known if record.package == digest), None)
            if before is None:
                raise NotFoundError(
                    f"provider '{target.provider}' does not know package {digest} any more"
                )
            number = number_of(
                self._session.project,
                target.name,
                known,
                package=digest,
                version=before.version,
            ).number
            release = self.make_release(number, digest, before.version, target.name)
            package = known_package(self._session, application, before.version, digest)
            provider.package(PackageRequest(target=target, package=package, release=release))
            return release, package


class _OtherFailedError(Exception):
    """Another target failed, and that is to stop this one."""


def _signature(layout: Path, digest: str) -> bytes:
    """Return the package's signature, or nothing where another machine's store has it."""
    try:
        return find_signature(layout, digest) or b""
    except PackageError:
        return b""


def known_package(session: Session, application: str, version: str, digest: str) -> Package:
    """Return a package by digest, with its sizes where the local store has it.

    The provider has the package already, so another machine may know it by its digest only.
    """
    try:
        opened = open_package(session.layout, digest, publishers=None)
    except EdgectlError:
        return Package(
            application=application,
            version=version,
            layout=session.layout,
            digest=digest,
            size_bytes=0,
        )
    return Package(
        application=application,
        version=version,
        layout=session.layout,
        digest=digest,
        size_bytes=sum(layer.size for layer in opened.manifest.layers),
        sizes={variant.precision: variant.size_bytes for variant in opened.info.variants},
    )
