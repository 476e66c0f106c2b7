"""Keeping below IoT Hub's request rates by design: no minute sees more calls than are allowed.

A window that slides, in place of a bucket that refills: a bucket of 20 lets 40 calls into a
minute. Half of a minute's calls may come at once, as a plan's do; the others are spread over what
is left of it, so that a rollout goes on looking and does not stand still until the window moves.
All targets of a process share the pace, as they share the hub.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping

from edgectl_azure_iot_edge.limits import Rate

SLACK = 1.02
"""Windows are a little longer than the hub's: calls do not arrive as evenly as they are sent."""

SPREAD_FROM_S = 10.0
"""Windows that are longer are spread: nobody sees a shorter one stand still."""


class Pace:
    """Counts calls by kind, and waits where one would be too many.

    Args:
        rates: What the hub documents of each kind; a kind without one is not paced.
        clock: Seconds, never going back.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        rates: Mapping[str, Rate],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rates = dict(rates)
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._calls: dict[str, deque[float]] = defaultdict(deque)

    def wait(self, kind: str) -> None:
        """Wait until a call of this kind may be made, and count it."""
        while (pause := self._take(kind)) > 0:
            self._sleep(pause)

    def _take(self, kind: str) -> float:
        """Count the call, or return how many seconds to wait before asking again."""
        rate = self._rates.get(kind)
        if rate is None:
            return 0.0
        window, most = rate.seconds * SLACK, rate.ours
        with self._lock:
            now, calls = self._clock(), self._calls[kind]
            while calls and now - calls[0] >= window:
                calls.popleft()
            pause = _pause(calls, now, window, most)
            if pause <= 0:
                calls.append(now)
            return pause


def _pause(calls: deque[float], now: float, window: float, most: int) -> float:
    """Return how long the next call has to wait; 0 or less when it may be made.

    Args:
        calls: When those within the window were made.
        now: The same clock.
        window: In seconds.
        most: How many calls a window may have.
    """
    if len(calls) <= (most // 2 if window > SPREAD_FROM_S else most - 1):
        return 0.0
    left = window - (now - calls[0])
    if len(calls) >= most:
        return max(left, 0.001)
    return left / (most - len(calls) + 1) - (now - calls[-1])
