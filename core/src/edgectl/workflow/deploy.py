"""Deploying: choose the release, sign it, and drive every target to its verdict.

Targets run side by side, each with a provider of its own; the failure of one does not stop the
others. Package and release are brought to each provider once, before anything is driven.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from edge_components.contract.release import ReleaseDocument
from edgectl.errors import EdgectlError, NotFoundError, PackageError
from edgectl.package.read import open_package
from edgectl.package.sign import find_signature, sign_release
from edgectl.provider import Provider
from edgectl.records import Package, Record, Release, ReleaseRecord, Target
from edgectl.requests import PackageRequest
from edgectl.rollout.verdict import Outcome, Verdict
from edgectl.session import Session
from edgectl.workflow.drive import Driver, Rollout, Watch
from edgectl.workflow.plan import Plan, TargetPlan, plan_release, plan_target, release_history
from edgectl.workflow.shared import Shared

MakeOnce = Callable[[], Release]
"""Makes a release when it is needed first, and gives the same one again."""


class TargetResult(Record, frozen=True, kw_only=True):
    """How it went on one target: a verdict, or the error that stopped it.

    Attributes:
        verdict: None if the driver did not wait, or failed.
        driven_by: Who else drives the release already, or "".
        error: One sentence, or "".
        vendor_code: The provider's own code for the error, or "".
    """

    target: str
    provider: str
    release: int
    package: str
    verdict: Verdict | None = None
    driven_by: str = ""
    error: str = ""
    hint: str = ""
    vendor_code: str = ""
    error_exit_code: int = 0

    @property
    def exit_code(self) -> int:
        """What this target contributes to the command's exit code."""
        if self.error:
            return self.error_exit_code
        return self.verdict.exit_code if self.verdict is not None else 0


def exit_code(results: Iterable[TargetResult]) -> int:
    """Return the command's exit code: the gravest of its targets'."""
    gravity = [0, 3, 5, 6, 4, 1]
    return max((r.exit_code for r in results), key=gravity.index, default=0)


def make_plan(
    session: Session, package: Package, targets: list[Target], *, new_release: bool = False
) -> Plan:
    """Plan a deploy to several targets.

    Args:
        session: The project at work.
        package: What goes out.
        targets: Where it goes.
        new_release: Make a new release even if the last one has the same content, so that
            devices which refused it try again.

    Raises:
        EdgectlError: Something cannot be honoured, or a provider cannot be asked.
    """
    document = ReleaseDocument(
        application=package.application,
        number=0,
        version=package.version,
        package=package.digest,
        settings=session.project.settings,
    )
    known = histories(session, package.application, targets)
    number, is_new = plan_release(document, known)
    if new_release:
        number, is_new = max((h[0].number for h in known if h), default=0) + 1, True
    else:
        number = _unfinished(session, document, targets, known) or number
    precision = session.project.settings.precision
    planned = tuple(
        plan_target(
            session.provider(target.provider),
            target,
            package,
            release=number,
            policy=session.project.policy,
            precision=precision,
        )
        for target in targets
    )
    return Plan(
        application=package.application,
        version=package.version,
        package=package.digest,
        size_bytes=package.size_bytes,
        release=number,
        is_new=is_new,
        targets=planned,
    )


def _unfinished(
    session: Session,
    document: ReleaseDocument,
    targets: list[Target],
    known: list[list[ReleaseRecord]],
) -> int:
    """Return the release of a rollback that was cut off, if it is of this content; else 0."""
    content = document.content_digest()
    same = {record.number for history in known for record in history if record.content == content}
    for target in targets:
        shared = Shared(session.provider(target.provider), target, document.application)
        control = shared.control()
        if control is not None and control.phase == "rollback" and control.release in same:
            return control.release
    return 0


def histories(
    session: Session, application: str, targets: list[Target]
) -> list[list[ReleaseRecord]]:
    """Return the releases that each of the targets' providers remembers, newest first."""
    one_each = {target.provider: target for target in targets}
    return [
        release_history(session.provider(name), target, application)
        for name, target in sorted(one_each.items())
    ]


