"""``edgectl deploy``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from edgectl.cli.app import App, changes, command, poll_option, take_over_option, target_options
from edgectl.cli.board import Board
from edgectl.cli.commands.plan import show_plan
from edgectl.cli.junit import write_junit
from edgectl.cli.output import show_error
from edgectl.codec import plain
from edgectl.records import Package, Record
from edgectl.rehearsal.emulators import check_emulated
from edgectl.rehearsal.emulators import command as command_line
from edgectl.rehearsal.loopback import fenced
from edgectl.rollout.verdict import describe
from edgectl.session import Session
from edgectl.workflow import build
from edgectl.workflow.approval import check_approval
from edgectl.workflow.deploy import GATE, Deployer
from edgectl.workflow.dry import note_rollout
from edgectl.workflow.plan import Plan
from edgectl.workflow.planner import make_plan
from edgectl.workflow.results import TargetResult, exit_code
from edgectl.workflow.review import check_unchanged, read_plan

DEVICES = 2


def emulate_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--emulate`` and what goes with it."""
    function = click.option(
        "--soak",
        metavar="DURATION",
        help="With --emulate: soak no longer than this, whatever the project says.",
    )(function)
    function = click.option(
        "--keep", is_flag=True, help="With --emulate: leave the emulators running for a look."
    )(function)
    function = click.option(
        "--devices",
        type=click.IntRange(1, 200),
        metavar="N",
        help=f"With --emulate: virtual devices a target, {DEVICES} by default.",
    )(function)
    return click.option(
        "--emulate",
        is_flag=True,
        help="Deploy to the providers' emulators, started for this command; no account is needed.",
    )(function)


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
@click.option(
    "--fail-fast",
    is_flag=True,
    help="Stop the other targets where they are as soon as one fails.",
)
@click.option(
    "--approve",
    "approved",
    multiple=True,
    metavar="TARGET",
    help="Let a target begin whose gate needs an operator's word; may be given several times.",
)
@click.option(
    "--plan",
    "plan_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Apply exactly this plan (edgectl plan -o json); refused if anything changed meanwhile.",
)
@click.option(
    "--junit",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the verdicts as JUnit XML, a test case a device.",
)
@take_over_option
@emulate_options
@poll_option
@command
@changes
def deploy(
    app: App,
    *,
    targets: tuple[str, ...],
    providers: tuple[str, ...],
    wait: bool,
    new_release: bool,
    force_unapproved: bool,
    fail_fast: bool,
    approved: tuple[str, ...],
    plan_file: Path | None,
    junit: Path | None,
    take_over: bool,
    emulate: bool,
    devices: int | None,
    keep: bool,
    soak: str | None,
    poll: float,
) -> None:
    """Roll the package out to the project's targets, side by side.

    Goes wave by wave, decides from each device's own state, and exits with the verdict: 0 all
    healthy, 3 partly, 4 stopped, 5 timed out, 6 rolled back. A target that comes `after` others
    waits for them. It can be killed at any time; the same command goes on where the devices are.

    With --emulate it is a rehearsal: emulators of the targets' providers are started with virtual
    devices that really run the release, and stopped in the end. Nothing else is reached.
    """
    if plan_file is not None and (targets or providers or new_release):
        raise click.UsageError("--plan says which targets and which release; leave those options")
    if plan_file is not None and emulate:
        raise click.UsageError("--plan is of the real fleet, which --emulate does not look at")
    if not emulate and (keep or soak is not None or devices is not None):
        raise click.UsageError("--devices, --keep and --soak are for --emulate")
    wishes = Wishes(
        targets=targets,
        providers=providers,
        wait=wait,
        new_release=new_release,
        poll=poll,
        force_unapproved=force_unapproved,
        fail_fast=fail_fast,
        approved=approved,
        plan_file=plan_file,
        junit=junit,
        take_over=take_over,
    )
    if emulate:
        code = rehearse(app, wishes, devices=devices or DEVICES, keep=keep, soak=soak)
    else:
        session = app.session()
        code = roll_out(app, session, build.last_package(session), wishes)
    click.get_current_context().exit(code)


