"""``edgectl run``."""

from __future__ import annotations

import click

from edgectl.cli.app import App, changes, command, poll_option, take_over_option, target_options
from edgectl.cli.commands.deploy import Wishes, roll_out
from edgectl.workflow import build


@click.command()
@target_options
@take_over_option
@poll_option
@command
@changes
def run(
    app: App,
    *,
    targets: tuple[str, ...],
    providers: tuple[str, ...],
    take_over: bool,
    poll: float,
) -> None:
    """Train, register, package and deploy in one go, and wait for the verdict."""
    session = app.session()
    provider = providers[0] if len(providers) == 1 else None
    app.out.progress("training")
    build.train(session, provider)
    if app.dry is not None:
        app.out.one({}, "what was trained is registered, packaged and deployed; each has --dry-run")
        return
    app.out.progress("registering")
    version = build.register(session, provider)
    app.out.progress(f"{version.name} {version.version} passed its gates")
    package = build.package(session)
    app.out.progress(f"packaged {package.digest}")
    wishes = Wishes(targets=targets, providers=providers, poll=poll, take_over=take_over)
    code = roll_out(app, session, package, wishes)
    click.get_current_context().exit(code)
