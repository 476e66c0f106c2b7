"""Handing answers to somebody else on this device: a thread of its own, in order, until taken.

What waits is bounded; what cannot be handed over now is tried again every second.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from edge_components.pipeline.reports import Reports
from edge_components.pipeline.sinks.backlog import Backlog

_AGAIN_S = 1.0
_CLOSE_S = 2.0

Answer = dict[str, Any]


class NotTakenError(Exception):
    """An answer was not taken; it may be another time."""


class RefusedError(Exception):
    """An answer never will be taken."""


class Receiver(Protocol):
    """Who takes answers; used by one thread."""

    def give(self, answer: Answer) -> None:
        """Hand an answer over; raises ``NotTakenError`` or ``RefusedError``."""

    def close(self) -> None:
        """End the connection."""


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """What may wait, and what it is called.

    Attributes:
        word: What the counters begin with.
        who: Whom answers are for, in messages.
        carrier: Who takes them there, and is waited for.
        max_waiting: How many.
        block: Whether the pipeline waits when they are too many; else the oldest goes.
    """

    word: str
    who: str
    carrier: str
    max_waiting: int
    block: bool

    @property
    def name(self) -> str:
        """The sink's name in reports."""
        return f"{self.word}-sink"


class Handover:
    """Keeps answers in order and hands them over.

    Args:
        waiting: What may wait.
        reports: Hears of trouble, and counts.
        connect: Makes the receiver, in the thread that uses it.
    """

    def __init__(self, waiting: Waiting, reports: Reports, connect: Callable[[], Receiver]) -> None:
        self._settings = waiting
        self._reports = reports
        self._connect = connect
        self._waiting: Backlog[Answer] = Backlog(
            most=waiting.max_waiting,
            block=waiting.block,
            word=waiting.word,
            whom=waiting.carrier,
            reports=reports,
        )
        self._sending = False
        self._stopping = False
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None

    def write(self, name: str, answer: Answer) -> None:
        """Let an answer wait.

        Raises:
            OSError: Too many wait, and the pipeline is to wait too.
        """
        del name
        with self._condition:
            self._waiting.add(answer)
            self._condition.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._settings.name, daemon=True)
            self._thread.start()

    def close(self, timeout_s: float) -> None:
        """Deliver what waits, at most for so long."""
        with self._condition:
            self._condition.wait_for(lambda: not self._waiting and not self._sending, timeout_s)
            lost = len(self._waiting) + self._sending
            self._stopping = True
            self._condition.notify_all()
        if lost:
            self._reports.count(f"{self._settings.word}_lost", lost)
        if self._thread is not None:
            # A receiver may have threads of its own, which the process's end must not cut off.
            self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        receiver = self._connect()
        try:
            while (answer := self._next()) is not None:
                self._deliver(receiver, answer)
                with self._condition:
                    self._sending = False
                    self._condition.notify_all()
        finally:
            receiver.close()

    def _next(self) -> Answer | None:
        with self._condition:
            self._condition.wait_for(lambda: self._stopping or self._waiting)
            if self._stopping:
                return None
            self._sending = True
            return self._waiting.popleft()

    def _deliver(self, receiver: Receiver, answer: Answer) -> None:
        settings = self._settings
        while not self._stopping:
            try:
                receiver.give(answer)
            except NotTakenError as exc:
                self._reports.trouble(settings.name, f"{settings.who} does not get answers: {exc}")
                with self._condition:
                    self._condition.wait_for(lambda: self._stopping, _AGAIN_S)
            except RefusedError:
                self._reports.count(f"{settings.word}_refused")
                return
            else:
                self._reports.fine(settings.name)
                self._reports.count(f"{settings.word}_delivered")
                return
