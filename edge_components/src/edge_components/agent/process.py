"""The runtime's process: one that this agent started, or one that an earlier agent left behind."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, Self

_STDERR = 2


class RuntimeProcess(Protocol):
    """A process that can be watched and ended."""

    pid: int

    def ending(self) -> str | None:
        """Return how it ended, or None while it runs."""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end; return whether it came."""

    def close(self) -> None:
        """Let go of it."""


class Child:
    """A runtime that this agent started. Its standard input is a pipe that ends with the agent."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        # Its words go where the agent's log goes; the agent's standard output stays its own.
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=_STDERR, cwd=folder, start_new_session=True
        )
        self.pid = self._child.pid

    def ending(self) -> str | None:
        """Return how it ended, or None while it runs."""
        code = self._child.poll()
        if code is None:
            return None
        if -code in set(signal.Signals):
            return f"ended by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        self._child.send_signal(number)

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end; return whether it came."""
        try:
            self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def close(self) -> None:
        """Close the pipe to it."""
        if self._child.stdin is not None:
            self._child.stdin.close()


class Adopted:
    """A runtime that an earlier agent left behind.

    It is held by a descriptor, so that its pid cannot come to mean another process.
    """

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid = pid
        self._descriptor = descriptor

    @classmethod
    def find(cls, pid: int) -> Self | None:
        """Return the process with that pid, or None if there is none."""
        try:
            return cls(pid, os.pidfd_open(pid)) if pid > 0 else None
        except OSError:
            return None

    def ending(self) -> str | None:
        """Return how it ended, or None while it runs."""
        return "ended while adopted" if self.wait(0) else None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if not self.wait(0):
            signal.pidfd_send_signal(self._descriptor, number)

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end; return whether it came."""
        poller = select.poll()
        poller.register(self._descriptor, select.POLLIN)
        return bool(poller.poll(int(timeout_s * 1000)))

    def close(self) -> None:
        """Let go of the descriptor."""
        os.close(self._descriptor)


def runs_command(pid: int, word: str) -> bool:
    """Return whether ``pid`` is a process with ``word`` among its arguments."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return os.fsencode(word) in arguments
