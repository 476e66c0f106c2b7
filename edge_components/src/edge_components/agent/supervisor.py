"""Keeps one runtime running with the version that it is meant to answer with.

A thread looks at it: what ended is started again with growing pauses, what does not answer for
too long is ended, what answers with another version is told the right one. A runtime that an
earlier agent left behind is adopted, so killing the agent interrupts nobody. The updater calls
``activate`` and ``restore`` from its own thread; one lock keeps them apart from the watch.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from edge_components.agent.backoff import Backoff, chance
from edge_components.agent.control import ControlClient, ControlError, RuntimeStatus
from edge_components.agent.process import Adopted, Child, RuntimeProcess, runs_command
from edge_components.contract.state import Reason
from edge_components.update.errors import CalledOffError, RefusedError
from edge_components.update.ports import Health
from edge_components.update.record import Installed

_LOG = logging.getLogger(__name__)
PID_FILE = "runtime.pid"
ORPHAN_S = 0.5


class SupervisorTiming(msgspec.Struct, frozen=True, kw_only=True):
    """How closely the runtime is watched.

    Attributes:
        look_s: Seconds between looks.
        start_s: How long loading a version may take.
        silence_s: A runtime that does not answer for so long is ended.
        stop_s: How long a runtime may take to end by itself.
        steady_s: After so long without a fault the pauses begin anew.
    """

    look_s: float = 1.0
    start_s: float = 300.0
    silence_s: float = 30.0
    stop_s: float = 10.0
    steady_s: float = 60.0
    backoff: Backoff = Backoff(first_s=0.5, most_s=30.0)


class Supervisor:
    """The runtime on this device.

    Args:
        command: Gives the runtime's command line for a version.
        folder: Where the process is started; the pid file lies there.
        control: The runtime's control socket.
        version_dir: Where a release's folder lies.
        timing: How closely it is watched.
    """

    def __init__(
        self,
        command: Callable[[Installed], Sequence[str]],
        *,
        folder: Path,
        control: ControlClient,
        version_dir: Callable[[int], Path],
        timing: SupervisorTiming | None = None,
    ) -> None:
        self._command = command
        self._folder = folder
        self._control = control
        self._version_dir = version_dir
        self._timing = timing or SupervisorTiming()
        self._changed: Callable[[], None] | None = None
        self._guard = threading.RLock()
        self._ending = threading.Event()
        self._watcher: threading.Thread | None = None
        self._process: RuntimeProcess | None = None
        self._wanted: Installed | None = None
        self._paused = False
        self._deaths = 0
        self._failures = 0
        self._restart_at = 0.0
        self._started_at = 0.0
        self._heard_at = 0.0
        self._last_end = ""
        self._seen = Health()
        self._settled = threading.Event()

    def listen(self, changed: Callable[[], None]) -> None:
        """Have ``changed`` called whenever the runtime begins or ceases to answer."""
        self._changed = changed

    def start(self, wanted: Installed | None) -> None:
        """Adopt or start the runtime and watch it from now on."""
        with self._guard:
            self._wanted = wanted
            self._adopt()
        self._watcher = threading.Thread(target=self._watch, name="runtime-watch", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """End the watch and the runtime."""
        self._ending.set()
        if self._watcher is not None:
            self._watcher.join(self._timing.stop_s)
        with self._guard:
            self._end_process()

    def answering(self) -> int | None:
        """Return the release that it was last seen to answer with; 0 for none.

        None means that no look has come to a result yet.
        """
        if not self._settled.is_set():
            return None
        return self._seen.release if self._seen.ready else 0

    def tell(self, body: str, attributes: Mapping[str, str | int | float | bool]) -> None:
        """Have the runtime record an event; without a runtime there is only the log."""
        try:
            self._control.event(body, attributes)
        except ControlError as exc:
            _LOG.warning("no event '%s': %s", body, exc)

    def health(self) -> Health:
        """Return what the runtime does now."""
        process = self._process
        if process is None or process.ending() is not None:
            dead = 1 if process is not None else 0
            return Health(deaths=self._deaths + dead, detail=self._last_end or "not running")
        try:
            return self._health(self._control.status())
        except ControlError as exc:
            return Health(deaths=self._deaths, detail=str(exc))

    def activate(self, version: Installed, stop: threading.Event) -> str:
        """Have it answer with ``version``; return the execution provider.

        Raises:
            RefusedError: It cannot.
            CalledOffError: ``stop`` was set.
        """
        with self._guard:
            self._wanted, self._paused = version, False
            try:
                return self._bring_up(version, stop)
            except RefusedError:
                # The updater decides what is wanted next; until then nothing is started.
                self._paused = True
                raise
            finally:
                self._look()

    def restore(self, version: Installed | None, stop: threading.Event) -> None:
        """Have it answer with ``version`` again, or end it; raises as ``activate`` does."""
        with self._guard:
            self._wanted, self._paused = version, False
            self._failures, self._restart_at = 0, 0.0
            try:
                if version is None:
                    self._end_process()
                else:
                    self._bring_up(version, stop)
            finally:
                self._look()

    def _bring_up(self, version: Installed, stop: threading.Event) -> str:
        self._reap()
        if self._process is not None and not self._is_ready():
            # It serves nobody, and its own version's faults must not be laid at this one's door.
            self._end_process()
        if self._process is None:
            self._launch(version)
            return self._await_start(version, stop)
        folder = self._version_dir(version.number)
        try:
            if (status := self._control.status()).ready and status.release == version.number:
                return status.provider or ""
            return self._control.activate(folder, version.precision, timeout_s=self._timing.start_s)
        except ControlError as exc:
            if self._process.wait(1.0):
                self._reap()
                raise RefusedError(Reason.RUNTIME_CRASHED, self._last_end) from exc
            raise RefusedError(Reason.RUNTIME_NOT_READY, str(exc)) from exc

    def _await_start(self, version: Installed, stop: threading.Event) -> str:
        deadline = time.monotonic() + self._timing.start_s
        while time.monotonic() < deadline:
            if self._process is None or self._process.ending() is not None:
                self._reap()
                if self._adopt_late(stop):
                    return self._bring_up(version, stop)
                raise RefusedError(Reason.RUNTIME_CRASHED, self._last_end)
            with suppress(ControlError):
                status = self._control.status()
                if status.ready and status.release == version.number:
                    return status.provider or ""
            if stop.wait(min(0.05, self._timing.look_s)):
                raise CalledOffError
        raise RefusedError(
            Reason.RUNTIME_NOT_READY, f"not ready {self._timing.start_s:g} s after its start"
        )

    def _adopt_late(self, stop: threading.Event) -> bool:
        """Look for a runtime that holds the port although no pid file tells of it.

        An agent that is killed between starting a runtime and noting its pid leaves one behind
        that does not answer yet, and the one started after it finds the port taken.
        """
        deadline = time.monotonic() + ORPHAN_S
        while not self._adopt():
            if time.monotonic() > deadline or stop.wait(0.05):
                return False
        return True

    def _watch(self) -> None:
        while not self._ending.is_set():
            if self._guard.acquire(timeout=self._timing.look_s):
                try:
                    self._look()
                    self._mend()
                except OSError:
                    _LOG.exception("the runtime cannot be looked after")
                finally:
                    self._guard.release()
            self._ending.wait(self._timing.look_s)

    def _look(self) -> None:
        """Take a look; one that is not answered in time changes nothing, a death does."""
        seen = Health(deaths=self._deaths, detail=self._last_end)
        if self._process is not None and self._process.ending() is None:
            try:
                seen = self._health(self._control.status())
                self._heard_at = time.monotonic()
            except ControlError:
                if time.monotonic() - self._heard_at < self._timing.silence_s:
                    seen = self._seen
        before = self.answering()
        self._seen = seen
        if seen.ready or self._wanted is None or self._failures:
            self._settled.set()
        if self.answering() != before and self._changed is not None:
            self._changed()

    def _mend(self) -> None:
        now = time.monotonic()
        self._reap()
        if self._paused:
            return
        if self._process is None:
            if self._wanted is not None and now >= self._restart_at and not self._adopt():
                self._launch(self._wanted)
            return
        if self._seen.ready and now - self._started_at > self._timing.steady_s:
            self._failures = 0
        loading = now - self._started_at < self._timing.start_s and self._heard_at == 0
        if not loading and now - max(self._heard_at, self._started_at) > self._timing.silence_s:
            _LOG.error("the runtime does not answer; it is ended")
            self._process.signal(signal.SIGKILL)
            self._process.wait(self._timing.stop_s)
            self._reap()
            return
        self._reconcile()

    def _reconcile(self) -> None:
        wanted = self._wanted
        if wanted is None:
            self._end_process()
        elif self._seen.ready and self._seen.release != wanted.number:
            try:
                self._control.activate(
                    self._version_dir(wanted.number),
                    wanted.precision,
                    timeout_s=self._timing.start_s,
                )
            except (RefusedError, ControlError) as exc:
                _LOG.warning("the runtime does not take release %d: %s", wanted.number, exc)
                self._end_process()

    def _adopt(self) -> bool:
        """Take over a runtime that already answers, or one that is just starting."""
        with suppress(ControlError):
            if (process := Adopted.find(self._control.status().pid)) is not None:
                self._take(process)
                _LOG.info("adopted the runtime with pid %d", process.pid)
                return True
        try:
            pid = int((self._folder / PID_FILE).read_text())
        except (OSError, ValueError):
            return False
        if not runs_command(pid, "--control-socket") or not (found := Adopted.find(pid)):
            return False
        self._take(found)
        return True

    def _launch(self, version: Installed) -> None:
        process = Child(self._command(version), self._folder)
        (self._folder / PID_FILE).write_text(str(process.pid))
        self._take(process)

    def _take(self, process: RuntimeProcess) -> None:
        self._process = process
        self._started_at, self._heard_at = time.monotonic(), 0.0

    def _reap(self) -> None:
        """Count the end of a runtime that nobody asked to end, and plan the next start."""
        if self._process is None or (ending := self._process.ending()) is None:
            return
        self._last_end = f"the runtime {ending}"
        _LOG.warning("%s", self._last_end)
        self._drop()
        self._deaths += 1
        self._failures += 1
        pause = self._timing.backoff.wait_s(self._failures, chance())
        self._restart_at = time.monotonic() + pause

    def _drop(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None
        (self._folder / PID_FILE).unlink(missing_ok=True)

    def _end_process(self) -> None:
        """End the runtime: by word, then by SIGTERM, then by SIGKILL."""
        process = self._process
        if process is None:
            return
        with suppress(ControlError):
            self._control.shutdown()
        for number in (signal.SIGTERM, signal.SIGKILL):
            if process.wait(self._timing.stop_s):
                break
            process.signal(number)
        process.wait(self._timing.stop_s)
        self._drop()

    def _is_ready(self) -> bool:
        try:
            return self._control.status().ready
        except ControlError:
            return False

    def _health(self, status: RuntimeStatus) -> Health:
        return Health(
            release=status.release or 0,
            ready=status.ready,
            deaths=self._deaths,
            errors=status.errors,
            detail=self._last_end,
        )
