"""Faults of a registry on demand: refusals, cut connections, changed content.

Each ends by itself after ``times`` requests.
"""

from __future__ import annotations

import re
import threading

from edgectl.records import Record


class RegistryFault(Record, frozen=True, kw_only=True):
    """What is to go wrong.

    Attributes:
        method: Of which requests; "" for all.
        path: A regular expression that is searched for in the path.
        status: Answered in place of what was asked, for example 429 or 401; 0 for none.
        retry_after: The ``Retry-After`` header with it.
        cut_after: Bytes of the answer's body after which the connection is cut; -1 for no cut.
        corrupt: Whether the first byte of the body that is sent is another.
        times: How many requests meet it; None for all of them.
        skip: How many matching requests pass before the first.
    """

    method: str = ""
    path: str = ""
    status: int = 0
    retry_after: str = ""
    cut_after: int = -1
    corrupt: bool = False
    times: int | None = 1
    skip: int = 0


class RegistryFaults:
    """The faults that are set."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._set: list[tuple[RegistryFault, list[int]]] = []

    def add(self, fault: RegistryFault) -> None:
        """Set one more."""
        with self._lock:
            self._set.append((fault, [0]))

    def clear(self) -> None:
        """Let everything work again."""
        with self._lock:
            self._set.clear()

    def next(self, method: str, path: str) -> RegistryFault | None:
        """Return the fault that a request meets, and count it."""
        with self._lock:
            for fault, seen in self._set:
                if fault.method not in {"", method} or not re.search(fault.path, path):
                    continue
                seen[0] += 1
                nth = seen[0] - fault.skip
                if nth > 0 and (fault.times is None or nth <= fault.times):
                    return fault
        return None
