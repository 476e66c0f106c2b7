"""The golden check in a child process: a model that crashes or hangs takes only the child along."""

from __future__ import annotations

import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from edge_components.contract.state import Reason
from edge_components.update.errors import CalledOffError, RefusedError
from edge_components.update.ports import Checked

_LOOK_S = 0.05
_MAX_ANSWER_BYTES = 1 << 20


class CheckResult(msgspec.Struct, frozen=True, kw_only=True):
    """What ``edge-runtime check`` prints."""

    ok: bool
    precision: str = ""
    provider: str = ""
    max_abs_error: float | None = None
    max_rel_error: float | None = None
    label_agreement: float | None = None
    samples: int = 0
    seconds: float = 0.0
    reason: str = ""
    detail: str = ""


class GoldenCheck:
    """Runs ``edge-runtime check``.

    Args:
        runtime: The runtime's command, without arguments.
        hardware: The profile's name.
        timeout_s: How long loading and checking may take.
        engines: Where what execution providers compile is kept, so that the switch finds it.
    """

    def __init__(
        self,
        runtime: Sequence[str],
        hardware: str,
        *,
        timeout_s: float,
        engines: Path | None = None,
    ) -> None:
        self._runtime = tuple(runtime)
        self._hardware = hardware
        self._timeout_s = timeout_s
        self._engines = engines

    def check(self, version_dir: Path, precision: str, stop: threading.Event) -> Checked:
        """Check one variant; with "" compare all that are there, and return the fastest that holds.

        Raises:
            RefusedError: ``load-failed`` or ``golden-failed``.
            CalledOffError: ``stop`` was set.
        """
        command = [*self._runtime, "check", str(version_dir), "--hardware", self._hardware]
        if precision:
            command += ["--precision", precision]
        if self._engines is not None:
            command += ["--engine-cache", str(self._engines)]
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as complaints:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=complaints
            )
            try:
                code = self._wait(child, stop)
            finally:
                if child.poll() is None:
                    child.kill()
                child.wait()
            return _judge(code, _read(output), _read(complaints))

    def _wait(self, child: subprocess.Popen[bytes], stop: threading.Event) -> int:
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                return child.wait(_LOOK_S)
            except subprocess.TimeoutExpired:
                if stop.is_set():
                    raise CalledOffError from None
                if time.monotonic() > deadline:
                    raise RefusedError(
                        Reason.LOAD_FAILED, f"the check took longer than {self._timeout_s:g} s"
                    ) from None


def _read(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read(_MAX_ANSWER_BYTES)


def _judge(code: int, output: bytes, complaints: bytes) -> Checked:
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        raise RefusedError(Reason.LOAD_FAILED, f"the model ended the check with {name}")
    try:
        result = msgspec.json.decode(output, type=CheckResult)
    except msgspec.DecodeError as exc:
        last = complaints.decode(errors="replace").strip().rpartition("\n")[2][:200]
        raise RefusedError(
            Reason.LOAD_FAILED, f"the check gave no result (exit code {code}): {last}"
        ) from exc
    if result.ok and code == 0:
        return Checked(precision=result.precision, provider=result.provider)
    known = result.reason in set(Reason) and result.reason
    raise RefusedError(
        Reason(result.reason) if known else Reason.GOLDEN_FAILED, result.detail or "no detail"
    )
