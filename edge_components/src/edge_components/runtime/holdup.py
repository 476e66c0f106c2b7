"""Whether a model that runs on the event loop holds it up, so that it has to leave.

How long a model takes was measured on zeros when it was loaded; it may take longer over other
data. A slow run proves nothing by itself: on a busy machine the thread may have waited for its
turn. So the thread's processor time is noted every few milliseconds before a run, and a slow run
counts only with the part of it that the thread must have worked: outside the run it cannot have
worked longer than time passed. Between slow runs this costs a comparison.

Work on another processor than the CPU does not show in the thread's time; there the run counts
whole, and handing such a model to a thread costs little beside what it takes anyway.

One such run may be the garbage collector's or a first run's fault, unless it is very long; two
within a minute are the model's.
"""

from __future__ import annotations

import math
import time

SLOW_NS = 20_000_000  # shorter ones are not looked at
FRESH_NS = 5_000_000  # how old a note may be before a run
_OWN_NS = 5_000_000  # more than decoding and a run of a model that takes microseconds
_TIMES_USUAL = 2
_LONG_NS = 200_000_000
_WITHIN_NS = 60_000_000_000


class HoldUp:
    """Watches the runs of one model on the event loop's thread.

    Args:
        on_cpu: Whether the model's work is done by the thread that runs it.

    Attributes:
        noted_ns: When the thread's processor time was noted last (``perf_counter_ns``).
    """

    __slots__ = ("_noted_cpu_ns", "_on_cpu", "_suspected_ns", "noted_ns")

    def __init__(self, *, on_cpu: bool) -> None:
        self.noted_ns = -FRESH_NS
        self._noted_cpu_ns = 0
        self._on_cpu = on_cpu
        self._suspected_ns = -math.inf

    def note(self, now_ns: int, cpu_ns: int | None = None) -> None:
        """Note the processor time before a run, where the last note is not fresh.

        Args:
            now_ns: By ``perf_counter_ns``.
            cpu_ns: Of this thread, by ``thread_time_ns``; None to ask for it.
        """
        self.noted_ns = now_ns
        self._noted_cpu_ns = time.thread_time_ns() if cpu_ns is None else cpu_ns

    def is_proven(self, run_ns: int, now_ns: int, cpu_ns: int, usual_ns: float = 0.0) -> bool:
        """Say whether a slow run, which has just ended, shows that the model has to leave.

        Args:
            run_ns: How long it took.
            now_ns: By ``perf_counter_ns``.
            cpu_ns: Of this thread, by ``thread_time_ns``.
            usual_ns: How long a run took when the model was loaded.
        """
        own_ns = run_ns
        if self._on_cpu:
            outside_ns = max(0, now_ns - self.noted_ns - run_ns)
            own_ns = cpu_ns - self._noted_cpu_ns - outside_ns
        if own_ns < max(_OWN_NS, _TIMES_USUAL * usual_ns):
            return False
        proven = own_ns >= _LONG_NS or now_ns - self._suspected_ns <= _WITHIN_NS
        self._suspected_ns = now_ns
        return proven
