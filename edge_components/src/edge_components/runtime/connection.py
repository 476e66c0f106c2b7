"""One HTTP/1.1 connection: whose turn it is.

Requests of one connection are answered in order. A connection that pipelines gets a few answers
and then waits for its next turn; one that does not read its answers is not read from. What has
arrived is kept by ``arriving``, what is not read by ``unread``; ``lifetime`` says when it is given
up, ``answers`` what goes out.
"""

from __future__ import annotations

import asyncio
import math

from edge_components.runtime.answers import fault, outcome, quick_answer, write_answer
from edge_components.runtime.http import Head, HttpError, Request, Response, error_response
from edge_components.runtime.lifetime import LINGER_S, BoundedConnection


class Connection(BoundedConnection):
    """The protocol object of one connection."""

    # -- asyncio.Protocol

    def eof_received(self) -> bool:
        """The client sends no more; it may still wait for an answer."""
        self._ended = True
        return self._busy or self._scheduled or self._unread.paused

    def pause_writing(self) -> None:
        """The client does not read: answer nothing more until it does."""
        self.deadline = self._owner.now + self._owner.limits.write_timeout_s
        self._unread.pause(self._transport)

    def resume_writing(self) -> None:
        """The client reads again."""
        self._unread.resume()
        if self._lingering:
            self.deadline = self._owner.now + LINGER_S
        elif self._arriving.pending:
            self._schedule()
        else:
            self._wait()

    def data_received(self, data: bytes) -> None:
        """Take what the socket gave, and answer what is complete."""
        if self._lingering or self._express(data):
            return
        arriving = self._arriving
        arriving.add(data)
        if self._busy or self._unread.paused or self._scheduled:
            arriving.throttle()
        elif len(arriving.pending) >= arriving.needed:
            self._process()

    def body_arrived(self) -> None:
        """A large body is whole: answer its request."""
        request = self._arriving.take_body()
        if request is not None:
            self._answer_whole(request)

    def head_repeated(self) -> bool:
        """Let another large body go to its place at once, if nothing else has to be done first."""
        if (
            self._busy
            or self._scheduled
            or self._unread.paused
            or self._ended
            or self._lingering
            or self._transport is None
        ):
            return False
        try:
            begun = self._arriving.repeat()
        except HttpError as exc:
            self._fail(exc)
            return True
        if begun:
            self.idle_since = None
            self.deadline = self._arriving.due
        return begun

    def _express(self, data: bytes) -> bool:
        """Answer what is exactly one request with a head that was seen before.

        This is what a keep-alive client sends; for all else return False.
        """
        arriving, owner, transport = self._arriving, self._owner, self._transport
        if (
            arriving.pending
            or arriving.head is not None
            or self._busy
            or self._unread.paused
            or self._scheduled
            or self._ended
            or transport is None
        ):
            return False
        body_at = data.find(b"\r\n\r\n") + 4
        head = owner.heads.known(data[:body_at])
        if head is None or head.quick is None or head.length != len(data) - body_at:
            return False
        body = data[body_at:]
        answer = quick_answer(owner, head, body)
        if answer is None:
            self._answer_whole(Request(head, body))
        else:
            transport.write(answer)
            if not self._unread.paused:  # else there is the deadline for reading the answer
                self.idle_since = owner.now
                self.deadline = owner.now + owner.limits.idle_timeout_s
        return True

    # -- turns

    def _schedule(self) -> None:
        if not self._scheduled and self._arriving.pending and self._transport is not None:
            self._scheduled = True
            self.deadline = math.inf  # now the client waits for us
            self._owner.loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        if not self._busy and not self._unread.paused and self._transport is not None:
            self._process()

    def _process(self) -> None:
        """Answer what is complete."""
        self.idle_since = None
        arriving = self._arriving
        try:
            for _ in range(self._owner.limits.requests_per_turn):
                request = arriving.next()
                if request is None:
                    self._wait()
                    return
                if not self._answer_quickly(request):
                    self._answer(request)
                if self._busy or self._unread.paused or self._transport is None or self._lingering:
                    return
                if not arriving.pending:
                    break
        except HttpError as exc:
            self._fail(exc)
            return
        if arriving.pending:
            self._schedule()
        else:
            self._wait()

    def _wait(self) -> None:
        """Set the deadline for what is missing now."""
        owner, transport = self._owner, self._transport
        if transport is None or self._lingering or self._busy or self._unread.paused:
            return
        if not transport.is_reading():
            transport.resume_reading()
        arriving = self._arriving
        if arriving.head is None and not arriving.pending:
            self.idle_since = owner.now
            self.deadline = owner.now + owner.limits.idle_timeout_s
            if owner.draining or self._ended:
                transport.close()
        elif self._ended:
            self._fail(HttpError(400, "the request ends before it is complete", close=True))
        else:
            self.deadline = arriving.due

    # -- answers

    def _answer_whole(self, request: Request) -> None:
        """Answer a request that has no quick answer, then what is behind it."""
        self.idle_since = None
        self._answer(request)
        if not self._busy:
            self._turn()

    def _answer_quickly(self, request: Request) -> bool:
        answer = quick_answer(self._owner, request.head, request.body)
        if answer is None or self._transport is None:
            return False
        self._transport.write(answer)
        return True

    def _answer(self, request: Request) -> None:
        head = request.head
        if head.endpoint is None:
            refusal = self._owner.resolve(head)
            if refusal is not None:
                self._write(refusal, head)
                return
        self._asked = head
        try:
            if head.wide is not None and head.wide(head, request.body, self._replied):
                self._busy = True
                self.deadline = math.inf
                return
            result = head.endpoint(request)  # type: ignore[misc]  # resolve() has filled it in
        except Exception as exc:  # noqa: BLE001  # fault() logs it and says it to the client
            self._write(fault(exc, head), head)
            return
        if type(result) is Response:
            self._write(result, head)
            if self._arriving.lent is not None:
                self._arriving.give_back(head)
        else:
            self._busy = True
            self.deadline = math.inf
            result.add_done_callback(self._answered)

    def _answered(self, future: asyncio.Future[Response]) -> None:
        if future.cancelled():
            self._arriving.lent = None  # a thread may still look at the body
        self._replied(outcome(future, self._asked))

    def _replied(self, answer: Response | BaseException) -> None:
        head = self._asked
        self._busy = False
        self._arriving.give_back(head)  # no thread looks at the body any more
        self._write(answer if isinstance(answer, Response) else fault(answer, head), head)
        transport = self._transport
        if transport is None or self._lingering or self._unread.paused:
            return
        if self._arriving.pending:
            self._schedule()
            if not transport.is_reading():
                transport.resume_reading()
        else:
            self._wait()

    def _write(self, answer: Response | HttpError, head: Head) -> None:
        owner, transport = self._owner, self._transport
        if isinstance(answer, HttpError):
            if answer.close:
                self._fail(answer)
                return
            answer = error_response(answer)
        if answer.status >= 400:
            owner.failed(answer.status)
        if transport is None:
            return
        keep = head.keep_alive and not owner.draining
        write_answer(transport, answer, head, owner.date, keep)
        if not keep:
            self._linger()
