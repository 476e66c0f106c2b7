"""Faults on demand: errors, lost connections and delays for chosen operations.

A test or a user sets them over the emulator's control routes; each ends by itself after ``times``
calls. Which error a fault's code becomes is the emulator's to say.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from fnmatch import fnmatchcase

from edgectl.records import Record


class DropError(ConnectionError):
    """The connection is to be cut without an answer."""


class Fault(Record, frozen=True, kw_only=True):
    """What is to go wrong.

    Attributes:
        operation: ``service.Operation``, with ``*`` and ``?``, for example ``greengrassv2.*``.
        code: The error's name; empty cuts the connection.
        message: Its sentence.
        status: Its HTTP status.
        times: How many calls meet it; None all of them.
        skip: How many matching calls pass before the first.
        delay_s: How long the answer takes besides.
        pass_on: Only the delay; the call is then served.
    """

    operation: str
    code: str = ""
    message: str = "a fault that was asked for"
    status: int | None = None
    times: int | None = 1
    skip: int = 0
    delay_s: float = 0.0
    pass_on: bool = False


class Faults:
    """The faults that are set.

    Args:
        error: Makes the exception that a fault with a code raises.
    """

    def __init__(self, error: Callable[[Fault], Exception]) -> None:
        self._error = error
        self._lock = threading.Lock()
        self._set: list[list[Fault | int]] = []

    def add(self, fault: Fault) -> None:
        """Set one more."""
        with self._lock:
            self._set.append([fault, 0])

    def clear(self) -> None:
        """Let everything work again."""
        with self._lock:
            self._set.clear()

    def raise_for(self, service: str, operation: str) -> None:
        """Do what is set for a call.

        Raises:
            DropError: The connection is to be cut; any other fault raises its own exception.
        """
        fault = self._next(f"{service}.{operation}")
        if fault is None:
            return
        if fault.delay_s:
            time.sleep(fault.delay_s)
        if fault.pass_on:
            return
        if not fault.code:
            raise DropError(fault.message)
        raise self._error(fault)

    def _next(self, name: str) -> Fault | None:
        with self._lock:
            for entry in self._set:
                fault, seen = entry
                assert isinstance(fault, Fault)  # noqa: S101 - the list's first member
                assert isinstance(seen, int)  # noqa: S101 - the list's second member
                if not fnmatchcase(name, fault.operation):
                    continue
                entry[1] = seen + 1
                if seen < fault.skip:
                    continue
                if fault.times is None or seen < fault.skip + fault.times:
                    return fault
        return None
