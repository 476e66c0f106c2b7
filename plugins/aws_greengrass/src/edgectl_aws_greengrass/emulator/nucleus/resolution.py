"""Decides which component versions a device ends up with.

The roots are what the deployment names, and what the device's other targets named in their last
deployments as long as the device is a member; each at exactly its version. From there on the cloud
is asked for each component with all requirements known so far, and again when a new one appears.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from edgectl.api import Record
from edgectl_aws_greengrass.emulator.nucleus.cloud import Answered
from edgectl_aws_greengrass.emulator.nucleus.configuration import updated
from edgectl_aws_greengrass.emulator.nucleus.document import Deployment
from edgectl_aws_greengrass.emulator.nucleus.failures import DeploymentError
from edgectl_aws_greengrass.emulator.nucleus.recipe import Recipe
from edgectl_aws_greengrass.emulator.nucleus.state import Installed, RootComponent

Groups = Mapping[str, Mapping[str, RootComponent]]

_THING = "thing/"
_GROUP = "thinggroup/"


class Chosen(Record, frozen=True, kw_only=True):
    """A component version, with its recipe read and as it came."""

    recipe: Recipe
    raw: bytes
    arn: str


def other_groups(
    groups: Groups, deployment: Deployment, membership: Iterable[str] | None
) -> dict[str, Mapping[str, RootComponent]]:
    """Return what further targets want of this device.

    Args:
        groups: What each target's last deployment set.
        deployment: The one at hand, whose own target is left out.
        membership: The groups the device is in; None keeps all, as a device does that may not ask.
    """
    known = None if membership is None else {f"{_GROUP}{name}" for name in membership}
    return {
        name: components
        for name, components in groups.items()
        if name != deployment.group and (known is None or name.startswith(_THING) or name in known)
    }


def resolve(
    deployment: Deployment,
    others: Groups,
    ask: Callable[[str, dict[str, str]], Answered],
    read: Callable[[bytes], Recipe],
) -> dict[str, Chosen]:
    """Return the version of every component, roots and dependencies.

    Args:
        deployment: What is wanted now.
        others: What further targets want.
        ask: Has the cloud choose.
        read: Reads a recipe.

    Raises:
        DeploymentError: No version satisfies everybody.
        UnavailableError: The cloud cannot be asked now.
    """
    wanted: dict[str, dict[str, str]] = {}
    for name, change in deployment.components.items():
        wanted.setdefault(name, {})[deployment.group] = change.version
    for group, components in others.items():
        for name, root in components.items():
            wanted.setdefault(name, {})[group] = root.version
    roots = set(wanted)
    chosen: dict[str, Chosen] = {}
    asked: dict[str, dict[str, str]] = {}
    while unsettled := [each for each in wanted if asked.get(each) != wanted[each]]:
        name = unsettled[0]
        asked[name] = dict(wanted[name])
        found = ask(name, dict(wanted[name]))
        chosen[name] = Chosen(recipe=read(found.recipe), raw=found.recipe, arn=found.arn)
        wanted = _requirements(wanted, name, chosen, roots)
        chosen = {each: value for each, value in chosen.items() if each in wanted}
        asked = {each: value for each, value in asked.items() if each in wanted}
    return chosen


def _requirements(
    wanted: dict[str, dict[str, str]], name: str, chosen: Mapping[str, Chosen], roots: set[str]
) -> dict[str, dict[str, str]]:
    """Return the requirements with a component's own taken anew, and without what nobody wants."""
    found = {each: dict(who) for each, who in wanted.items()}
    for who in found.values():
        who.pop(name, None)
    for dependency, entry in chosen[name].recipe.dependencies.items():
        found.setdefault(dependency, {})[name] = entry.requirement
    return {each: who for each, who in found.items() if who or each in roots}


def installed(
    deployment: Deployment,
    others: Groups,
    chosen: Mapping[str, Chosen],
    had: Mapping[str, Installed],
) -> dict[str, Installed]:
    """Return the components that the device is to have, with their configuration.

    Raises:
        DeploymentError: A reset names no place.
    """
    found = {}
    arns = _arns(deployment, others, chosen)
    for name, choice in chosen.items():
        old, change = had.get(name), deployment.components.get(name)
        try:
            configuration = updated(
                old.configuration if old else None,
                choice.recipe.configuration,
                change.reset if change else (),
                change.merge if change else None,
            )
        except ValueError as exc:
            raise DeploymentError(str(exc), "COMPONENT_CONFIGURATION_NOT_VALID") from exc
        kept_user = old.posix_user if old else None
        found[name] = Installed(
            version=choice.recipe.version,
            arn=choice.arn,
            recipe=choice.raw.decode(),
            configuration=configuration,
            posix_user=change.posix_user if change else kept_user,
            root=change is not None or any(name in group for group in others.values()),
            from_arns=tuple(sorted(arns[name])),
        )
    return found


def _arns(
    deployment: Deployment, others: Groups, chosen: Mapping[str, Chosen]
) -> dict[str, set[str]]:
    """Return the deployments that each component is there for, its dependents' included."""
    found: dict[str, set[str]] = {
        name: {group[name].arn for group in others.values() if name in group} for name in chosen
    }
    for name in deployment.components:
        found[name].add(deployment.configuration_arn)
    grew = True
    while grew:
        before = sum(map(len, found.values()))
        for name, choice in chosen.items():
            for dependency in choice.recipe.dependencies:
                found[dependency] |= found[name]
        grew = sum(map(len, found.values())) > before
    return found
