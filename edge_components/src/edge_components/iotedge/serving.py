"""The supervised runtime as an order sees it: there whenever it is told to load something."""

from __future__ import annotations

import threading
import time

from edge_components.agent.supervisor import Supervisor
from edge_components.update.errors import CalledOffError
from edge_components.update.ports import Health
from edge_components.update.record import Installed

_LOOK_S = 0.05


class SupervisedRuntime:
    """The inference server on this device.

    Args:
        supervisor: Keeps it running.
        load_s: How long it may load the version of its own start before it is told which.
    """

    def __init__(self, supervisor: Supervisor, *, load_s: float) -> None:
        self._supervisor = supervisor
        self._load_s = load_s

    def activate(self, version: Installed, stop: threading.Event) -> str:
        """Have it answer with ``version``; raises ``RefusedError`` and ``CalledOffError``."""
        return self._supervisor.activate(version, stop)

    def restore(self, version: Installed | None, stop: threading.Event) -> None:
        """Have it answer with ``version`` again, or end it; raises as ``activate`` does."""
        self._supervisor.restore(version, stop)

    def health(self) -> Health:
        """Return what it does now."""
        return self._supervisor.health()

    def reach(self, stop: threading.Event) -> object | None:
        """Return that it is there: it is started when a version is activated."""
        del stop
        return self._supervisor

    def ensure(self, version: Installed, stop: threading.Event) -> None:
        """See that it answers with a version that is in place; raises as ``activate`` does.

        One that is just starting loads that version by itself and is waited for.
        """
        deadline = time.monotonic() + self._load_s
        while not self._serves(version):
            if time.monotonic() > deadline:
                self._supervisor.activate(version, stop)
                return
            if stop.wait(_LOOK_S):
                raise CalledOffError

    def _serves(self, version: Installed) -> bool:
        health = self._supervisor.health()
        return health.ready and health.release == version.number
