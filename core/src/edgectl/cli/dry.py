"""What a dry run prints: what would be done, and what the command would have said after it.

A command that has a plan prints the plan as ``edgectl plan`` does, and the rest on stderr.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from edgectl.cli.output import Output, Row
from edgectl.codec import plain
from edgectl.dryrun import DryRun


class DryOutput(Output):
    """Keeps results back: nothing of it has happened."""

    def __init__(self, shown: Output) -> None:
        super().__init__(shown.form, shown.level)
        self._shown = shown
        self._results: list[tuple[Row, str]] = []
        self._has_plan = False

    def rows(self, rows: Iterable[Row], columns: Sequence[str], *, empty: str = "") -> None:
        """Keep a table."""
        del columns, empty
        self._results += [(row, "  ".join(str(cell) for cell in row.values())) for row in rows]

    def one(self, value: Row, text: str) -> None:
        """Keep one result."""
        self._results.append((value, text))

    def each(self, results: Iterable[tuple[Row, str]]) -> None:
        """Keep several results."""
        self._results += results

    def beside_plan(self) -> Output:
        """Return what a plan is shown with; what would be done goes to stderr then."""
        self._has_plan = True
        return self._shown

    def end(self, dry: DryRun) -> None:
        """Print what would be done."""
        if self._has_plan:
            for step in dry.steps:
                self.note(str(step))
        elif self.form == "text":
            for line in self._lines(dry):
                click.echo(line)
        else:
            told: dict[str, Any] = {
                "dry_run": True,
                "would": [plain(step) for step in dry.steps],
                "results": [value for value, _ in self._results],
            }
            self._shown.one(told, "")
        self.note("dry run: nothing was changed")

    def _lines(self, dry: DryRun) -> Iterator[str]:
        yield from (str(step) for step in dry.steps)
        for _, text in self._results:
            yield from (f"would say: {line}" for line in text.splitlines())


@contextmanager
def dry_run(out: Output) -> Iterator[tuple[DryRun, DryOutput]]:
    """Give a dry run and what its results go to; tells of both when the command ends well."""
    dry, kept = DryRun(), DryOutput(out)
    try:
        yield dry, kept
    except click.exceptions.Exit:
        dry.close()
        kept.end(dry)
        raise
    except BaseException:
        dry.close()
        raise
    dry.close()
    kept.end(dry)
