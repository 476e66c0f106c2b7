"""Runs the updater in a thread of its own, so that the agent goes on talking to the hub."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from edge_components.store.disk import DiskFullError
from edge_components.update.errors import CalledOffError
from edge_components.update.executor import Interrupt, Updater
from edge_components.update.ports import Source

_LOG = logging.getLogger(__name__)


class Worker:
    """At most one run of the updater at a time.

    Args:
        updater: The updater.
        ended: Called in the worker's thread when a run has ended.
    """

    def __init__(self, updater: Updater, ended: Callable[[], None]) -> None:
        self._updater = updater
        self._ended = ended
        self._interrupt = Interrupt()
        self._thread: threading.Thread | None = None
        self._busy = False

    def is_busy(self) -> bool:
        """Return whether a run is under way."""
        return self._busy

    def begin(self, source: Source | None) -> None:
        """Start a run; there must be none under way."""
        self._interrupt = Interrupt()
        self._busy = True
        self._thread = threading.Thread(
            target=self._run, args=(source, self._interrupt), name="update", daemon=True
        )
        self._thread.start()

    def cancel(self) -> None:
        """Take back the order that is being carried out; too late after the switch."""
        self._interrupt.cancel()

    def stop(self, timeout_s: float) -> None:
        """End the run where it stands and wait for it."""
        self._interrupt.stop()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self, source: Source | None, interrupt: Interrupt) -> None:
        try:
            record = self._updater.run(source, interrupt)
            if record.outcome is not None and record.update is None:
                outcome = record.outcome
                _LOG.info(
                    "release %d: %s %s %s",
                    outcome.release,
                    outcome.state.value,
                    outcome.reason.value,
                    outcome.detail,
                )
        except CalledOffError:
            _LOG.info("the update stops with the agent")
        except (DiskFullError, OSError) as exc:
            _LOG.warning("the update waits for a disk that takes its record: %s", exc)
        finally:
            self._busy = False
            self._ended()
