"""Counts of the calls that reached the emulator, and when, for tests of pace and of idempotence."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable

from edgectl.api import Record


class CallCounts(Record, frozen=True, kw_only=True):
    """What was called since the last reset.

    Attributes:
        total: ``service.Operation`` → calls, throttled and refused ones included.
        peak_per_second: ``service`` and ``service.Operation`` → most calls within any second.
        throttled: ``service.Operation`` → calls refused for being too many.
    """

    total: dict[str, int]
    peak_per_second: dict[str, int]
    throttled: dict[str, int]


class Calls:
    """The counter.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        with self._lock:
            self._total: Counter[str] = Counter()
            self._recent: dict[str, deque[float]] = {}
            self._peak: dict[str, int] = {}
            self._throttled: Counter[str] = Counter()

    def count(self, service: str, operation: str) -> None:
        """Note a call."""
        now = self._clock()
        with self._lock:
            self._total[f"{service}.{operation}"] += 1
            for name in (service, f"{service}.{operation}"):
                times = self._recent.setdefault(name, deque())
                times.append(now)
                while times[0] <= now - 1.0:
                    times.popleft()
                self._peak[name] = max(self._peak.get(name, 0), len(times))

    def count_throttled(self, service: str, operation: str) -> None:
        """Note that a call, which was counted, was one too many."""
        with self._lock:
            self._throttled[f"{service}.{operation}"] += 1

    def counts(self) -> CallCounts:
        """Return the counts so far."""
        with self._lock:
            return CallCounts(
                total=dict(self._total),
                peak_per_second=dict(self._peak),
                throttled=dict(self._throttled),
            )
