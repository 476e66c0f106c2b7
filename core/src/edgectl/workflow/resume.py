"""Plans that start from what the provider remembers: resuming, and rolling back by hand."""

from __future__ import annotations

import msgspec

from edgectl.errors import NotFoundError, PlanError
from edgectl.records import Package, ReleaseRecord, Target
from edgectl.requests import ObserveRequest
from edgectl.session import Session
from edgectl.workflow.deploy import known_package
from edgectl.workflow.numbers import number_above, number_of
from edgectl.workflow.plan import Plan, plan_target, release_history
from edgectl.workflow.shared import Control


def resume_plan(session: Session, target: Target, control: Control) -> tuple[Plan, Package]:
    """Plan the rest of the rollout that ``control`` tells of.

    Raises:
        NotFoundError: The provider does not know its release.
    """
    history = release_history(session.provider(target.provider), target, session.project.spec.name)
    record = next((r for r in history if r.number == control.release), None)
    if record is None:
        raise NotFoundError(f"provider '{target.provider}' does not know release {control.release}")
    is_back = is_way_back(history, record.package, control.baseline)
    return _plan(session, target, record, record.number, is_new=False, is_back=is_back)


def is_way_back(history: list[ReleaseRecord], package: str, baseline: str) -> bool:
    """Whether a release is a way back: its package is older than the one that it replaces."""
    first = {record.package: record.number for record in history}  # newest first: the oldest stays
    return first.get(package, 0) < first.get(baseline, 0)


def rollback_plan(session: Session, target: Target, to_release: int | None) -> tuple[Plan, Package]:
    """Plan the way back to an earlier release's package.

    Without ``to_release`` it is the newest release from before the target's present package first
    went out: a release that was rolled back in between does not come back by accident. Present is
    the newest release that one of the target's own devices was given; other targets may have
    gone on, or back, without it.

    Raises:
        PlanError: There is no earlier release, or no such release.
    """
    history = release_history(session.provider(target.provider), target, session.project.spec.name)
    if not history:
        raise PlanError(f"nothing was ever deployed to target '{target.name}'")
    if to_release is None:
        present = _present(session, target, history)
        first = min(r.number for r in history if r.package == present.package)
        record = next((r for r in history if r.number < first), None)
    else:
        record = next((r for r in history if r.number == to_release), None)
    if record is None:
        known = ", ".join(str(r.number) for r in history[:10])
        wanted = f"knows no release {to_release}" if to_release else "has no release to return to"
        raise PlanError(
            f"target '{target.name}' {wanted}",
            hint=f"releases at the provider: {known}",
        )
    number, is_new, _ = number_of(
        session.project, target.name, history, package=record.package, version=record.version
    )
    plan, package = _plan(session, target, record, number, is_new=is_new)
    if (above := number_above(plan.targets[0], history)) != number:
        return _plan(session, target, record, above, is_new=True)
    return plan, package


def _present(session: Session, target: Target, history: list[ReleaseRecord]) -> ReleaseRecord:
    request = ObserveRequest(target=target, application=session.project.spec.name)
    given = {status.release for status in session.provider(target.provider).observe(request)}
    return next((record for record in history if record.number in given), history[0])


def _plan(
    session: Session,
    target: Target,
    record: ReleaseRecord,
    number: int,
    *,
    is_new: bool,
    is_back: bool = True,
) -> tuple[Plan, Package]:
    application = session.project.spec.name
    package = known_package(session, application, record.version, record.package)
    policy = session.project.policy
    if is_back:  # the way back has to be open, whatever devices tell of it
        policy = msgspec.structs.replace(policy, gates=None)
    planned = plan_target(
        session.provider(target.provider),
        target,
        package,
        release=number,
        policy=policy,
        precision=session.project.settings.precision,
        window=session.project.window(target.name),
        network=session.project.settings_of(target.name).network,
    )
    plan = Plan(
        application=application,
        version=record.version,
        package=record.package,
        size_bytes=package.size_bytes,
        release=number,
        is_new=is_new,
        targets=(planned,),
    )
    return plan, package
