"""``edgectl journal``."""

from __future__ import annotations

import click

from edgectl.cli.app import App, command
from edgectl.codec import plain
from edgectl.errors import JournalError
from edgectl.journal import read
from edgectl.journal import verify as verify_chain
from edgectl.project.load import STATE_DIR

COLUMNS = ("time", "who", "action", "target", "release", "from", "to", "result")


@click.group()
def journal() -> None:
    """Show or verify the audit journal: who did what to which target, and when."""


@journal.command()
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="At most.")
@command
def show(app: App, limit: int) -> None:
    """Show the newest entries, oldest first."""
    path = app.project().dir / STATE_DIR / "journal.jsonl"
    entries = [plain(entry) for entry in read(path)] if path.exists() else []
    app.out.rows(entries[-limit:], COLUMNS, empty="the journal is empty")


@journal.command()
@command
def verify(app: App) -> None:
    """Check the journal's chain; a removed, changed or moved line shows."""
    path = app.project().dir / STATE_DIR / "journal.jsonl"
    result = verify_chain(path)
    if not result.ok:
        raise JournalError(
            f"the journal's chain is broken: {result.problems[0].message}",
            hint="compare it with a copy; every line names the hash of the one before",
        )
    app.out.one(
        plain(result),
        f"{result.lines} lines, the chain holds; the last hash is {result.last_hash}",
    )
