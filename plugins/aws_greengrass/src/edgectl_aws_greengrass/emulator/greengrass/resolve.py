"""resolveComponentCandidates: the newest version that satisfies all who ask, for a platform."""

from __future__ import annotations

from edgectl_aws_greengrass.emulator.greengrass import recipes
from edgectl_aws_greengrass.emulator.greengrass.components import Component, Components
from edgectl_aws_greengrass.emulator.greengrass.versions import parse, satisfies
from edgectl_aws_greengrass.emulator.ports import Candidate, CloudError, Platform, Resolved


def resolve(
    components: Components, candidates: tuple[Candidate, ...], platform: Platform
) -> tuple[Resolved, ...]:
    """Answer a device.

    Raises:
        CloudError: ``ResourceNotFoundException`` that names the component and who asks for what.
    """
    return tuple(_resolve(components, candidate, platform) for candidate in candidates)


def _resolve(components: Components, candidate: Candidate, platform: Platform) -> Resolved:
    wanted = " ".join(f"{who}: {what}" for who, what in sorted(candidate.requirements.items()))
    fitting = [c for c in components.versions(candidate.name) if _fits(c, candidate)]
    if not fitting:
        raise CloudError(
            "ResourceNotFoundException",
            f"No component version of {candidate.name} satisfies the requirements {{{wanted}}}",
            404,
        )
    running = [c for c in fitting if recipes.runs_on(c.recipe, platform.attributes)]
    if not running:
        raise CloudError(
            "ResourceNotFoundException",
            f"No component version of {candidate.name} that satisfies {{{wanted}}} supports the "
            f"platform {platform.attributes}",
            404,
        )
    found = running[0]
    return Resolved(
        arn=found.arn,
        name=found.name,
        version=found.version,
        recipe=recipes.encode(found.recipe),
    )


def _fits(component: Component, candidate: Candidate) -> bool:
    if component.state != "DEPLOYABLE":
        return False
    version = parse(component.version)
    try:
        return all(satisfies(version, what) for what in candidate.requirements.values())
    except ValueError as error:
        raise CloudError("ValidationException", str(error)) from None