class Wishes(Record, frozen=True, kw_only=True):
    """What a deploy was asked for; the options of the same names."""

    targets: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    wait: bool = True
    new_release: bool = False
    poll: float = 1.0
    force_unapproved: bool = False
    fail_fast: bool = False
    approved: tuple[str, ...] = ()
    plan_file: Path | None = None
    junit: Path | None = None
    take_over: bool = False


def roll_out(app: App, session: Session, package: Package, wishes: Wishes) -> int:
    """Plan, deploy, print the verdicts; returns the exit code."""
    for name in wishes.approved:
        session.project.target(name)  # one that does not exist is a typing error
    if fenced() is None:  # a rehearsal goes to nobody: it is what a decision is made from
        check_approval(session, package, force=wishes.force_unapproved)
    plan = _plan(app, session, package, wishes)
    if app.dry is not None:
        show_plan(app.out, plan)
        note_rollout(session, app.dry, plan, package, app.out.note)
        if wishes.junit is not None:
            app.dry.note("write", wishes.junit)
        return 1 if plan.refused else 0
    app.out.progress(
        f"{plan.application} {plan.version} {plan.package[:19]} as release {plan.release}: "
        f"{plan.changes} devices change"
    )
    results = drive(app, session, plan, package, wishes)
    show_results(app, results)
    if wishes.junit is not None:
        write_junit(wishes.junit, plan, results)
    return exit_code(results)


def rehearse(app: App, wishes: Wishes, *, devices: int, keep: bool, soak: str | None) -> int:
    """Deploy to emulators that are started for it; returns the exit code of the deploy."""
    from edgectl.cli.rehearse import rehearsal, soak_limit  # noqa: PLC0415 - only a rehearsal pays
    from edgectl.rehearsal.virtual import virtual  # noqa: PLC0415 - see above

    project, other = virtual(app.project(), soak_limit(soak))
    package = build.last_package(app.session())  # before anything is started
    targets = project.targets(wishes.targets, wishes.providers)
    providers = sorted({target.provider for target in targets})
    check_emulated(providers)
    if app.dry is not None:
        for name in providers:
            app.dry.note("run", " ".join(["edgectl", *command_line(name, project.path, devices)]))
        app.out.one({}, "deployed to these, and they are stopped")
        return 0
    with rehearsal(app, project, providers, devices=devices, keep=keep):
        for line in other:
            app.out.note(line)
        return roll_out(app, app.session(project), package, wishes)


def _plan(app: App, session: Session, package: Package, wishes: Wishes) -> Plan:
    if wishes.plan_file is None:
        chosen = app.choose(session, wishes.targets, wishes.providers)
        return make_plan(session, package, chosen, new_release=wishes.new_release)
    reviewed = read_plan(wishes.plan_file)
    chosen = session.project.targets(reviewed.names)
    check_unchanged(reviewed, make_plan(session, package, chosen))
    return reviewed


def drive(
    app: App, session: Session, plan: Plan, package: Package, wishes: Wishes
) -> list[TargetResult]:
    """Carry out a plan and show it while it runs."""
    with Board(app.out) as board:
        deployer = Deployer(
            session,
            board.say,
            watch=board.watch,
            poll_s=wishes.poll,
            approved=wishes.approved,
            fail_fast=wishes.fail_fast,
            take_over=wishes.take_over,
        )
        return deployer.run(plan, package, wait=wishes.wait)


def show_results(app: App, results: list[TargetResult]) -> None:
    """Print one verdict a target."""
    if app.out.form != "text":
        app.out.rows([plain(result) for result in results], ())
        return
    for result in results:
        if result.error:
            show_error(f"{result.target}: {result.error}", result.hint, result.vendor_code)
        elif result.waits_for:
            click.echo(f"{result.target}: waits for {result.waits_for}")
            name = result.target
            gate = result.waits_for == GATE
            what = f"deploy -t {name} --approve {name}" if gate else f"resume -t {name} --approve"
            app.out.note(f"  `edgectl {what}` lets it go on")
        elif result.driven_by:
            click.echo(f"{result.target}: release {result.release} goes on")
            app.out.note(f"  {result.driven_by} drives it and has the verdict")
        elif result.verdict is None:
            click.echo(f"{result.target}: release {result.release} has begun")
            app.out.note("  `edgectl deploy` or `edgectl resume` drives the other waves")
        else:
            click.echo(describe(result.verdict, result.target))
