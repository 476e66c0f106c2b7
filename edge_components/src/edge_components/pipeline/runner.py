"""The pipeline at work: readings from the source through the queue and the steps to the sinks.

It uses the same model as the server and changes with it: model, steps, files and sinks are one
object that an activation replaces between two readings. A source that both releases have goes
on undisturbed. A reading that fails is set aside with an event; a sink that cannot take an answer
is tried again, and holds up the others only when as many answers wait as readings may.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from edge_components.contract.device import PipelineSection
from edge_components.contract.pipeline import Pipeline
from edge_components.pipeline.errors import Abandoned, PipelineError
from edge_components.pipeline.lane import Lane
from edge_components.pipeline.reading import Answers, Outcome, Reading
from edge_components.pipeline.reports import Records, Reports
from edge_components.pipeline.state import FOLDER, StateStore
from edge_components.runtime.http import HttpError, Request, Response
from edge_components.runtime.metrics import Metrics
from edge_components.runtime.model import Model, ModelError

if TYPE_CHECKING:
    from edge_components.pipeline.flow import Flow

log = logging.getLogger(__name__)

_REST_S = 0.5
_AGAIN_S = 0.5
_CLOSE_S = 3.0
_LOOK_S = 0.005


class PipelineRunner:
    """Runs one flow at a time."""

    def __init__(
        self,
        recorder: Records,
        metrics: Metrics,
        *,
        state_dir: Path = Path(),
        device: PipelineSection | None = None,
        device_id: str = "",
        has_stdin: bool = True,
    ) -> None:
        self.reports = Reports(recorder, metrics)
        self._state_dir = state_dir
        self._device = device or PipelineSection()
        self._device_id = device_id
        self._has_stdin = has_stdin
        self._states = StateStore(state_dir / FOLDER)
        self._flow: Flow | None = None
        self._next: Flow | None = None
        self._lane: Lane | None = None
        self._lock = threading.Lock()
        self._change = threading.Event()
        self._stopping = False
        self._adopting = False
        self._undelivered: deque[tuple[Reading, Answers, int]] = deque()
        self._again_at = 0.0
        self._thread: threading.Thread | None = None

    # -- from any thread

    def build(self, model: Model | None, pipeline: Pipeline, package: Path) -> Flow:
        """Bind a pipeline to a model, without beginning.

        Raises:
            PipelineError: It cannot work here; the message says why.
        """
        # Only a runtime with a pipeline pays for its steps.
        from edge_components.pipeline.flow import build_flow  # noqa: PLC0415  # see above
        from edge_components.pipeline.parts import Site  # noqa: PLC0415  # see above

        site = Site(
            state_dir=self._state_dir,
            package=package,
            device=self._device,
            device_id=self._device_id,
            has_stdin=self._has_stdin,
        )
        return build_flow(model, pipeline, site, self.reports)

    def use(self, flow: Flow | None) -> None:
        """Work with ``flow`` from the next reading on."""
        with self._lock:
            unused, self._next = self._next, flow
            self._change.set()
            if self._lane is not None:
                self._lane.wake()
            if self._thread is None and flow is not None and not self._stopping:
                self._thread = threading.Thread(target=self._run, name="pipeline", daemon=True)
                self._thread.start()
        if unused is not None:
            unused.close()

    def push(self, request: Request) -> Response | asyncio.Future[Response]:
        """Take a reading that a client brings; for the server's event loop.

        Raises:
            HttpError: The pipeline takes none, or not this one.
        """
        lane = self._lane
        receive = None if lane is None else getattr(lane.feed, "receive", None)
        if lane is None or receive is None:
            if self._change.is_set():
                raise HttpError(503, "the pipeline changes", headers=b"Retry-After: 1\r\n")
            raise HttpError(404, "no pipeline with a push source is active")
        answer: Response | asyncio.Future[Response] = receive(request, lane.room)
        return answer

    def wait_for_change(self, timeout_s: float = 5.0) -> None:
        """Wait until the flow that was given last is the one that works; not on an event loop."""
        until = time.monotonic() + timeout_s
        while (self._change.is_set() or self._adopting) and time.monotonic() < until:
            time.sleep(_LOOK_S)

    @property
    def ended(self) -> bool:
        """Whether the source has no more readings, and all that it brought are answered."""
        lane = self._lane
        return lane is not None and lane.ended and not self._undelivered and not lane.busy

    def stop(self, timeout_s: float = 5.0) -> None:
        """Finish the present reading and end."""
        self._stopping = True
        self._change.set()
        with self._lock:
            if self._lane is not None:
                self._lane.wake()
        if self._thread is not None:
            self._thread.join(timeout_s)

    # -- the worker

    def _run(self) -> None:
        try:
            while not self._stopping:
                try:
                    if self._change.is_set():
                        self._adopt()
                    self._turn()
                except Exception as exc:  # the thread must outlive whatever a part does
                    log.exception("the pipeline failed")
                    self.reports.trouble("worker", f"the pipeline failed: {exc!r}")
                    self._adopting = False
                    self._change.wait(_REST_S)
        finally:
            self._end()

    def _turn(self) -> None:
        self._deliver_again()
        lane, flow = self._lane, self._flow
        if lane is None or flow is None:
            self._change.wait(None if flow is None else _REST_S)
            return
        if len(self._undelivered) >= lane.room.settings.length:
            self._change.wait(_AGAIN_S)
            return
        reading = lane.take(_REST_S if not self._undelivered else _AGAIN_S / 5)
        if reading is None:
            self._save(flow)
            return
        try:
            self._one(flow, reading)
        except Exception as exc:  # the pipeline must outlive any reading
            log.exception("the pipeline failed")
            self.reports.trouble("worker", f"the pipeline failed: {exc!r}")
            self._finish(reading, Outcome.FAILED, repr(exc))
        finally:
            lane.done()

    def _one(self, flow: Flow, reading: Reading) -> None:
        if reading.is_late:
            self.reports.count("late")
            self._finish(reading, Outcome.DROPPED, "nobody waits for it any more")
            return
        try:
            answers = flow.answer(reading, lambda: self._abandons(reading))
        except Abandoned:
            self._finish(reading, Outcome.LEFT, "the pipeline changes or ends")
            return
        except (PipelineError, ModelError) as exc:
            self.reports.error("pipeline_reading")
            self.reports.event(f"reading '{reading.name}' failed: {exc}", {"file": reading.name})
            self._finish(reading, Outcome.FAILED, str(exc))
            return
        for _, alarm in flow.writers[: flow.alarms]:
            for answer in answers:
                alarm.write(answer["reading"], answer)
        self._save(flow)
        if reading.answered is not None:
            reading.answered(answers)
        if self._undelivered:
            self._undelivered.append((reading, answers, flow.alarms))
        else:
            self._deliver(flow, reading, answers, flow.alarms)

    def _deliver(self, flow: Flow, reading: Reading, answers: Answers, begin: int) -> None:
        """Give the answers to the sinks from the given one on; keep them where one is in trouble.

        Alarms have seen them already: those are raised at once and once, whatever becomes of the
        rest, and what they remember is written before anything that tells of the answer.
        """
        for index, (record, writer) in enumerate(flow.writers[begin:], begin):
            try:
                for answer in answers:
                    writer.write(answer["reading"], answer)
            except (OSError, PipelineError) as exc:
                kind = record.__struct_config__.tag
                self.reports.trouble("sink", f"the pipeline's {kind} sink cannot be used: {exc}")
                self.reports.count("delivery_failed")
                self._undelivered.append((reading, answers, index))
                self._again_at = time.monotonic() + _AGAIN_S
                return
        self.reports.answered()
        self.reports.fine("worker")
        self._finish(reading, Outcome.ANSWERED)

    def _deliver_again(self) -> None:
        if not self._undelivered or self._flow is None or time.monotonic() < self._again_at:
            return
        waiting, self._undelivered = self._undelivered, deque()
        while waiting and not self._undelivered:
            self._deliver(self._flow, *waiting.popleft())
        self._undelivered.extend(waiting)
        if not self._undelivered:
            self.reports.fine("sink")

    def _finish(self, reading: Reading, outcome: Outcome, why: str = "") -> None:
        try:
            reading.finish(outcome, why)
        except OSError as exc:
            self.reports.trouble("dispose", f"the pipeline's folder cannot be used: {exc}")
        else:
            self.reports.fine("dispose")

    def _save(self, flow: Flow, *, now: bool = False) -> None:
        if not flow.stateful:
            return
        try:
            self._states.save(flow.stateful, now=now)
        except (OSError, PipelineError) as exc:
            self.reports.trouble("state", f"the pipeline's state cannot be kept: {exc}")
        else:
            self.reports.fine("state")

    def _abandons(self, reading: Reading) -> bool:
        return self._stopping or self._change.is_set() or reading.is_late

    def _adopt(self) -> None:
        """Change to the next flow: its state from the disk, its source only if it is another."""
        with self._lock:
            self._adopting = True
            self._change.clear()
            old, flow = self._flow, self._next
            self._next = None
        if old is not None:
            self._save(old, now=True)
        if flow is not None:
            if old is not None:
                flow.take_over(old)
            for trouble in self._states.restore(flow.stateful):
                self.reports.event(trouble)
            self._states.sweep(part.state_key for part in flow.stateful)
        self._leave_undelivered()
        with self._lock:
            lane = self._lane
            self._lane = Lane.of(flow, lane, self.reports)
            self._flow = flow
        if lane is not None and lane is not self._lane:
            lane.close()
        if self._lane is not None:
            self._lane.start()
        self._adopting = False
        if old is not None:
            old.close(_CLOSE_S)

    def _leave_undelivered(self) -> None:
        for reading, _, _ in self._undelivered:
            self._finish(reading, Outcome.LEFT, "the pipeline changes or ends")
        self._undelivered.clear()

    def _end(self) -> None:
        lane, flow = self._lane, self._flow
        if lane is not None:
            lane.close()
        self._leave_undelivered()
        if flow is not None:
            self._save(flow, now=True)
            flow.close(_CLOSE_S)
        with self._lock:
            unused, self._next = self._next, None
        if unused is not None:
            unused.close()
