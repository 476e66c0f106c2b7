"""Whether it is worth asking somebody who did not answer lately, pure but for the clock.

After a few failures in a row nobody asks for a while; then one is let through, and its fate
decides: an answer lets everybody ask again, a failure doubles the while.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class CircuitBreaker:
    """Counts failures in a row.

    Args:
        failures: So many open it.
        rest_s: How long it stays open first.
        max_rest_s: How long at most.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        failures: int,
        rest_s: float,
        max_rest_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = failures
        self._first_rest_s = rest_s
        self._max_rest_s = max_rest_s
        self._clock = clock
        self._failures = 0
        self._rest_s = rest_s
        self._closed_until = 0.0

    @property
    def is_open(self) -> bool:
        """Whether asking is of no use now."""
        return self._failures >= self._limit and self._clock() < self._closed_until

    @property
    def wait_s(self) -> float:
        """How long until it is worth asking again."""
        return max(0.0, self._closed_until - self._clock()) if self.is_open else 0.0

    def succeeded(self) -> None:
        """There was an answer."""
        self._failures = 0
        self._rest_s = self._first_rest_s

    def failed(self) -> None:
        """There was none."""
        self._failures += 1
        if self._failures >= self._limit:
            self._closed_until = self._clock() + self._rest_s
            self._rest_s = min(self._max_rest_s, 2 * self._rest_s)
