"""How long an emulator runs: until a signal, the end of standard input, or a part's own end."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Protocol

_LOOK_S = 1.0


class Running(Protocol):
    """What runs."""

    def check(self) -> None:
        """Check that everything still runs.

        Raises:
            ProviderError: A program ended by itself.
        """

    def stop(self) -> None:
        """Stop everything, also what was only begun."""


class _EndError(Exception):
    """A signal asked for the end."""


def run_until_told(fleet: Running, start: Callable[[], None], *, stop_on_eof: bool) -> None:
    """Start a fleet, keep it, and stop it whatever ends it.

    Args:
        fleet: What is checked once a second and stopped in the end.
        start: Starts it and tells the user.
        stop_on_eof: Whether the end of standard input ends it too.

    Raises:
        ProviderError: It does not come up, or a program of it ended by itself.
    """
    signal.signal(signal.SIGINT, _end)
    signal.signal(signal.SIGTERM, _end)
    try:
        start()
        while not (stop_on_eof and _at_eof(_LOOK_S)):
            fleet.check()
            if not stop_on_eof:
                time.sleep(_LOOK_S)
    except _EndError:
        sys.stderr.write("stopping\n")
    finally:
        fleet.stop()


def _end(number: int, frame: FrameType | None) -> None:
    del number, frame
    # A second Ctrl-C must not keep the fleet from being stopped.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _EndError


def _at_eof(timeout_s: float) -> bool:
    readable, _, _ = select.select([sys.stdin], [], [], timeout_s)
    return bool(readable) and not os.read(sys.stdin.fileno(), 4096)
