"""``edgectl rollback``."""

from __future__ import annotations

import click

from edgectl.cli.app import App, changes, command, poll_option, take_over_option, target_options
from edgectl.cli.commands.deploy import Wishes, drive, show_results
from edgectl.cli.commands.plan import show_plan
from edgectl.workflow.dry import note_rollout
from edgectl.workflow.results import exit_code
from edgectl.workflow.resume import rollback_plan


@click.command()
@target_options
@click.option(
    "--to",
    "to_release",
    type=click.IntRange(min=1),
    metavar="RELEASE",
    help="The release whose package comes back; by default the one before the present.",
)
@take_over_option
@poll_option
@command
@changes
def rollback(
    app: App,
    *,
    targets: tuple[str, ...],
    providers: tuple[str, ...],
    to_release: int | None,
    take_over: bool,
    poll: float,
) -> None:
    """Return to an earlier release's package.

    Makes a new release, with a higher number, that points at the older package, and rolls it
    out like any other. Works from any machine that has the signing key.
    """
    session = app.session()
    results = []
    for target in app.choose(session, targets, providers):
        plan, package = rollback_plan(session, target, to_release)
        app.out.progress(
            f"{target.name}: back to {package.version} {package.digest[:19]} "
            f"as release {plan.release}"
        )
        if app.dry is not None:
            show_plan(app.out, plan)
            note_rollout(session, app.dry, plan, package, app.out.note)
            continue
        results += drive(app, session, plan, package, Wishes(poll=poll, take_over=take_over))
    show_results(app, results)
    click.get_current_context().exit(exit_code(results))
