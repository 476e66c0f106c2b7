"""Brings what the device has to say to the hub, in order, until it is delivered.

Attributes first, because the operator's verdict is made of them; then the feedback of the phases;
last the closing feedback, whose delivery the record remembers. A killed agent therefore repeats
what may not have arrived, and never leaves an action open.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from edge_components.agent.ddi import DdiClient, Feedback
from edge_components.agent.http import HubError
from edge_components.agent.orders import is_import, open_outcome
from edge_components.agent.reporting import closing_feedback, progress_feedback
from edge_components.contract.state import DeviceReport, to_attributes
from edge_components.store.store import Store
from edge_components.update import machine
from edge_components.update.record import Phase, Record

_LOG = logging.getLogger(__name__)
_MOST_QUEUED = 64


class Courier:
    """What is still to be said.

    Args:
        client: The hub.
        store: Holds the outcome until it is delivered.
        report: Makes the device's statement of a record.
    """

    def __init__(
        self, client: DdiClient, store: Store, report: Callable[[Record], DeviceReport]
    ) -> None:
        self._client = client
        self._store = store
        self._report = report
        self._lock = threading.Lock()
        self._queue: deque[Feedback] = deque(maxlen=_MOST_QUEUED)
        self._sent: DeviceReport | None = None
        self._last_phase: tuple[str, Phase, str] | None = None

    def note(self, record: Record) -> None:
        """Queue the feedback for a phase that was just entered or waits; any thread may call."""
        update = record.update
        if update is None or is_import(update.action):
            return
        if (update.action, update.phase, update.waits) == self._last_phase:
            return
        self._last_phase = update.action, update.phase, update.waits
        self.say(progress_feedback(update))

    def say(self, feedback: Feedback) -> None:
        """Queue feedback; any thread may call."""
        with self._lock:
            self._queue.append(feedback)

    def repeat_attributes(self) -> None:
        """Send the attributes again although they have not changed."""
        self._sent = None

    def is_idle(self) -> bool:
        """Return whether there is nothing to say."""
        record = self._store.record
        return (
            not self._queue
            and self._report(record) == self._sent
            and open_outcome(record.outcome) is None
        )

    def deliver(self) -> None:
        """Say everything.

        Raises:
            HubError: The hub cannot be reached or asks to wait; what is left stays queued.
        """
        record = self._store.record
        report = self._report(record)
        if report != self._sent:
            self._send_attributes(report)
            self._sent = report
        while self._queue:
            self._send(self._queue[0])
            with self._lock:
                self._queue.popleft()
        outcome = open_outcome(record.outcome)
        if outcome is not None:
            self._send(closing_feedback(outcome))
            self._store.change(lambda now: machine.delivered(now, outcome.action))

    def _send_attributes(self, report: DeviceReport) -> None:
        try:
            self._client.put_attributes(to_attributes(report))
        except HubError as exc:
            if not exc.is_final:
                raise
            _LOG.warning("the hub refuses the attributes for good: %s", exc)

    def _send(self, feedback: Feedback) -> None:
        try:
            self._client.send(feedback)
        except HubError as exc:
            if not exc.is_final:
                raise
            # 404 and 410: the hub has closed or forgotten the action, so nobody waits for this.
            _LOG.warning("the hub does not take feedback on %s: %s", feedback.action, exc)
