"""What is printed: the result on stdout, everything else on stderr.

Results are plain data (lists of rows or one mapping); ``--output`` decides their form. Progress
is one line a change, so it reads the same in CI and in a terminal; NO_COLOR is honoured.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click
import msgspec

Row = Mapping[str, Any]


class Output:
    """Where results and progress go.

    Args:
        form: ``text``, ``json`` or ``jsonl``.
        level: Above 0 says more, below 0 less.
    """

    def __init__(self, form: str = "text", level: int = 0) -> None:
        self.form = form
        self.level = level
        self._start = time.monotonic()

    def progress(self, line: str) -> None:
        """Say one line of progress on stderr."""
        if self.level >= 0:
            stamp = f"{time.monotonic() - self._start:7.1f}s "
            click.echo(click.style(stamp, dim=True) + line, err=True)

    def detail(self, line: str) -> None:
        """Say something that only ``-v`` wants."""
        if self.level > 0:
            click.echo(line, err=True)

    def note(self, line: str) -> None:
        """Say something for people after a result; not with ``-q``."""
        if self.level >= 0:
            click.echo(line, err=True)

    def rows(self, rows: Iterable[Row], columns: Sequence[str], *, empty: str = "") -> None:
        """Print a table: aligned text, one JSON array, or a JSON object a line."""
        if self.form == "jsonl":
            for row in rows:
                _json(row)
            return
        listed = list(rows)
        if self.form == "json":
            _json(listed)
        elif listed:
            _table(listed, columns)
        elif empty:
            self.note(empty)

    def one(self, value: Row, text: str) -> None:
        """Print one result: its text, or the mapping as JSON."""
        if self.form == "text":
            if text:
                click.echo(text)
        else:
            _json(value)

    def each(self, results: Iterable[tuple[Row, str]]) -> None:
        """Print several results, each as it comes; with ``json`` they are one array."""
        if self.form == "json":
            _json([value for value, _ in results])
            return
        for value, text in results:
            self.one(value, text)


def show_error(message: str, hint: str = "", vendor_code: str = "") -> None:
    """Say what failed, the vendor's own code and what to do, on stderr."""
    click.echo(f"error: {message}", err=True)
    if vendor_code:
        click.echo(f"  code: {vendor_code}", err=True)
    if hint:
        click.echo(f"  hint: {hint}", err=True)


def _json(value: Any) -> None:
    sys.stdout.write(msgspec.json.encode(value, enc_hook=str).decode() + "\n")
    sys.stdout.flush()


def _table(rows: list[Row], columns: Sequence[str]) -> None:
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [
        max(len(column), *(len(line[index]) for line in cells))
        for index, column in enumerate(columns)
    ]
    header = "  ".join(
        c.upper().replace("_", " ").ljust(w) for c, w in zip(columns, widths, strict=True)
    )
    click.echo(click.style(header.rstrip(), bold=True))
    for line in cells:
        text = "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True))
        click.echo(text.rstrip())


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value)
    if text.startswith("sha256:") and len(text) == 71:
        return text[:19]
    # A device's own words may hold anything; a terminal gets printable characters only.
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
