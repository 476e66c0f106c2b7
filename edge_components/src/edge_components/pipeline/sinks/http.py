"""Answers to an HTTP receiver, on a thread of their own, tried again while it is away.

What a status means is one pure function: a refusal of the answer itself is final, anything else
may pass. Answers wait in memory, so a restart loses what waits; it is counted.
"""

from __future__ import annotations

import enum
import threading
import time
from typing import Any

import msgspec

from edge_components.contract.pipeline import HttpSink
from edge_components.pipeline.endpoints import Endpoint
from edge_components.pipeline.errors import PipelineError
from edge_components.pipeline.reports import Reports
from edge_components.pipeline.sinks.backlog import Backlog
from edge_components.pipeline.web import Web

_FINAL = frozenset({400, 405, 406, 409, 410, 413, 414, 415, 422, 431})
_HEADERS = {"Content-Type": "application/json"}


class Verdict(enum.Enum):
    """What became of one try."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    AGAIN = "again"


def judge(status: int) -> Verdict:
    """Decide from an HTTP status."""
    if 200 <= status < 300:
        return Verdict.DELIVERED
    return Verdict.REFUSED if status in _FINAL else Verdict.AGAIN


class HttpWriter:
    """Posts answers in their order."""

    def __init__(self, sink: HttpSink, endpoint: Endpoint, reports: Reports) -> None:
        self._sink = sink
        self._endpoint = endpoint
        self._reports = reports
        self._web = Web(endpoint)
        self._waiting: Backlog[bytes] = Backlog(
            most=sink.max_waiting,
            block=sink.when_full == "block",
            word="http",
            whom=endpoint.shown,
            reports=reports,
        )
        self._condition = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def write(self, name: str, answer: dict[str, Any]) -> None:
        """Let an answer wait for its turn.

        Raises:
            OSError: Too many wait, and the pipeline is to wait too.
        """
        del name
        with self._condition:
            self._waiting.add(msgspec.json.encode(answer))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="http-sink", daemon=True)
                self._thread.start()
            self._condition.notify()

    def close(self, timeout_s: float) -> None:
        """Deliver what waits, at most for so long."""
        with self._condition:
            self._condition.wait_for(lambda: not self._waiting or self._thread is None, timeout_s)
            self._stopping = True
            lost = len(self._waiting)
            self._waiting.clear()
            self._condition.notify_all()
        if lost:
            self._reports.count("http_lost", lost)
        if self._thread is not None:
            self._thread.join(timeout_s)
        self._web.close()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._waiting or self._stopping)
                if self._stopping:
                    return
                body = self._waiting[0]
            what = self._deliver(body)
            with self._condition:
                if self._waiting and self._waiting[0] is body:
                    self._waiting.popleft()
                self._condition.notify_all()
            self._reports.count(what)

    def _deliver(self, body: bytes) -> str:
        wait_s = self._sink.retry_s
        for tries in range(1, self._sink.max_tries + 1):
            verdict, why = self._try(body)
            if verdict is Verdict.DELIVERED:
                self._reports.fine("http-sink")
                return "http_delivered"
            self._reports.trouble("http-sink", f"an answer cannot be posted: {why}")
            if verdict is Verdict.REFUSED:
                return "http_refused"
            if tries < self._sink.max_tries and not self._rest(wait_s):
                return "http_lost"
            wait_s = min(self._sink.max_retry_s, 2 * wait_s)
        return "http_given_up"

    def _try(self, body: bytes) -> tuple[Verdict, str]:
        try:
            reply = self._web.request(
                "POST", self._endpoint.url, body, _HEADERS, self._sink.timeout_s
            )
        except (OSError, PipelineError) as exc:
            return Verdict.AGAIN, str(exc)
        return judge(reply.status), f"{self._endpoint.shown} answered {reply.status}"

    def _rest(self, seconds: float) -> bool:
        """Wait; return whether to go on."""
        until = time.monotonic() + seconds
        with self._condition:
            while not self._stopping and (left := until - time.monotonic()) > 0:
                self._condition.wait(left)
            return not self._stopping
