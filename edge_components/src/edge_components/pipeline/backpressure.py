"""The queue between source and steps, and what happens when it is full.

``block``: who brings a reading waits. ``drop_oldest``: the reading that waits longest goes, so
that what is answered is fresh. ``sample``: from half full on only every so many readings are
taken, which thins a burst evenly, and none is taken when the queue is full. Every reading that is
left out is counted and told its outcome.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from edge_components.contract.pipeline import Queue
from edge_components.pipeline.reading import Outcome, Reading


class WaitingRoom:
    """A bounded queue with a policy; any number of threads on both sides.

    Args:
        settings: Policy and length.
        count: Is told ``dropped_oldest``, ``sampled_out``, ``dropped_full`` and ``blocked``.
        changed: Is told how many readings wait.
    """

    def __init__(
        self,
        settings: Queue,
        count: Callable[[str], None] = lambda _: None,
        changed: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.settings = settings
        self._count = count
        self._changed = changed
        self._waiting: deque[Reading] = deque()
        self._condition = threading.Condition()
        self._closed = False
        self._woken = False
        self._passed = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def closed(self) -> bool:
        """Whether nothing is taken any more."""
        return self._closed

    def put(self, reading: Reading, *, wait: bool = True) -> bool:
        """Bring a reading; return whether it waits now.

        Where the policy leaves it out it has its outcome; where the queue is closed, or is full
        and ``wait`` is False, it has none, and the caller decides.
        """
        dropped: Reading | None = None
        with self._condition:
            if self._closed:
                return False
            full = len(self._waiting) >= self.settings.length
            match self.settings.policy:
                case "block":
                    if full and not self._wait_for_room(wait=wait):
                        return False
                case "drop_oldest":
                    if full:
                        dropped = self._waiting.popleft()
                        self._count("dropped_oldest")
                case "sample":
                    if not self._samples():
                        dropped = reading
            if dropped is not reading:
                self._waiting.append(reading)
                self._condition.notify_all()
            self._changed(len(self._waiting))
        if dropped is not None:
            dropped.finish(Outcome.DROPPED, "too many readings wait")
        return dropped is not reading

    def take(self, timeout_s: float | None = None) -> Reading | None:
        """Return the reading that waits longest, or None when the time is over or all is."""
        with self._condition:
            if not self._waiting:
                self._condition.wait_for(
                    lambda: self._waiting or self._closed or self._woken, timeout_s
                )
            self._woken = False
            if not self._waiting:
                return None
            reading = self._waiting.popleft()
            self._changed(len(self._waiting))
            self._condition.notify_all()
        return reading

    def wake(self) -> None:
        """Let the next ``take`` return, also without a reading."""
        with self._condition:
            self._woken = True
            self._condition.notify_all()

    def close(self) -> list[Reading]:
        """Take no more; return what waits, which the caller has to finish."""
        with self._condition:
            self._closed = True
            left = list(self._waiting)
            self._waiting.clear()
            self._changed(0)
            self._condition.notify_all()
        return left

    def _wait_for_room(self, *, wait: bool) -> bool:
        self._count("blocked")
        if not wait:
            return False
        self._condition.wait_for(lambda: self._closed or len(self._waiting) < self.settings.length)
        return not self._closed

    def _samples(self) -> bool:
        waiting, length = len(self._waiting), self.settings.length
        if 2 * waiting < length:
            self._passed = 0
            return True
        self._passed += 1
        if waiting >= length:
            self._count("dropped_full")
            return False
        if self._passed % self.settings.every:
            self._count("sampled_out")
            return False
        return True
