"""Child processes that end together, and in order."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

from edgectl.interrupts import held_back

STOP_GRACE_S = 10.0


class Processes:
    """Starts processes, each in a session of its own, and stops them in reverse order."""

    def __init__(self, log_dir: Path) -> None:
        self._log_dir = log_dir
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._log_from: dict[str, int] = {}

    def start(self, name: str, arguments: list[str], env: dict[str, str]) -> None:
        """Start a process; what it prints goes to ``<name>.log``."""
        self._log_dir.mkdir(parents=True, exist_ok=True)
        with (self._log_dir / f"{name}.log").open("ab") as log:
            self._log_from[name] = log.tell()
            with held_back():
                process = subprocess.Popen(
                    arguments,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
                self._running.append((name, process))

    def ended(self) -> str | None:
        """Return the name of a process that ended by itself, or None."""
        return next((name for name, p in self._running if p.poll() is not None), None)

    def log_tail(self, name: str, lines: int = 10) -> str:
        """Return the last lines that a process printed, none of an earlier one's."""
        with (self._log_dir / f"{name}.log").open("rb") as log:
            log.seek(self._log_from.get(name, 0))
            text = log.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def stop(self) -> None:
        """Ask all to end, last started first; after a grace their whole groups are killed."""
        for _, process in reversed(self._running):
            _signal(process, signal.SIGTERM, group=False)
        deadline = time.monotonic() + STOP_GRACE_S
        for _, process in reversed(self._running):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(deadline - time.monotonic(), 0.1))
            _signal(process, signal.SIGKILL, group=True)
            process.wait()
        self._running.clear()


def _signal(process: subprocess.Popen[bytes], number: int, *, group: bool) -> None:
    with contextlib.suppress(ProcessLookupError):
        if group:
            os.killpg(process.pid, number)
        elif process.poll() is None:
            os.kill(process.pid, number)
