"""``edgectl deploy``."""

from __future__ import annotations

import click

from edgectl.cli.app import App, command, poll_option, target_options
from edgectl.cli.board import Board
from edgectl.codec import plain
from edgectl.records import Package
from edgectl.session import Session
from edgectl.workflow import build
from edgectl.workflow.approval import check_approval
from edgectl.workflow.deploy import Deployer, TargetResult, exit_code, make_plan
from edgectl.workflow.drive import describe
from edgectl.workflow.plan import Plan


@click.command()
@target_options
@click.option(
    "--wait/--no-wait",
    default=True,
    show_default=True,
    help="Drive all waves and wait for the devices' verdict, or only begin the first wave.",
)
@click.option(
    "--new-release",
    is_flag=True,
    help="Make a new release even if nothing changed, so that failed devices try again.",
)
@click.option(
    "--force-unapproved",
    is_flag=True,
    help="Deploy a version that nobody approved, or that was rejected; the journal says so.",
)
@poll_option
@command
def deploy(
    app: App,
    *,
    targets: tuple[str, ...],
    provider: str | None,
    wait: bool,
    new_release: bool,
    force_unapproved: bool,
    poll: float,
) -> None:
    """Roll the package out to the project's targets.

    Goes wave by wave, decides from each device's own state, and exits with the verdict: 0 all
    healthy, 3 partly, 4 stopped, 5 timed out, 6 rolled back. It can be killed at any time; the
    same command goes on where the devices are.
    """
    session = app.session()
    package = build.last_package(session)
    code = roll_out(
        app,
        session,
        package,
        targets=targets,
        provider=provider,
        wait=wait,
        new_release=new_release,
        poll=poll,
        force_unapproved=force_unapproved,
    )
    click.get_current_context().exit(code)


def roll_out(
    app: App,
    session: Session,
    package: Package,
    *,
    targets: tuple[str, ...],
    provider: str | None,
    wait: bool,
    new_release: bool,
    poll: float,
    force_unapproved: bool = False,
) -> int:
    """Plan, deploy, print the verdicts; returns the exit code."""
    check_approval(session, package, force=force_unapproved)
    chosen = app.choose(session, targets, provider)
    plan = make_plan(session, package, chosen, new_release=new_release)
    app.out.progress(
        f"{plan.application} {plan.version} {plan.package[:19]} as release {plan.release}: "
        f"{plan.changes} devices change"
    )
    results = drive(app, session, plan, package, poll=poll, wait=wait)
    show_results(app, results)
    return exit_code(results)


def drive(
    app: App, session: Session, plan: Plan, package: Package, *, poll: float, wait: bool = True
) -> list[TargetResult]:
    """Carry out a plan and show it while it runs."""
    with Board(app.out) as board:
        deployer = Deployer(session, board.say, watch=board.watch, poll_s=poll)
        return deployer.run(plan, package, wait=wait)


def show_results(app: App, results: list[TargetResult]) -> None:
    """Print one verdict a target."""
    if app.out.form != "text":
        app.out.rows([plain(result) for result in results], ())
        return
    for result in results:
        if result.error:
            click.echo(f"error: {result.target}: {result.error}", err=True)
            if result.vendor_code:
                click.echo(f"  code: {result.vendor_code}", err=True)
            if result.hint:
                click.echo(f"  hint: {result.hint}", err=True)
        elif result.driven_by:
            click.echo(f"{result.target}: release {result.release} goes on")
            app.out.note(f"  {result.driven_by} drives it and has the verdict")
        elif result.verdict is None:
            click.echo(f"{result.target}: release {result.release} has begun")
            app.out.note("  `edgectl deploy` or `edgectl resume` drives the other waves")
        else:
            click.echo(describe(result.verdict, result.target))
