"""Which number a target's release gets.

A release is a package with the settings that its devices run it by, and one number has one
content. So targets whose settings are the same share a release; those whose network has other
limits get one of their own, with the next number. A number is taken again where nothing but
releases of the same package, by other limits, has come after it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from edge_components.contract.release import ReleaseDocument
from edgectl.project.load import Project
from edgectl.records import ReleaseRecord
from edgectl.workflow.plan import TargetPlan

History = list[ReleaseRecord]


class Numbered(NamedTuple):
    """A target's release.

    Attributes:
        is_new: Whether it has to be made, or brought to the target's provider.
        goes_on: Whether it is one of a rollback that was cut off.
    """

    number: int
    is_new: bool
    goes_on: bool = False


def document_of(
    project: Project, target: str, *, package: str, version: str, number: int = 0
) -> ReleaseDocument:
    """Return what a publisher signs for a target's devices."""
    return ReleaseDocument(
        application=project.spec.name,
        number=number,
        version=version,
        package=package,
        settings=project.settings_of(target),
    )


def contents_of(project: Project, *, package: str, version: str) -> dict[str, str]:
    """Return the content of each target's release of a package, by the target's name."""
    return {
        name: document_of(project, name, package=package, version=version).content_digest()
        for name in project.spec.targets
    }


def known_numbers(
    histories: Iterable[History], siblings: Collection[str], package: str
) -> dict[str, int]:
    """Return the numbers that can be taken again, by content.

    Args:
        histories: The application's releases at each provider.
        siblings: The contents of all targets' releases of the package.
        package: Its digest. What came after a release ends its use, because devices may have seen
            it; but not one of the same package by the limits that another target has or had.
    """
    contents: dict[int, set[str]] = {}
    ends: set[int] = set()
    for history in histories:
        for record in history:
            contents.setdefault(record.number, set()).add(record.content)
            if record.package != package or (len(siblings) == 1 and record.content not in siblings):
                ends.add(record.number)
    found: dict[str, int] = {}
    for number in sorted(contents, reverse=True):
        if number in ends or len(contents[number]) > 1:
            break
        found.setdefault(contents[number].pop(), number)
    return found


def number_releases(
    wanted: Mapping[str, str],
    histories: Mapping[str, History],
    siblings: Collection[str],
    *,
    package: str,
    unfinished: Collection[int] = (),
    new_release: bool = False,
) -> dict[str, Numbered]:
    """Choose the number of each content's release from what the providers remember.

    Args:
        wanted: Contents by target, in the targets' order.
        histories: The application's releases at each target's provider, by target.
        siblings: As for ``known_numbers``.
        package: Likewise.
        unfinished: Releases of rollbacks that were cut off; one of a wanted content goes on.
        new_release: Take no number again.

    Returns:
        One entry a target.
    """
    known = {} if new_release else known_numbers(histories.values(), siblings, package)
    going_on = {
        record.content: record.number
        for number in reversed([] if new_release else list(unfinished))
        for history in histories.values()
        for record in history
        if record.number == number
    }
    highest = _highest(histories.values())
    chosen: dict[str, Numbered] = {}
    for target, content in wanted.items():
        number = going_on.get(content, known.get(content, 0))
        if not number:
            highest += 1
            number = known[content] = highest
        there = any(record.number == number for record in histories[target])
        chosen[target] = Numbered(number, not there, content in going_on)
    return chosen


def number_of(
    project: Project, target: str, history: History, *, package: str, version: str
) -> Numbered:
    """Return the number that a target's release of a package has at a provider, or would get."""
    contents = contents_of(project, package=package, version=version)
    wanted = {target: contents[target]}
    siblings = set(contents.values())
    return number_releases(wanted, {target: history}, siblings, package=package)[target]


def number_anew(
    chosen: Mapping[str, Numbered],
    wanted: Mapping[str, str],
    histories: Iterable[History],
    plans: Mapping[str, TargetPlan],
) -> dict[str, Numbered]:
    """Return new numbers for releases that a device of theirs would refuse as older than its own.

    That is a device that came from a target whose release has a higher number, or one that was
    brought a release which its provider does not know (``edgectl package --bundle`` without a
    link), or one of a provider that lost its memory.
    """
    late = {
        wanted[name]
        for name, plan in plans.items()
        if not chosen[name].goes_on and _is_late(plan, chosen[name].number)
    }
    highest = max([one.number for one in chosen.values()] + [_highest(histories)])
    highest = max([highest, *(plan.newest for plan in plans.values())])
    anew = {content: highest + place for place, content in enumerate(sorted(late), start=1)}
    return {
        name: Numbered(anew[content], is_new=True)
        for name, content in wanted.items()
        if content in anew
    }


def number_above(plan: TargetPlan, history: History) -> int:
    """Return the plan's number, or one above all where a device would refuse that."""
    if not _is_late(plan, plan.release):
        return plan.release
    return max(plan.newest, _highest([history])) + 1


def _is_late(plan: TargetPlan, number: int) -> bool:
    """Whether a device has a higher release, or another one of that number."""
    return plan.newest > number or any(
        device.from_release == number and device.from_package and device.change != "none"
        for device in plan.devices
    )


def _highest(histories: Iterable[History]) -> int:
    return max((record.number for history in histories for record in history), default=0)
