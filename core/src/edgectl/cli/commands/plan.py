"""``edgectl plan``."""

from __future__ import annotations

from pathlib import Path

import click

from edgectl.cli.app import App, changes, command, target_options
from edgectl.cli.dry import DryOutput
from edgectl.cli.output import Output
from edgectl.cli.plan_text import describe, markdown
from edgectl.codec import plain
from edgectl.workflow import build
from edgectl.workflow.dry import note_rollout
from edgectl.workflow.manifests import write_manifests
from edgectl.workflow.plan import Plan
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
@click.option(
    "--write",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write the documents that the provider would make, for teams that keep them in Git.",
)
@command
@changes
def plan(
    app: App,
    *,
    targets: tuple[str, ...],
    providers: tuple[str, ...],
    detailed_exitcode: bool,
    as_markdown: bool,
    folder: Path | None,
) -> None:
    """Show what a deploy would change, and change nothing.

    Reads the targets' present state, checks every limit and whether each device can run the
    package, and prints what each device would go through, wave by wave. `-o json` is what
    `edgectl deploy --plan` takes. Exits 1 when a target cannot be deployed to.

    With --write, package and release are brought to the registry too, because what is written
    names them by digest; no device gets anything.
    """
    session = app.session()
    package = build.last_package(session)
    made = make_plan(session, package, app.choose(session, targets, providers))
    if folder is not None and app.dry is not None:
        note_rollout(session, app.dry, made, package, app.out.note, given=False)
        app.dry.note("write", f"{folder}/…")
    elif folder is not None:
        for path in write_manifests(session, package, made, folder, app.out.note):
            app.out.note(path)
    show_plan(app.out, made, as_markdown=as_markdown)
    if made.refused:
        click.get_current_context().exit(1)
    if detailed_exitcode and (made.changes or made.is_new):
        click.get_current_context().exit(CHANGES)


def show_plan(out: Output, made: Plan, *, as_markdown: bool = False) -> None:
    """Print a plan as text, Markdown or JSON; in a dry run too."""
    if isinstance(out, DryOutput):
        out = out.beside_plan()
    if as_markdown:
        click.echo(markdown(made))
    elif out.form == "text":
        click.echo(describe(made, every=out.level > 0))
    else:
        out.one(plain(made), "")
