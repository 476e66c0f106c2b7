"""Runs one lifecycle step's script, within its time."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from edgectl.api import Record
from edgectl_aws_greengrass.emulator.nucleus.processes import Processes
from edgectl_aws_greengrass.emulator.nucleus.recipe import Step

POLL_S = 0.05

GiveUp = Callable[[], bool]


class StepError(Exception):
    """A script failed.

    Attributes:
        code: The nucleus's status code, for example ``STARTUP_ERROR`` or ``INSTALL_TIMEOUT``.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Life(Record, frozen=True, kw_only=True):
    """What a service does, all variables filled in.

    Attributes:
        environment: What every step gets besides its own ``setenv``.
        user: Whom to run as (``user:group``), None for the nucleus's own.
        dependencies: By name, whether hard.
    """

    name: str
    steps: dict[str, Step]
    environment: dict[str, str]
    folder: Path
    log_file: Path
    user: str | None
    dependencies: dict[str, bool]


class Steps:
    """The scripts of one service."""

    def __init__(self, life: Life, processes: Processes) -> None:
        self._life = life
        self._processes = processes

    def run(self, name: str, give_up: GiveUp = lambda: False) -> None:
        """Run a step to its end and end what it left; ``give_up`` ends it early.

        What Startup leaves in the background stays: it is the component's service.

        Raises:
            StepError: It failed or took too long.
        """
        process = self.spawn(name)
        if process is None:
            return
        try:
            if self.exited(process, name, give_up):
                self.check(process, name)
        finally:
            if name == "startup" and process.returncode == 0:
                self._processes.forget(process)
            else:
                self._processes.stop(process)

    def spawn(self, name: str) -> subprocess.Popen[bytes] | None:
        """Start a step's script; None when there is none or it is to be skipped.

        Raises:
            StepError: The script cannot be started.
        """
        step = self._life.steps.get(name)
        if step is None or not step.script.strip() or _skipped(step.skip_if):
            return None
        with self._life.log_file.open("ab") as output:
            output.write(f"--- {name}\n".encode())
            output.flush()
            env = {**self._life.environment, **step.setenv}
            user = None if step.privileged else self._life.user
            try:
                return self._processes.start(step.script, env, self._life.folder, output, user)
            except OSError as exc:
                raise StepError(f"{name.upper()}_IO_ERROR", f"{name}: {exc}") from exc

    def exited(self, process: subprocess.Popen[bytes], name: str, give_up: GiveUp) -> bool:
        """Wait for a script's end; return False when it was given up.

        Raises:
            StepError: It took too long.
        """
        timeout_s = self._life.steps[name].timeout_s
        until = time.monotonic() + (float("inf") if timeout_s is None else timeout_s)
        while process.poll() is None:
            if give_up():
                return False
            if time.monotonic() >= until:
                reason = f"The {name} script timed out after {timeout_s:g} seconds."
                raise StepError(f"{name.upper()}_TIMEOUT", reason)
            time.sleep(POLL_S)
        return True

    @staticmethod
    def check(process: subprocess.Popen[bytes], name: str) -> None:
        """Raise for a script that ended badly.

        Raises:
            StepError: Its exit code is not 0.
        """
        if process.returncode:
            reason = f"The {name} script exited with code {process.returncode}."
            raise StepError(f"{name.upper()}_ERROR", reason)


def _skipped(condition: str) -> bool:
    kind, _, what = condition.partition(" ")
    if kind == "onpath":
        return shutil.which(what.strip()) is not None
    return kind == "exists" and Path(what.strip()).exists()
