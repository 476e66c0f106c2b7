"""What every command has: the common options, and the session they lead to."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgectl.cli.output import Output

if TYPE_CHECKING:
    from edgectl.dryrun import DryRun
    from edgectl.project.load import Project
    from edgectl.records import Target
    from edgectl.session import Session


class App:
    """The common options of one call.

    Attributes:
        out: Where results and progress go.
        path: The project file or its folder.
        dry: Takes what would be done, in a dry run.
    """

    dry: DryRun | None = None

    def __init__(self, path: str, out: Output) -> None:
        self.path = Path(path)
        self.out = out

    def project(self) -> Project:
        """Read the project."""
        from edgectl.project.load import load_project  # noqa: PLC0415 - keeps --help fast

        return load_project(self.path)

    def session(self, project: Project | None = None) -> Session:
        """Begin a session on the project, or on one that was made from it."""
        from edgectl.rehearsal.loopback import fenced  # noqa: PLC0415 - keeps --help fast
        from edgectl.session import Session  # noqa: PLC0415 - keeps --help fast

        return Session(project or self.project(), self.out.progress, self.dry, aside=fenced())

    def choose(
        self, session: Session, names: tuple[str, ...], providers: tuple[str, ...]
    ) -> list[Target]:
        """Return the targets that the options ask for."""
        return session.project.targets(names, providers)


def changes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command that changes something ``--dry-run``; stands below ``command``."""

    @click.option(
        "--dry-run", "dry_run_", is_flag=True, help="Say what would be done, and change nothing."
    )
    @functools.wraps(function)
    def wrapper(app: App, *, dry_run_: bool, **options: Any) -> Any:
        if not dry_run_:
            return function(app, **options)
        from edgectl.cli.dry import dry_run  # noqa: PLC0415 - keeps --help fast

        with dry_run(app.out) as (app.dry, app.out):
            return function(app, **options)

    return wrapper


def command(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the common options, and an ``App`` as its first argument."""

    @click.option("-p", "--project", "project_", metavar="PATH", help="Project file or folder.")
    @click.option(
        "-o",
        "--output",
        "output_",
        type=click.Choice(["text", "json", "jsonl"]),
        help="Form of the result on stdout.",
    )
    @click.option("-v", "--verbose", "verbose_", count=True, help="Say more on stderr.")
    @click.option("-q", "--quiet", "quiet_", count=True, help="Say less on stderr.")
    @functools.wraps(function)
    def wrapper(
        project_: str | None,
        output_: str | None,
        verbose_: int,
        quiet_: int,
        **options: Any,
    ) -> Any:
        outer = click.get_current_context().find_root().obj or {}
        level = int(outer.get("level", 0)) + verbose_ - quiet_
        out = Output(output_ or outer.get("output", "text"), level)
        return function(App(project_ or outer.get("project", "."), out), **options)

    return wrapper


def target_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--target`` and ``--provider``."""
    function = click.option(
        "-t",
        "--target",
        "targets",
        multiple=True,
        metavar="NAME",
        help="Only this target; may be given several times.",
    )(function)
    return click.option(
        "--provider",
        "providers",
        multiple=True,
        metavar="NAME",
        help="Only targets of this provider; may be given several times.",
    )(function)


def poll_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--poll``."""
    return click.option(
        "--poll",
        default=1.0,
        show_default=True,
        type=click.FloatRange(0.05, 300),
        help="Seconds between looks at the devices.",
    )(function)


def take_over_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--take-over``."""
    return click.option(
        "--take-over",
        is_flag=True,
        help="Take targets from another operator at once, who then stops; the journal says so.",
    )(function)
