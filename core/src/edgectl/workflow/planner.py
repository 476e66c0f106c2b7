"""Planning a deploy to several targets: one release for all of them, and a plan or a refusal each.

Providers are asked side by side. One that cannot be asked, or a target that cannot take the
package, does not stop the others; it stands in the plan with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from edgectl.errors import EdgectlError, PlanError
from edgectl.provider import Provider
from edgectl.records import Package, ReleaseRecord, Target
from edgectl.session import Session
from edgectl.workflow.numbers import contents_of, number_anew, number_releases
from edgectl.workflow.plan import (
    Plan,
    Refusal,
    TargetPlan,
    plan_target,
    release_history,
)
from edgectl.workflow.publish import stored_deltas
from edgectl.workflow.shared import Shared

T = TypeVar("T")


class _Answer(NamedTuple):
    """What a provider remembers.

    Attributes:
        history: The application's releases, newest first.
        unfinished: Releases of rollbacks that were cut off, in the targets' order.
    """

    history: list[ReleaseRecord]
    unfinished: list[int]


def make_plan(
    session: Session,
    package: Package,
    targets: list[Target],
    *,
    new_release: bool = False,
) -> Plan:
    """Plan a deploy to several targets.

    Args:
        session: The project at work.
        package: What goes out.
        targets: Where it goes.
        new_release: Make a new release even if the last one has the same content, so that
            devices which refused it try again.

    Raises:
        EdgectlError: No target can be deployed to; of several, the first one's reason.
    """
    errors: dict[str, EdgectlError] = {}  # of targets
    by_provider: dict[str, list[Target]] = {}
    for target in targets:
        by_provider.setdefault(target.provider, []).append(target)
    providers = _opened(session, by_provider, errors)

    def ask(name: str) -> _Answer | None:
        try:
            return _asked(providers[name], by_provider[name], package.application)
        except EdgectlError as exc:
            errors.update({target.name: exc for target in by_provider[name]})
            return None

    answers = {name: answer for name, answer in _side_by_side(ask, providers) if answer}
    answered = [target for target in targets if target.provider in answers]
    contents = contents_of(session.project, package=package.digest, version=package.version)
    wanted = {target.name: contents[target.name] for target in answered}
    histories = {target.name: answers[target.provider].history for target in answered}
    numbers = number_releases(
        wanted,
        histories,
        set(contents.values()),
        package=package.digest,
        unfinished=[number for answer in answers.values() for number in answer.unfinished],
        new_release=new_release,
    )
    plans: dict[str, TargetPlan] = {}

    def plan(name: str) -> None:
        for target in by_provider[name]:
            if target.name in plans or target.name in errors:
                continue
            number = numbers[target.name].number
            try:
                plans[target.name] = _plan(session, providers[name], target, package, number)
            except EdgectlError as exc:
                errors[target.name] = exc

    _side_by_side(plan, answers)
    if anew := number_anew(numbers, wanted, histories.values(), plans):
        numbers |= anew
        plans = {name: one for name, one in plans.items() if name not in anew}
        _side_by_side(plan, {target.provider for target in targets if target.name in anew})
    _refuse_shared(plans, errors, [target.name for target in answered])
    if not plans:
        raise next(errors[target.name] for target in targets)
    return Plan(
        application=package.application,
        version=package.version,
        package=package.digest,
        size_bytes=package.size_bytes,
        release=max(numbers[name].number for name in plans),
        is_new=any(numbers[name].is_new for name in plans),
        targets=tuple(plans[target.name] for target in targets if target.name in plans),
        refused=tuple(
            _refusal(target, errors[target.name]) for target in targets if target.name in errors
        ),
    )


def _side_by_side(act: Callable[[str], T], names: Iterable[str]) -> list[tuple[str, T]]:
    ordered = sorted(names)
    with ThreadPoolExecutor(max_workers=max(len(ordered), 1)) as pool:
        return list(zip(ordered, pool.map(act, ordered), strict=True))


def _opened(
    session: Session, by_provider: Mapping[str, list[Target]], errors: dict[str, EdgectlError]
) -> dict[str, Provider]:
    found = {}
    for name, targets in by_provider.items():  # in turn: a session opens each provider once
        try:
            found[name] = session.provider(name)
        except EdgectlError as exc:
            errors.update({target.name: exc for target in targets})
    return found


def _asked(provider: Provider, targets: list[Target], application: str) -> _Answer:
    history = release_history(provider, targets[0], application)
    controls = [Shared(provider, target, application).control() for target in targets]
    return _Answer(history, [c.release for c in controls if c and c.phase == "rollback"])


def _refuse_shared(
    plans: dict[str, TargetPlan], errors: dict[str, EdgectlError], names: list[str]
) -> None:
    """Refuse targets of which a device would get two releases at once, by other limits each."""
    found: dict[tuple[str, str], TargetPlan] = {}
    for name in names:
        one = plans.get(name)
        if one is None:
            continue
        for device in one.devices:
            other = found.setdefault((one.provider, device.device), one)
            if other.release != one.release:
                errors[name] = PlanError(
                    f"device '{device.device}' is in target '{other.target}' too, whose network "
                    "has other limits",
                    hint="give both the same `network`, or leave the device out of one selector",
                )
                del plans[name]
                break


def _plan(
    session: Session, provider: Provider, target: Target, package: Package, number: int
) -> TargetPlan:
    return plan_target(
        provider,
        target,
        package,
        release=number,
        policy=session.project.policy,
        precision=session.project.settings.precision,
        window=session.project.window(target.name),
        network=session.project.settings_of(target.name).network,
        deltas=stored_deltas(package),
    )


def _refusal(target: Target, error: EdgectlError) -> Refusal:
    return Refusal(
        target=target.name,
        provider=target.provider,
        error=error.message,
        hint=error.hint,
        vendor_code=error.vendor_code,
        exit_code=error.exit_code,
    )
