"""A reading, and what becomes of it.

A source makes readings, the queue and the worker pass them on, and each ends with exactly one
outcome that goes back to its source: a file is moved, a message acknowledged, a client answered.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_components.golden import Array
from edge_components.pipeline.errors import PipelineError
from edge_components.pipeline.geometry import Geometry

Value = Array | str
Body = bytes | Path | Array | PipelineError
Answers = list[dict[str, Any]]


class Outcome(enum.StrEnum):
    """What became of a reading."""

    ANSWERED = "answered"  # every sink has it, or a threshold dropped the answer
    DROPPED = "dropped"  # the queue's policy left it out
    FAILED = "failed"  # it cannot be read, or a step or the model failed on it
    LEFT = "left"  # not begun or not finished; it is as if it had not been taken


class Reading:
    """One thing to answer.

    Attributes:
        name: For the answer, events and file names.
        body: What there is to decode, an array that needs no decoding, or why it is no reading.
        key: Whose reading it is: a sensor, a topic; "" where nobody says.
        time_ns: When it came, nanoseconds since 1970 UTC.
        gives_up_at: ``time.monotonic()`` after which nobody waits any more, or None.
        answered: Called with the answers as soon as there are any, before the sinks have them.
    """

    __slots__ = ("_done", "answered", "body", "gives_up_at", "key", "name", "time_ns")

    def __init__(
        self,
        name: str,
        body: Body,
        *,
        key: str = "",
        done: Callable[[Outcome, str], None] | None = None,
        answered: Callable[[Answers], None] | None = None,
        gives_up_at: float | None = None,
    ) -> None:
        self.name = name
        self.body = body
        self.key = key
        self.time_ns = time.time_ns()
        self.gives_up_at = gives_up_at
        self.answered = answered
        self._done = done

    @property
    def is_late(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.gives_up_at is not None and time.monotonic() > self.gives_up_at

    @property
    def is_settled(self) -> bool:
        """Whether it has its outcome."""
        return self._done is None

    def finish(self, outcome: Outcome, why: str = "") -> None:
        """Tell the source, once; what comes later is ignored."""
        done, self._done = self._done, None
        if done is not None:
            done(outcome, why)


class Item:
    """A decoded reading on its way through the steps; a window makes new ones.

    Attributes:
        value: The array, or the text, as the last step left it.
        geometry: How the picture's pixels are those of the picture that came in.
    """

    __slots__ = ("geometry", "key", "name", "time_ns", "value")

    def __init__(
        self,
        value: Value,
        *,
        name: str = "",
        key: str = "",
        time_ns: int = 0,
        geometry: Geometry | None = None,
    ) -> None:
        self.value = value
        self.name = name
        self.key = key
        self.time_ns = time_ns
        self.geometry = geometry
        if geometry is None and not isinstance(value, str) and value.ndim in {2, 3}:
            self.geometry = Geometry.of(value.shape[0], value.shape[1])
