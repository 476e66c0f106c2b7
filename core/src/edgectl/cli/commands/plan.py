"""``edgectl plan``."""

from __future__ import annotations

import click

from edgectl.cli.app import App, command, target_options
from edgectl.cli.plan_text import describe, markdown
from edgectl.codec import plain
from edgectl.workflow import build
from edgectl.workflow.planner import make_plan

CHANGES = 2


@click.command()
@target_options
@click.option(
    "--detailed-exitcode",
    is_flag=True,
    help="Exit 2 when something would change, 0 when nothing would, 1 on errors.",
)
@click.option("--markdown", "as_markdown", is_flag=True, help="Print it for a pull request.")
@command
def plan(
    app: App,
    *,
    targets: tuple[str, ...],
    providers: tuple[str, ...],
    detailed_exitcode: bool,
    as_markdown: bool,
) -> None:
    """Show what a deploy would change, and change nothing.

    Reads the targets' present state, checks every limit and whether each device can run the
    package, and prints what each device would go through, wave by wave. `-o json` is what
    `edgectl deploy --plan` takes. Exits 1 when a target cannot be deployed to.
    """
    session = app.session()
    made = make_plan(session, build.last_package(session), app.choose(session, targets, providers))
    if as_markdown:
        click.echo(markdown(made))
    elif app.out.form == "text":
        click.echo(describe(made, every=app.out.level > 0))
    else:
        app.out.one(plain(made), "")
    if made.refused:
        click.get_current_context().exit(1)
    if detailed_exitcode and (made.changes or made.is_new):
        click.get_current_context().exit(CHANGES)