class Deployer:
    """Carries out a plan.

    Args:
        session: The project at work.
        say: Takes one line of progress; called from several threads.
        watch: Takes the target, its number of devices, and how many are in which state.
        poll_s: Seconds between looks at the devices.
    """

    def __init__(
        self,
        session: Session,
        say: Callable[[str], None],
        *,
        watch: Watch = lambda target, total, counts: None,
        poll_s: float = 1.0,
    ) -> None:
        self._session = session
        self._say = say
        self._watch = watch
        self._poll_s = poll_s
        self._making = threading.Lock()
        self._interrupted = threading.Event()

    def run(self, plan: Plan, package: Package, *, wait: bool = True) -> list[TargetResult]:
        """Deploy to every target of the plan; one result each, in the plan's order."""
        targets = {one.target: self._session.project.target(one.target) for one in plan.targets}
        make = functools.partial(self.make_release, plan.release, package.digest, package.version)
        release = functools.cache(make)  # signing costs: where nothing changes, nothing is signed
        changing = [targets[one.target] for one in plan.targets if one.changes or plan.is_new]
        self._publish(release, package, [t for t in changing if not self._driver(t)])
        with ThreadPoolExecutor(max_workers=max(len(plan.targets), 1)) as pool:
            driven = pool.map(
                lambda one: self._drive(
                    targets[one.target], one, plan.release, release, package, wait=wait
                ),
                plan.targets,
            )
            try:
                return list(driven)
            except KeyboardInterrupt:
                # The drivers give their leases back; leaving the pool waits for that.
                self._interrupted.set()
                raise

    def _driver(self, target: Target) -> str:
        """Return who holds a target: it will be refused, and nobody would ever get the release."""
        provider = self._session.provider(target.provider)
        return Shared(provider, target, self._session.project.spec.name).driver()

    def _sleep(self, seconds: float) -> None:
        """Let a driver rest.

        Raises:
            KeyboardInterrupt: The command was interrupted; only its main thread hears of that.
        """
        if self._interrupted.wait(seconds):
            raise KeyboardInterrupt

    def make_release(self, number: int, digest: str, version: str) -> Release:
        """Sign a release of a package for the devices."""
        signature = _signature(self._session.layout, digest)
        key = self._session.key(make=False)
        return sign_release(self._document(number, digest, version), signature, key)

    def _document(self, number: int, digest: str, version: str) -> ReleaseDocument:
        return ReleaseDocument(
            application=self._session.project.spec.name,
            number=number,
            version=version,
            package=digest,
            settings=self._session.project.settings,
        )

    def _publish(self, release: MakeOnce, package: Package, targets: list[Target]) -> None:
        for target in {t.provider: t for t in targets}.values():
            made = release()
            result = self._session.provider(target.provider).package(
                PackageRequest(target=target, package=package, release=made)
            )
            sent = f" ({result.uploaded_bytes} bytes sent)" if result.uploaded_bytes else ""
            self._say(f"release {made.number} is at {result.location}{sent}")

    def _drive(
        self,
        target: Target,
        plan: TargetPlan,
        number: int,
        release: MakeOnce,
        package: Package,
        *,
        wait: bool,
    ) -> TargetResult:
        result = TargetResult(
            target=target.name,
            provider=target.provider,
            release=number,
            package=package.digest,
        )
        if not plan.changes and self._is_over(target, number):
            devices = [device.device for device in plan.devices]
            why = f"all {len(devices)} devices have release {number} already"
            healthy = {"healthy": len(devices)}
            verdict: Verdict | None = Verdict(
                outcome=Outcome.HEALTHY, why=why, total=len(devices), counts=healthy
            )
            return msgspec.structs.replace(result, verdict=verdict)
        try:
            verdict = self._drive_leased(target, plan, release(), package, wait)
        except EdgectlError as exc:
            return msgspec.structs.replace(
                result,
                error=exc.message,
                hint=exc.hint,
                vendor_code=exc.vendor_code,
                error_exit_code=exc.exit_code,
            )
        return msgspec.structs.replace(result, verdict=verdict)

    def _is_over(self, target: Target, number: int) -> bool:
        """Whether no driver was cut off before it had the last soak and a verdict."""
        application = self._session.project.spec.name
        control = Shared(self._session.open(target.provider), target, application).control()
        return control is None or control.release != number or control.phase == "done"

    def _drive_leased(
        self, target: Target, plan: TargetPlan, release: Release, package: Package, wait: bool
    ) -> Verdict | None:
        provider = self._session.open(target.provider)
        shared = Shared(provider, target, release.application)
        rollout = Rollout(
            target=target,
            release=release,
            package=package,
            policy=self._session.project.policy,
            waves=plan.wave_devices(),
            baseline=plan.baseline,
        )
        facts: dict[str, str | int] = {
            "target": target.name,
            "release": release.number,
            "from": plan.baseline,
            "to": package.digest,
        }

        def taken_over(who: str) -> None:
            self._session.record(target.provider, "take-over-lease", "ok", {**facts, "who": who})

        with shared.lease(taken_over):
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
            verdict = driver.run(wait=wait)
            outcome = str(verdict.outcome) if verdict is not None else "begun"
            self._session.record(target.provider, "rollout-end", outcome, facts)
            return verdict

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
            newest = known[0]
            content = self._document(newest.number, digest, before.version).content_digest()
            number = newest.number if newest.content == content else newest.number + 1
            release = self.make_release(number, digest, before.version)
            package = known_package(self._session, application, before.version, digest)
            provider.package(PackageRequest(target=target, package=package, release=release))
            return release, package


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
