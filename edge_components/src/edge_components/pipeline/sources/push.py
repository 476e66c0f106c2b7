"""The push source: a client posts a reading to the runtime's server and gets the answer.

The server's own rules hold: its limits, its token, its TLS. A body says by its first bytes what
it is; ``?name=`` and ``?key=`` say what to call the reading and whose it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from edge_components.contract.pipeline import PushSource
from edge_components.pipeline.backpressure import WaitingRoom
from edge_components.pipeline.reading import Answers, Outcome, Reading
from edge_components.runtime.http import HttpError, Request, Response, json_response

_AGAIN = b"Retry-After: 1\r\n"
_MAX_NAME = 200
_STATUS = {Outcome.FAILED: 422, Outcome.DROPPED: 503, Outcome.LEFT: 503}


class PushFeed:
    """Turns requests into readings and outcomes into answers."""

    threaded = False

    def __init__(self, source: PushSource) -> None:
        self._source = source
        self._numbers = itertools.count(1)

    def run(self, put: Callable[[Reading], bool], stop: Any) -> None:
        """There is nothing to fetch: readings come by themselves."""

    def receive(self, request: Request, room: WaitingRoom) -> Response | asyncio.Future[Response]:
        """Take a reading; called on the server's event loop, and never waits there.

        Raises:
            HttpError: 411, 413 or 503.
        """
        if request.head.length is None and not request.head.chunked:
            raise HttpError(411, "a reading needs a Content-Length")
        if len(request.body) > self._source.max_bytes:
            raise HttpError(413, f"a reading has at most {self._source.max_bytes} bytes here")
        query = parse_qs(request.head.query)
        name = query.get("name", [f"push-{next(self._numbers)}"])[-1][:_MAX_NAME]
        waiter = _Waiter(name)
        waits = self._source.reply == "answer"
        reading = Reading(
            name,
            bytes(request.body),
            key=query.get("key", [""])[-1][:_MAX_NAME],
            done=waiter.done,
            answered=waiter.answered if waits else None,
            gives_up_at=time.monotonic() + self._source.timeout_s if waits else None,
        )
        if not room.put(reading, wait=False):
            raise HttpError(503, "too many readings wait", headers=_AGAIN)
        if not waits:
            return json_response(202, {"reading": name})
        waiter.expire_after(self._source.timeout_s)
        return waiter.future


class _Waiter:
    """A client that waits: the worker's thread on one side, the event loop on the other."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Response] = self._loop.create_future()

    def answered(self, answers: Answers) -> None:
        response = json_response(200, {"reading": self._name, "answers": answers})
        self._tell(lambda: self.future.set_result(response))

    def done(self, outcome: Outcome, why: str) -> None:
        if outcome is not Outcome.ANSWERED:
            headers = b"" if outcome is Outcome.FAILED else _AGAIN
            error = HttpError(_STATUS[outcome], why or outcome.value, headers=headers)
            self._tell(lambda: self.future.set_exception(error))

    def expire_after(self, timeout_s: float) -> None:
        error = HttpError(504, f"no answer within {timeout_s:g} s")
        handle = self._loop.call_later(timeout_s, self._fail, error)
        self.future.add_done_callback(lambda _: handle.cancel())

    def _fail(self, error: HttpError) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def _tell(self, what: Callable[[], None]) -> None:
        def tell() -> None:
            if not self.future.done():
                what()

        with contextlib.suppress(RuntimeError):  # the loop has ended, and the client with it
            self._loop.call_soon_threadsafe(tell)
