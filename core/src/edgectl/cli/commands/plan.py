"""``edgectl plan``."""

from __future__ import annotations

import click

from edgectl.cli.app import App, command, target_options
from edgectl.codec import plain
from edgectl.workflow import build
from edgectl.workflow.deploy import make_plan
from edgectl.workflow.plan import Plan

SHOWN = 20


@click.command()
@target_options
@command
def plan(app: App, targets: tuple[str, ...], provider: str | None) -> None:
    """Show what a deploy would change, and change nothing.

    Reads the targets' present state, checks every limit and whether each device can run the
    package, and prints what each device would go through, wave by wave.
    """
    session = app.session()
    made = make_plan(session, build.last_package(session), app.choose(session, targets, provider))
    if app.out.form == "text":
        click.echo(describe(made, every=app.out.level > 0))
    else:
        app.out.one(plain(made), "")


def describe(made: Plan, *, every: bool = False) -> str:
    """Return a plan as text for people."""
    news = "new" if made.is_new else "present"
    lines = [
        f"{made.application} {made.version}  {made.package}",
        f"release {made.release} ({news}): {made.changes} devices change",
    ]
    for target in made.targets:
        waves = " + ".join(str(size) for size in target.waves)
        lines.append(f"{target.target} ({target.provider}): waves of {waves} devices")
        lines += [f"  note: {note}" for note in target.notes]
        shown = target.devices if every else target.devices[:SHOWN]
        for device in shown:
            before = device.from_package[:19] or "nothing"
            lines.append(f"  wave {device.wave}  {device.device}  {device.change}  from {before}")
        if len(shown) < len(target.devices):
            lines.append(f"  and {len(target.devices) - len(shown)} more (-v shows all)")
    return "\n".join(lines)
