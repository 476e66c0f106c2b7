"""A runtime that a supervisor beside us keeps running: it is watched and told, never started.

Its process may not even be visible (another container), so its end is told from the control
socket: nobody answers there any more, or somebody else does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from edge_components.agent.control import ControlClient, ControlError, RuntimeStatus
from edge_components.contract.state import Reason
from edge_components.update.errors import CalledOffError, RefusedError
from edge_components.update.ports import Health
from edge_components.update.record import Installed

_RESTARTS = 2
_LAST_BREATH_S = 1.0


class RuntimeTiming(msgspec.Struct, frozen=True, kw_only=True):
    """How long the runtime may take.

    Attributes:
        look_s: Seconds between looks.
        wait_s: How long its supervisor may take to start it.
        load_s: How long it may load the version of its own start before it is told which.
        start_s: How long loading a version may take.
    """

    look_s: float = 0.1
    wait_s: float = 60.0
    load_s: float = 10.0
    start_s: float = 300.0


class ExternalRuntime:
    """The runtime on this device, by its control socket.

    Args:
        control: The runtime's control socket.
        version_dir: Where a release's folder lies.
        timing: How long it may take.
    """

    def __init__(
        self,
        control: ControlClient,
        version_dir: Callable[[int], Path],
        timing: RuntimeTiming | None = None,
    ) -> None:
        self._control = control
        self._version_dir = version_dir
        self._timing = timing or RuntimeTiming()
        self._seen: RuntimeStatus | None = None
        self._deaths = 0
        self._detail = "not running"

    def activate(self, version: Installed, stop: threading.Event) -> str:
        """Have it answer with ``version``; return the execution provider.

        Raises:
            RefusedError: It cannot, or it is not there.
            CalledOffError: ``stop`` was set.
        """
        status = self.reach(stop)
        if status is None:
            raise RefusedError(
                Reason.RUNTIME_NOT_READY,
                f"the runtime has not answered for {self._timing.wait_s:g} s: {self._detail}",
            )
        if _serves(status, version):
            return status.provider or ""
        deaths = self._deaths
        try:
            return self._control.activate(
                self._version_dir(version.number),
                version.precision,
                timeout_s=self._timing.start_s,
            )
        except ControlError as exc:
            if self._has_died(deaths):
                raise RefusedError(
                    Reason.RUNTIME_CRASHED, "the runtime ended while it loaded the model"
                ) from exc
            raise RefusedError(Reason.RUNTIME_NOT_READY, str(exc)) from exc

    def restore(self, version: Installed | None, stop: threading.Event) -> None:
        """Have it answer with ``version`` again, or with nothing; raises as ``activate`` does.

        A runtime that is not there needs no word to answer with nothing: it asks the record when
        it is started.
        """
        if version is None:
            with suppress(ControlError):
                self._control.deactivate()
            return
        for _ in range(_RESTARTS):
            try:
                self.activate(version, stop)
            except RefusedError as exc:
                # It may have been started again with the version that ends it, once or twice.
                if exc.reason is not Reason.RUNTIME_CRASHED:
                    raise
            else:
                return
        self.activate(version, stop)

    def health(self) -> Health:
        """Return what it does now; a death is one whether or not it was started again since."""
        try:
            status = self._control.status()
        except ControlError as exc:
            if self._seen is not None and _is_gone(exc):
                self._died("nobody answers on its control socket")
            return Health(deaths=self._deaths, detail=self._detail)
        if self._seen is not None and _is_another(self._seen, status):
            self._died("another process answers in its place")
        self._seen = status
        return Health(
            release=status.release or 0,
            ready=status.ready,
            deaths=self._deaths,
            errors=status.errors,
            detail=self._detail,
        )

    def reach(self, stop: threading.Event) -> RuntimeStatus | None:
        """Wait until it answers; None if it does not in time. Raises ``CalledOffError``."""
        deadline = time.monotonic() + self._timing.wait_s
        while True:
            self.health()
            if self._seen is not None:
                return self._seen
            if time.monotonic() > deadline:
                return None
            if stop.wait(self._timing.look_s):
                raise CalledOffError

    def ensure(self, version: Installed, stop: threading.Event) -> None:
        """See that it answers with a version that is in place already; raises as ``activate``.

        A runtime that was just started loads that version by itself; only one that loads nothing,
        or another version, is told.
        """
        deadline = time.monotonic() + self._timing.load_s
        while (status := self.reach(stop)) is not None and not status.ready:
            if time.monotonic() > deadline:
                break
            if stop.wait(self._timing.look_s):
                raise CalledOffError
        self.activate(version, stop)

    def _has_died(self, before: int) -> bool:
        """Return whether it ended; a process that crashes hangs up before it is gone."""
        deadline = time.monotonic() + _LAST_BREATH_S
        while self.health().deaths == before:
            if time.monotonic() > deadline:
                return False
            time.sleep(min(0.02, self._timing.look_s))
        return True

    def _died(self, seen: str) -> None:
        self._deaths += 1
        self._seen = None
        self._detail = seen


def _serves(status: RuntimeStatus, version: Installed) -> bool:
    return status.ready and status.release == version.number


def _is_gone(error: ControlError) -> bool:
    """Return whether nobody listens, as opposed to somebody who is slow."""
    return isinstance(error.__cause__, (ConnectionRefusedError, FileNotFoundError))


def _is_another(before: RuntimeStatus, now: RuntimeStatus) -> bool:
    # In a container of its own each runtime has the same pid.
    return now.pid != before.pid or now.uptime_s < before.uptime_s
