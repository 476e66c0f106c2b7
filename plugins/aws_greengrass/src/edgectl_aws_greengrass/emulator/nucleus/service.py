"""One component's life: install, start, hold, recover, break, stop.

States and their order are the real nucleus's: a script that fails makes the component ERRORED, and
the third time within an hour BROKEN, which only a deployment mends. A component with Run is RUNNING
as soon as its process is; one with Startup when that exits with 0 or says so over IPC. Source:
developer guide, component-recipe-reference (Lifecycle) and component-lifecycle.
"""

from __future__ import annotations

import enum
import logging
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

from edgectl_aws_greengrass.emulator.nucleus.processes import Processes
from edgectl_aws_greengrass.emulator.nucleus.steps import POLL_S, Life, StepError, Steps

log = logging.getLogger(__name__)

MAX_ERRORS = 3
_ERROR_WINDOW_S = 3_600.0
_LOOK_S = 0.2


class ServiceState(enum.StrEnum):
    """``lifecycleState`` of an installed component."""

    NEW = "NEW"
    INSTALLED = "INSTALLED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    ERRORED = "ERRORED"
    BROKEN = "BROKEN"
    FINISHED = "FINISHED"


UP = frozenset({ServiceState.RUNNING, ServiceState.FINISHED})


class Neighbours(Protocol):
    """What a service asks of the others."""

    changed: threading.Condition

    def is_up(self, name: str) -> bool:
        """Say whether a service is RUNNING or FINISHED."""
        ...

    def is_lost(self, name: str) -> bool:
        """Say whether a service is BROKEN."""
        ...

    def starts(self, name: str) -> int:
        """Return how often a service has begun to start; -1 for one that is not there."""
        ...


class Service:
    """A component that is alive.

    Attributes:
        state: Its state now.
        status_code: Why it is in trouble, of the nucleus's words, or "NONE".
        token: What proves over IPC that a process is this component's (``SVCUID``).
        starts: How often it has begun to start.
    """

    def __init__(
        self,
        life: Life,
        token: str,
        neighbours: Neighbours,
        processes: Processes,
        tell: Callable[[Service], None],
    ) -> None:
        self.life = life
        self.token = token
        self.state = ServiceState.NEW
        self.status_code = "NONE"
        self.status_reason = ""
        self.starts = 0
        self._neighbours = neighbours
        self._processes = processes
        self._steps = Steps(life, processes)
        self._tell = tell
        self._stop = threading.Event()
        self._reported: ServiceState | None = None
        self._leaning_on: dict[str, int] = {}
        self._errors: deque[float] = deque()
        self._thread = threading.Thread(target=self._live, name=life.name, daemon=True)

    @property
    def name(self) -> str:
        """The component's name."""
        return self.life.name

    def start(self) -> None:
        """Begin to live."""
        self._thread.start()

    def stop(self) -> None:
        """Stop and wait for it: Shutdown runs, then all processes end."""
        self._stop.set()
        with self._neighbours.changed:
            self._neighbours.changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def report(self, state: ServiceState) -> None:
        """Take what the component says of itself (IPC ``UpdateState``)."""
        self._reported = state

    def _live(self) -> None:
        installed = False
        while not self._stop.is_set() and self._wait_for_dependencies():
            try:
                if not installed:
                    self._steps.run("install", self._stop.is_set)
                    installed = True
                    self._set(ServiceState.INSTALLED)
                self.starts += 1
                self._set(ServiceState.STARTING)
                self._hold()
            except StepError as exc:
                if not self._goes_on_after(exc):
                    return
        self._set(ServiceState.FINISHED)

    def _wait_for_dependencies(self) -> bool:
        with self._neighbours.changed:
            while not self._stop.is_set():
                if all(
                    self._neighbours.is_up(name) or (not hard and self._neighbours.is_lost(name))
                    for name, hard in self.life.dependencies.items()
                ):
                    return True
                self._neighbours.changed.wait(1.0)
        return False

    def _goes_on_after(self, error: StepError) -> bool:
        """Take note of a failure; return whether to try again, False after the end as BROKEN."""
        log.warning("%s: %s", self.name, error)
        self._set(ServiceState.ERRORED, error.code, str(error))
        now = time.monotonic()
        self._errors.append(now)
        while self._errors[0] < now - _ERROR_WINDOW_S:
            self._errors.popleft()
        if len(self._errors) >= MAX_ERRORS:
            self._set(ServiceState.BROKEN, error.code, str(error))
            self._stop.wait()
            self._quietly("shutdown")
            return False
        self._quietly("recover")
        return True

    def _hold(self) -> None:
        """Start and stay until somebody stops it or a hard dependency goes down."""
        self._reported = None
        self._leaning_on = {
            name: self._neighbours.starts(name)
            for name, hard in self.life.dependencies.items()
            if hard
        }
        main = "startup" if "startup" in self.life.steps else "run"
        process = self._steps.spawn(main)
        try:
            if process is not None and main == "startup":
                self._start_up(process)
            elif process is not None:
                self._set(ServiceState.RUNNING)
                self._steps.exited(process, main, self._is_to_leave)
                self._check_end(process, main)
            else:
                self._set(ServiceState.RUNNING)
                self._set(ServiceState.FINISHED)
            self._idle()
        finally:
            if process is not None:
                if main == "startup" and process.returncode == 0:
                    self._processes.forget(process)
                else:
                    self._processes.stop(process)

    def _start_up(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for Startup's exit, or for its word over IPC; then it may go on, but not fail."""
        self._steps.exited(process, "startup", lambda: self._is_to_leave() or self._says_running())
        if process.returncode is None and self._says_running():
            self._set(ServiceState.RUNNING)
            while process.poll() is None and not self._is_to_leave():
                time.sleep(POLL_S)
        self._check_end(process, "startup")

    def _check_end(self, process: subprocess.Popen[bytes], main: str) -> None:
        if process.returncode is None:
            return
        Steps.check(process, main)
        if main == "run":
            self._set(ServiceState.FINISHED)
        elif self.state is not ServiceState.RUNNING:
            self._set(ServiceState.RUNNING)

    def _idle(self) -> None:
        while not self._is_to_leave():
            with self._neighbours.changed:
                self._neighbours.changed.wait(_LOOK_S)
        self._set(ServiceState.STOPPING)
        self._quietly("shutdown")
        if not self._stop.is_set():  # a hard dependency is down: begin again when it is up
            self._set(ServiceState.INSTALLED)

    def _is_to_leave(self) -> bool:
        """Say whether to stop holding, as when a hard dependency is down or was for a moment.

        Raises:
            StepError: The component reported an error.
        """
        if self._reported is ServiceState.ERRORED:
            raise StepError("RUN_ERROR", "the component reported an error")
        return self._stop.is_set() or any(
            self._neighbours.starts(name) != starts or not self._neighbours.is_up(name)
            for name, starts in self._leaning_on.items()
        )

    def _says_running(self) -> bool:
        return self._reported is ServiceState.RUNNING

    def _quietly(self, name: str) -> None:
        try:
            self._steps.run(name)
        except StepError as exc:
            log.warning("%s: %s", self.name, exc)

    def _set(self, state: ServiceState, code: str = "NONE", reason: str = "") -> None:
        with self._neighbours.changed:
            self.state = state
            self.status_code = code
            self.status_reason = reason
            self._neighbours.changed.notify_all()
        log.info("%s is %s", self.name, state)
        self._tell(self)
