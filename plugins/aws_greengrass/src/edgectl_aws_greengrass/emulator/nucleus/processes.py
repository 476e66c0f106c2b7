"""Starts components' scripts in process groups of their own, and leaves none behind.

A nucleus that was killed cannot stop its components: their groups stand in a file, and the next
start kills what is left of them before it starts them again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pwd
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import IO

log = logging.getLogger(__name__)

GRACE_S = 5.0
_POLL_S = 0.05


class Processes:
    """The processes of all components.

    Args:
        record: The file that names them.
    """

    def __init__(self, record: Path) -> None:
        self._record = record
        self._known: dict[int, str] = {}
        self._lock = threading.Lock()

    def reap(self) -> None:
        """Kill what an earlier nucleus left running."""
        try:
            known: dict[str, str] = json.loads(self._record.read_bytes())
        except (FileNotFoundError, ValueError):
            return
        for pid, began in known.items():
            if _started_at(int(pid)) == began:
                log.info("a process of the nucleus before is killed: %s", pid)
                _signal(int(pid), signal.SIGKILL)
        self._record.unlink(missing_ok=True)

    def start(
        self, script: str, env: dict[str, str], folder: Path, output: IO[bytes], user: str | None
    ) -> subprocess.Popen[bytes]:
        """Start a script with the shell.

        Raises:
            OSError: It cannot be started.
        """
        process = subprocess.Popen(
            ["/bin/sh", "-c", script],
            env=env,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=_uid(user),
        )
        with self._lock:
            self._known[process.pid] = _started_at(process.pid)
            self._write()
        return process

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """End a script and what it started: first politely, then not."""
        if process.poll() is None:
            _signal(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_S)
        _signal(process.pid, signal.SIGKILL)
        process.wait()
        self.forget(process)

    def forget(self, process: subprocess.Popen[bytes]) -> None:
        """Take a process that has ended off the record."""
        with self._lock:
            self._known.pop(process.pid, None)
            self._write()

    def _write(self) -> None:
        self._record.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._record.with_suffix(".tmp")
        temporary.write_text(json.dumps(self._known))
        temporary.replace(self._record)


def wait(process: subprocess.Popen[bytes], until: float) -> bool:
    """Wait for an end until a moment of the monotonic clock; say whether it has come."""
    while process.poll() is None:
        if time.monotonic() >= until:
            return False
        time.sleep(_POLL_S)
    return True


def _started_at(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rsplit(")", 1)[-1].split()[19]  # proc(5): field 22, starttime


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _uid(user: str | None) -> int | None:
    """Return whom to run as; a device that is not root runs all as itself."""
    if not user or os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(user.split(":", 1)[0]).pw_uid
    except KeyError:
        log.warning("there is no user '%s', the component runs as the nucleus's own", user)
        return None
