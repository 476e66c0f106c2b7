"""Applies a delta in a child process: whatever it does to the child, the updater goes on.

The agent does not load numpy, and a delta may be hostile: the child has bounds of memory and time.
It writes the new file to a pipe, so nothing of it lies on the disk twice, and a child whose parent
was killed ends at its next write.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from edge_components.contract.state import Reason
from edge_components.store.blobs import Partial
from edge_components.update.errors import CalledOffError, RefusedError

_PIPE_BYTES = 1 << 20
_LOOK_S = 0.1
_MEMORY_BYTES = 256 << 20
_SECONDS = 60.0
_BYTES_PER_SECOND = 1 << 20


class DeltaChild:
    """Runs ``edge_components.delta.apply``.

    Args:
        command: The program, without arguments.
        memory_bytes: What the child may hold.
        seconds: How long it may take, beside a second for each MiB of the new file.
    """

    def __init__(
        self,
        command: Sequence[str] | None = None,
        *,
        memory_bytes: int = _MEMORY_BYTES,
        seconds: float = _SECONDS,
    ) -> None:
        self._command = tuple(command or (sys.executable, "-m", "edge_components.delta.apply"))
        self._memory_bytes = memory_bytes
        self._seconds = seconds

    def apply(self, old: Path, delta: Path, partial: Partial, stop: threading.Event) -> None:
        """Write what a delta makes of ``old`` to ``partial``, from where that has come to.

        Raises:
            RefusedError: It makes nothing, or less or more than the file.
            WrongContentError, DiskFullError: As ``Partial.write`` does.
            CalledOffError: ``stop`` was set.
        """
        arguments = [str(old), str(delta), "-", str(self._memory_bytes)]
        # What the child has no use for: each thread of a BLAS would count as its memory.
        environ = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        with tempfile.TemporaryFile() as complaints:
            child = subprocess.Popen(
                [*self._command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaints,
                env=environ,
            )
            try:
                assert child.stdout is not None  # noqa: S101 - it was asked for
                self._take(child.stdout, partial, stop)
                code = child.wait(_LOOK_S * 100)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                _end(child)
            if code != 0:
                complaints.seek(0)
                told = complaints.read(64 << 10).decode(errors="replace").strip()
                raise _useless(f"exit code {code}: {told.rpartition(chr(10))[2][:200]}")
        if partial.offset != partial.size:
            raise _useless(f"it makes {partial.offset} bytes in place of {partial.size}")

    def _take(self, pipe: IO[bytes], partial: Partial, stop: threading.Event) -> None:
        """Write what comes, but for what is here already."""
        with contextlib.suppress(OSError):  # a limit of the system; a small pipe does too
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        deadline = time.monotonic() + self._seconds + partial.size / _BYTES_PER_SECOND
        skip = partial.offset
        poller = select.poll()  # select() knows no descriptor above 1023
        poller.register(pipe, select.POLLIN)
        while True:
            if stop.is_set():
                raise CalledOffError
            left = deadline - time.monotonic()
            if left <= 0:
                raise _useless("it takes too long")
            if not poller.poll(min(left, _LOOK_S) * 1000):
                continue
            data = os.read(pipe.fileno(), _PIPE_BYTES)
            if not data:
                return
            fresh = data[skip:]
            skip = max(skip - len(data), 0)
            if fresh:
                partial.write(fresh)


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.stdout is not None:
        child.stdout.close()
    if child.poll() is None:
        child.kill()
    child.wait()


def _useless(why: str) -> RefusedError:
    return RefusedError(Reason.BAD_PACKAGE, why)
