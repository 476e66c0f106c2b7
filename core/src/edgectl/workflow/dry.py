"""What carrying out a plan would do, noted step by step for a dry run.

The release is signed in memory, so that a key that is missing is told now. Nothing is driven:
which device gets what when depends on what each device does.
"""

from __future__ import annotations

from collections.abc import Callable

from edgectl.dryrun import DryRun
from edgectl.records import Package
from edgectl.session import Session, operator
from edgectl.workflow.deploy import Deployer
from edgectl.workflow.plan import Plan, TargetPlan
from edgectl.workflow.shared import Shared
from edgectl.wrappers import Facts


def note_rollout(
    session: Session,
    dry: DryRun,
    plan: Plan,
    package: Package,
    say: Callable[[str], None],
    *,
    given: bool = True,
) -> None:
    """Note what a deploy of a plan would do to each of its targets.

    Args:
        session: Of the dry run.
        dry: Takes the notes.
        plan: What would be carried out.
        package: What would go out.
        say: Takes a line for people.
        given: Whether devices would be given it, or it would only be brought to the providers.

    Raises:
        ProjectError: The publisher's key is missing.
    """
    publisher = Deployer(session, lambda line: None).publisher(plan, package)
    for one in plan.targets:
        if one.changes or plan.is_new:
            publisher.bring(session.project.target(one.target))
        if given and (one.changes or plan.is_new):
            _note_target(session, dry, plan, one, say)
    if not dry.steps:
        say("nothing would change")


def _note_target(
    session: Session, dry: DryRun, plan: Plan, one: TargetPlan, say: Callable[[str], None]
) -> None:
    target, application = session.project.target(one.target), session.project.spec.name
    held = Shared(session.provider(one.provider), target, application).driver()
    if held:
        say(f"{one.target}: {held} holds it now; until that ends, a deploy is refused")
    facts: Facts = {
        "target": one.target,
        "release": plan.release_of(one.target),
        "to": plan.package,
    }
    begin: Facts = {**facts, "from": one.baseline}
    dry.note("call", "coordinate", one.provider, {"target": one.target, "lease": operator()})
    dry.note("journal", "rollout-begin", one.provider, begin)
    for wave, size in enumerate(one.waves, start=1):
        changing = sum(1 for d in one.devices if d.wave == wave and d.change != "none")
        given: Facts = {**facts, "wave": wave, "devices": size, "changing": changing}
        dry.note("call", "deploy", one.provider, given)
        dry.note("journal", "assign", one.provider, {**facts, "devices": size})
    dry.note("journal", "rollout-end", one.provider, begin)
