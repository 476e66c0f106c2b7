"""How far a transfer is, for callers that want to show it."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Takes bytes done and bytes in all."""


class Report:
    """Adds up what is done and tells it to a caller that may not want to know.

    Args:
        progress: Is told; None for nobody.
        total: Bytes in all.
    """

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def add(self, count: int) -> None:
        """Count bytes that are where they belong; negative for bytes to be done again."""
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self._total)
