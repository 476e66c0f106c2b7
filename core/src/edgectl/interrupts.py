"""Holding a signal back while something is half done that nobody could undo.

A handler that raises may do so between the start of a process and the line that writes its number
down; that process would then outlive everybody who could end it.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

HELD = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Let SIGINT and SIGTERM take effect when the block has ended.

    Only the main thread hears signals, so elsewhere there is nothing to hold back. Signals are
    noted, not blocked: a blocked or ignored one would be so in a process that is started, too.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        noted.append(number)

    # One that is ignored stays so: whoever stops things must not be stopped again.
    before = {n: h for n in HELD if (h := signal.getsignal(n)) is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if noted:
        signal.raise_signal(noted[0])
