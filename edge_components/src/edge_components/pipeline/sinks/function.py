"""Answers to a Lambda function on this device, through the nucleus's local messages.

A thread of its own publishes, in order; the nucleus keeps nothing for a function that is not
there, so an answer that was taken is out of our hands.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from edge_components.contract.pipeline import LambdaSink
from edge_components.greengrass import NucleusError, NucleusLink, is_component
from edge_components.pipeline.errors import PipelineError
from edge_components.pipeline.reports import Reports

_AGAIN_S = 1.0
_CLOSE_S = 2.0
_NAME = "lambda-sink"


class FunctionWriter:
    """Publishes answers to the function's topic.

    Raises:
        PipelineError: This is no component of a nucleus.
    """

    def __init__(self, sink: LambdaSink, reports: Reports) -> None:
        if not is_component():
            raise PipelineError("a Lambda sink needs AWS IoT Greengrass: no nucleus runs this")
        self._sink = sink
        self._reports = reports
        self._waiting: deque[dict[str, Any]] = deque()
        self._sending = False
        self._stopping = False
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None

    def write(self, name: str, answer: dict[str, Any]) -> None:
        """Let an answer wait for the nucleus.

        Raises:
            OSError: Too many wait, and the pipeline is to wait too.
        """
        del name
        with self._condition:
            if len(self._waiting) >= self._sink.max_waiting:
                if self._sink.when_full == "block":
                    raise OSError(f"{len(self._waiting)} answers wait for the nucleus")
                self._waiting.popleft()
                self._reports.count("lambda_dropped_oldest")
            self._waiting.append(answer)
            self._condition.notify_all()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=_NAME, daemon=True)
            self._thread.start()

    def close(self, timeout_s: float) -> None:
        """Deliver what waits, at most for so long."""
        with self._condition:
            self._condition.wait_for(lambda: not self._waiting and not self._sending, timeout_s)
            lost = len(self._waiting) + self._sending
            self._stopping = True
            self._condition.notify_all()
        if lost:
            self._reports.count("lambda_lost", lost)
        if self._thread is not None:
            # The link has threads of its own, which must not be cut off by the process's end.
            self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        with NucleusLink() as link:
            while (answer := self._next()) is not None:
                self._deliver(link, answer)
                with self._condition:
                    self._sending = False
                    self._condition.notify_all()

    def _next(self) -> dict[str, Any] | None:
        with self._condition:
            self._condition.wait_for(lambda: self._stopping or self._waiting)
            if self._stopping:
                return None
            self._sending = True
            return self._waiting.popleft()

    def _deliver(self, link: NucleusLink, answer: dict[str, Any]) -> None:
        while not self._stopping:
            try:
                link.publish_locally(self._sink.topic, answer)
            except NucleusError as exc:
                self._reports.trouble(_NAME, f"the function does not get answers: {exc}")
                with self._condition:
                    self._condition.wait_for(lambda: self._stopping, _AGAIN_S)
            else:
                self._reports.fine(_NAME)
                self._reports.count("lambda_delivered")
                return
