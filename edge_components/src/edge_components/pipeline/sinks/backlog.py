"""Answers that wait for a sink: how many may, and whether the pipeline waits or the oldest goes."""

from __future__ import annotations

from collections import deque
from typing import TypeVar

from edge_components.pipeline.reports import Reports

Answer = TypeVar("Answer")


class Backlog(deque[Answer]):
    """A queue that is never longer than it may be; whoever shares it brings the lock.

    Args:
        most: How many may wait.
        block: Whether the pipeline waits when they are too many; else the oldest goes.
        word: What the sink's counters begin with.
        whom: Who is waited for, in messages.
        reports: Counts what went.
    """

    def __init__(self, *, most: int, block: bool, word: str, whom: str, reports: Reports) -> None:
        super().__init__()
        self._most = most
        self._block = block
        self._word = word
        self._whom = whom
        self._reports = reports

    def add(self, answer: Answer) -> None:
        """Let an answer wait.

        Raises:
            OSError: Too many wait, and the pipeline is to wait too.
        """
        if len(self) >= self._most:
            if self._block:
                raise OSError(f"{len(self)} answers wait for {self._whom}")
            self.popleft()
            self._reports.count(f"{self._word}_dropped_oldest")
        self.append(answer)
