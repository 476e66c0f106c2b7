"""Keeping below AWS's request rates by design: no second sees more calls than are allowed.

A window that slides, in place of a bucket that refills: a bucket of 26 lets 52 calls into a
second. All targets of a process share the pace, as they share the account.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable

from edgectl_aws_greengrass.limits import CALLS_PER_SECOND, DATA_PLANES, rate_of

WINDOW_S = 1.05
"""A little above a second: calls do not arrive as evenly as they are sent."""


class Pace:
    """Counts calls, all together and by operation, and waits where one would be too many.

    Args:
        clock: Seconds, never going back.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._calls: dict[str, deque[float]] = defaultdict(deque)

    def wait(self, service: str, operation: str) -> None:
        """Wait until the call may be made, and count it."""
        while pause := self._take(service, operation):
            self._sleep(pause)

    def _take(self, service: str, operation: str) -> float:
        """Count the call and return 0, or return how long to wait before asking again."""
        limits = {f"{service}:{operation}": rate_of(service, operation)}
        if service in DATA_PLANES:
            limits[service] = DATA_PLANES[service]
        else:
            limits[""] = CALLS_PER_SECOND
        with self._lock:
            now = self._clock()
            for name, most in limits.items():
                calls = self._calls[name]
                while calls and now - calls[0] >= WINDOW_S:
                    calls.popleft()
                if len(calls) >= most:
                    return max(WINDOW_S - (now - calls[0]), 0.001)
            for name in limits:
                self._calls[name].append(now)
            return 0.0


@functools.cache
def shared_pace() -> Pace:
    """Return the pace that every provider of this process keeps to."""
    return Pace()
