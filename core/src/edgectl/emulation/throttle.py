"""Request rates kept with token buckets, as clouds document and enforce theirs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping


class TokenBuckets:
    """A bucket for each name that has a rate; other names are not limited.

    Args:
        rates: Calls a second by name; may be replaced while it is used.
        clock: Monotonic seconds.
        burst_s: How many seconds' worth a bucket holds; it holds one call at least.
    """

    def __init__(
        self,
        rates: Mapping[str, float],
        clock: Callable[[], float] = time.monotonic,
        burst_s: float = 1.0,
    ) -> None:
        self.rates = dict(rates)
        self._clock = clock
        self._burst_s = burst_s
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, names: Iterable[str], cost: float = 1.0) -> float:
        """Take a call out of all its buckets, or out of none.

        Args:
            names: The buckets; those without a rate count for nothing.
            cost: How many calls it counts as. One that costs more than a bucket holds passes when
                the bucket is full, and has to be paid back.

        Returns:
            0.0 when it was taken, else the seconds after which it can be.
        """
        wanted = [name for name in names if name in self.rates]
        with self._lock:
            now = self._clock()
            levels = {name: self._level(name, now) for name in wanted}
            wait_s = max((self._wait(name, levels[name], cost) for name in wanted), default=0.0)
            if wait_s > 0.0:
                return wait_s
            for name, level in levels.items():
                self._buckets[name] = (level - cost, now)
        return 0.0

    def _full(self, name: str) -> float:
        return max(self.rates[name] * self._burst_s, 1.0)

    def _level(self, name: str, now: float) -> float:
        full = self._full(name)
        level, at = self._buckets.get(name, (full, now))
        return min(full, level + (now - at) * self.rates[name])

    def _wait(self, name: str, level: float, cost: float) -> float:
        missing = min(cost, self._full(name)) - level
        if missing <= 0.0:
            return 0.0
        rate = self.rates[name]
        return missing / rate if rate > 0.0 else float("inf")
