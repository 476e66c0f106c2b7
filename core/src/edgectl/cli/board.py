"""How a rollout shows itself: a live bar a target on a terminal, plain lines everywhere else."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from edgectl.cli.output import Output

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Board:
    """Shows the targets of a rollout while it runs; use it as a context.

    On a terminal every target has a bar of healthy devices with the other states beside it, and
    lines go above the bars. Without one, or with ``-q``, there are only the lines.
    """

    def __init__(self, out: Output) -> None:
        self._out = out
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        """Begin to show."""
        if sys.stderr.isatty() and self._out.level >= 0:
            from rich.console import Console  # noqa: PLC0415 - only a terminal pays for it
            from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415 - see above

            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.completed:.0f}/{task.total:.0f} {task.fields[states]}"),
                console=Console(stderr=True),
                transient=True,
            )
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the bars away; the lines stay."""
        if self._progress is not None:
            self._progress.stop()

    def say(self, line: str) -> None:
        """Show a line."""
        if self._progress is None:
            self._out.progress(line)
        else:
            self._progress.console.print(line, markup=False, highlight=False)

    def watch(self, target: str, total: int, counts: Mapping[str, int]) -> None:
        """Show how many of a target's devices are in which state."""
        if self._progress is None:
            return
        others = {state: count for state, count in counts.items() if state != "healthy"}
        states = ", ".join(f"{count} {state}" for state, count in sorted(others.items()))
        if target not in self._tasks:
            self._tasks[target] = self._progress.add_task(target, total=total, states="")
        self._progress.update(
            self._tasks[target], completed=counts.get("healthy", 0), states=states
        )
