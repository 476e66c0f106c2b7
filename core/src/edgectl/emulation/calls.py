"""Counts of the calls that reached the emulator, and when, for tests of pace and of idempotence."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable

from edgectl.records import Record

_SECOND = 1.0
_MINUTE = 60.0


class CallCounts(Record, frozen=True, kw_only=True):
    """What was called since the last reset.

    Attributes:
        total: ``service.Operation`` → calls, throttled and refused ones included.
        peak_per_second: ``service`` and ``service.Operation`` → most calls within any second.
        peak_per_minute: The same within any minute.
        throttled: ``service.Operation`` → calls refused for being too many.
    """

    total: dict[str, int]
    peak_per_second: dict[str, int]
    peak_per_minute: dict[str, int]
    throttled: dict[str, int]


class _Peaks:
    """The most calls of each name within any span of some seconds."""

    def __init__(self, span_s: float) -> None:
        self.most: dict[str, int] = {}
        self._span_s = span_s
        self._recent: dict[str, deque[float]] = {}

    def note(self, name: str, now: float) -> None:
        times = self._recent.setdefault(name, deque())
        times.append(now)
        while times[0] <= now - self._span_s:
            times.popleft()
        self.most[name] = max(self.most.get(name, 0), len(times))


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
            self._peaks = {_SECOND: _Peaks(_SECOND), _MINUTE: _Peaks(_MINUTE)}
            self._throttled: Counter[str] = Counter()

    def count(self, service: str, operation: str) -> None:
        """Note a call."""
        now = self._clock()
        with self._lock:
            self._total[f"{service}.{operation}"] += 1
            for name in (service, f"{service}.{operation}"):
                for peaks in self._peaks.values():
                    peaks.note(name, now)

    def count_throttled(self, service: str, operation: str) -> None:
        """Note that a call, which was counted, was one too many."""
        with self._lock:
            self._throttled[f"{service}.{operation}"] += 1

    def counts(self) -> CallCounts:
        """Return the counts so far."""
        with self._lock:
            return CallCounts(
                total=dict(self._total),
                peak_per_second=dict(self._peaks[_SECOND].most),
                peak_per_minute=dict(self._peaks[_MINUTE].most),
                throttled=dict(self._throttled),
            )
