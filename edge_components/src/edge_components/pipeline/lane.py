"""A source with its queue: what goes on undisturbed while models and steps change."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from edge_components.pipeline.backpressure import WaitingRoom
from edge_components.pipeline.errors import PipelineError
from edge_components.pipeline.reading import Outcome, Reading
from edge_components.pipeline.reports import Reports

if TYPE_CHECKING:
    from edge_components.pipeline.flow import Flow
    from edge_components.pipeline.parts import Feed

log = logging.getLogger(__name__)

_FIRST_WAIT_S = 0.2
_LONGEST_WAIT_S = 10.0


class Lane:
    """Brings readings on a thread of its own, where the source needs one.

    Attributes:
        ended: Whether the source has no more.
        busy: Whether a reading waits or is worked on.
    """

    def __init__(self, flow: Flow, feed: Feed, reports: Reports) -> None:
        self.feed = feed
        self.room = WaitingRoom(flow.pipeline.waiting_room, reports.count, reports.waiting)
        self.ended = False
        self._key = _key(flow)
        self._reports = reports
        self._stop = threading.Event()
        self._working = False
        self._brought = 0
        self._thread: threading.Thread | None = None

    @classmethod
    def of(cls, flow: Flow | None, present: Lane | None, reports: Reports) -> Lane | None:
        """Return the lane of a flow: the present one, if its source is the same."""
        if flow is None or flow.feed is None:
            return None
        if present is not None and present.suits(flow):
            return present
        return cls(flow, flow.feed, reports)

    @property
    def busy(self) -> bool:
        """Whether a reading waits or is worked on."""
        return self._working or len(self.room) > 0

    def suits(self, flow: Flow) -> bool:
        """Whether the flow has the same source and queue, at the same place."""
        return self._key == _key(flow)

    def start(self) -> None:
        """Begin to bring readings, if it has not begun."""
        if self._thread is None and self.feed.threaded and not self._stop.is_set():
            self._thread = threading.Thread(target=self._run, name="pipeline-source", daemon=True)
            self._thread.start()

    def take(self, timeout_s: float) -> Reading | None:
        """Return the next reading; ``done`` has to follow."""
        reading = self.room.take(timeout_s)
        self._working = reading is not None
        return reading

    def done(self) -> None:
        """The reading was worked on."""
        self._working = False

    def wake(self) -> None:
        """Let ``take`` return soon."""
        self.room.wake()

    def close(self) -> None:
        """Stop the source; what waits is left to it."""
        self._stop.set()
        for reading in self.room.close():
            try:
                reading.finish(Outcome.LEFT, "the pipeline changes or ends")
            except OSError:
                log.exception("a reading could not be left")
        close = getattr(self.feed, "close", None)
        if close is not None:
            close()

    def _run(self) -> None:
        first_s: float = getattr(self.feed, "retry_s", _FIRST_WAIT_S)
        longest_s: float = getattr(self.feed, "max_retry_s", _LONGEST_WAIT_S)
        wait_s = first_s
        while not self._stop.is_set():
            brought = self._brought
            try:
                self.feed.run(self._put, self._stop)
            except (OSError, PipelineError) as exc:
                self._reports.trouble("source", f"the pipeline's source cannot be used: {exc}")
            except Exception as exc:  # a source must not end because of one reading
                log.exception("the source failed")
                self._reports.trouble("source", f"the pipeline's source failed: {exc!r}")
            else:
                self.ended = True
                self.room.wake()
                return
            wait_s = first_s if self._brought > brought else wait_s
            self._stop.wait(wait_s)
            wait_s = min(longest_s, 2 * wait_s)

    def _put(self, reading: Reading) -> bool:
        taken = self.room.put(reading)
        self._brought += 1
        self._reports.fine("source")
        return taken


def _key(flow: Flow) -> tuple[object, ...]:
    pipeline, site = flow.pipeline, flow.site
    return pipeline.source, pipeline.waiting_room, site.state_dir, site.device
