"""One HTTP/1.1 connection: when to read, when to answer, when to give up.

Requests of one connection are answered in order. A connection that pipelines gets a few answers
and then waits for its next turn; one that does not read its answers is not read from; one that
sends slowly or nothing is closed at its deadline, which the server's sweep looks at (no timer per
request).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import math
import sys
import termios
from typing import Protocol, cast

from edge_components.runtime.bodies import BodyReader, Buffers
from edge_components.runtime.chunked import ChunkedBody
from edge_components.runtime.http import (
    Buffer,
    Head,
    HeadCache,
    HttpError,
    Limits,
    Request,
    Response,
    error_response,
    head_bytes,
)

log = logging.getLogger(__name__)

_LARGE = 64 << 10
_LINGER_S = 2.0
_GRACE_S = 1.0


class Owner(Protocol):
    """What a connection needs from its server."""

    limits: Limits
    heads: HeadCache
    buffers: Buffers
    date: bytes
    now: float
    draining: bool
    buffered_bytes: int
    unread_bytes: int
    loop: asyncio.AbstractEventLoop

    def opened(self, connection: Connection) -> bool:
        """Take note of a new connection; False if there is no room for it."""

    @property
    def crowded(self) -> bool:
        """Whether there is not even room to say goodbye."""

    def make_room(self) -> None:
        """Give up connections that do not read, where they hold too much together."""

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""

    def resolve(self, head: Head) -> Response | None:
        """Fill in ``head.endpoint``, or return the answer that says why there is none."""

    def failed(self, status: int) -> None:
        """Count an error answer."""


class Connection(asyncio.Protocol):
    """The protocol object of one connection."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._pending: bytes | bytearray = b""
        self._needed = 0  # bytes that have to be there before it is worth looking again
        self._head: Head | None = None
        self._body_at = 0
        self._chunks: ChunkedBody | None = None
        self._reader: BodyReader | None = None  # while a large body arrives
        self._lent: memoryview | None = None  # the buffer of the request that is being answered
        self._reserved = 0
        self._begun = 0.0  # when the head or body that is arriving began
        self._unread = 0  # bytes of answers when the client was last seen to read
        self._held = 0  # what this connection adds to the owner's unread bytes
        self._held_at_first = 0
        self._paused_since = 0.0
        self._busy = False
        self._paused = False
        self._scheduled = False
        self._lingering = False
        self._ended = False
        self.deadline = math.inf
        self.idle_since: float | None = None

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; refuse at once if the server is full."""
        self._transport = cast("asyncio.Transport", transport)
        owner = self._owner
        self.idle_since = owner.now
        self.deadline = owner.now + owner.limits.head_timeout_s
        if not owner.opened(self):
            self._fail(
                HttpError(503, "too many connections", close=True, headers=b"Retry-After: 1\r\n")
            )
            if owner.crowded:
                self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget everything."""
        del exc
        self._transport = None
        self._pending = b""
        self._reader = None
        self._release()
        self._hold(0)
        self._owner.closed(self)

    def eof_received(self) -> bool:
        """The client sends no more; it may still wait for an answer."""
        self._ended = True
        return self._busy or self._scheduled or self._paused

    def pause_writing(self) -> None:
        """The client does not read: answer nothing more until it does."""
        self._paused = True
        owner = self._owner
        self.deadline = owner.now + owner.limits.write_timeout_s
        if self._transport is not None:
            self._unread = _unread(self._transport)
            self._held_at_first = self._transport.get_write_buffer_size()
            self._paused_since = owner.loop.time()
            self._hold(self._held_at_first)
            owner.make_room()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._paused = False
        self._hold(0)
        if self._lingering:
            self.deadline = self._owner.now + _LINGER_S
        elif self._pending:
            self._schedule()
        else:
            self._wait()

    def data_received(self, data: bytes) -> None:
        """Take what the socket gave, and answer what is complete."""
        if self._lingering or self._express(data):
            return
        pending = self._pending
        if not pending:
            self._pending = data
        elif isinstance(pending, bytearray):
            pending += data
        else:
            self._pending = bytearray(pending) + data
        if self._busy or self._paused or self._scheduled:
            self._throttle()
        elif len(self._pending) >= self._needed:
            self._process()

    def _express(self, data: bytes) -> bool:
        """Answer what is exactly one request with a head that was seen before.

        This is what a keep-alive client sends; for all else return False.
        """
        owner = self._owner
        if (
            self._pending
            or self._head is not None
            or self._busy
            or self._paused
            or self._scheduled
            or self._ended
            or self._transport is None
        ):
            return False
        body_at = data.find(b"\r\n\r\n") + 4
        head = owner.heads.known(data[:body_at])
        if head is None or head.quick is None or head.length != len(data) - body_at:
            return False
        body = data[body_at:]
        if self._answer_quickly(head, body):
            self.idle_since = owner.now
            self.deadline = owner.now + owner.limits.idle_timeout_s
        else:
            self._process(Request(head, body))
        return True

    def _answer_quickly(self, head: Head, body: Buffer) -> bool:
        owner, transport = self._owner, self._transport
        if head.quick is None or owner.draining or transport is None or type(body) is not bytes:
            return False
        try:
            answer = head.quick(head, body, owner.date)
        except Exception:
            log.exception("%s %s failed where it is quick", head.method, head.target)
            return False
        if answer is None:
            return False
        transport.write(answer)
        return True

    # -- the server

    @property
    def is_idle(self) -> bool:
        """Whether no request has begun."""
        return not self._busy and not self._pending and self._head is None

    def reading(self) -> tuple[float, float] | None:
        """Return the bytes a second that a client reads which has much to read, and since when."""
        if not self._held or self._transport is None:
            return None
        read = self._held_at_first - self._transport.get_write_buffer_size()
        since = self._paused_since
        return read / max(_GRACE_S, self._owner.loop.time() - since), since

    def pace(self) -> float | None:
        """Return the bytes a second of a client that has been sending or reading for a while.

        None if it is not the client that is waited for.
        """
        owner = self._owner
        if self._transport is None or self._busy or self._scheduled or self._lingering:
            return None
        if self._paused:
            reading = self.reading()
            late = reading is not None and owner.loop.time() - reading[1] >= _GRACE_S
            return reading[0] if late and reading is not None else None
        passed = owner.now - self._begun
        if self.is_idle or passed < _GRACE_S:
            return None
        arrived = len(self._pending) + len(self._chunks.body if self._chunks else b"")
        return (arrived + (self._reader.filled if self._reader else 0)) / passed

    def give_up(self) -> None:
        """End a request that arrives too slowly, or an answer that is read so, to make room."""
        if self._paused:
            self.abort()
            return
        self._fail(HttpError(408, "the request arrives slowly, and others wait", close=True))
        if self._transport is not None:
            self._transport.close()

    def expire(self) -> None:
        """The deadline has passed; a client that moves on gets another."""
        transport = self._transport
        if transport is None or self._moves():
            return
        if self._paused or transport.is_closing():
            self.abort()  # closing would wait for a client that does not read
        elif self._lingering or self.is_idle or self._busy:
            self.deadline = self._owner.now + _LINGER_S
            transport.close()
        else:
            self._fail(HttpError(408, "the request did not arrive in time", close=True))

    def _moves(self) -> bool:
        owner = self._owner
        limits = owner.limits
        if self._paused and self._transport is not None:
            unread = _unread(self._transport)
            if self._unread - unread >= limits.min_bytes_per_s * limits.write_timeout_s:
                self._unread = unread
                self.deadline = owner.now + limits.write_timeout_s
        elif self._head is not None and self._chunks is None and not self._lingering:
            reader = self._reader
            arrived = reader.filled if reader else len(self._pending) - self._body_at
            self.deadline = self._begun + limits.body_timeout_s + arrived / limits.min_bytes_per_s
        return self.deadline > owner.now

    def shut(self) -> None:
        """Close if idle; otherwise the connection closes after its present answer."""
        if self.is_idle and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        self._hold(0)
        if self._transport is not None:
            self._transport.abort()

    # -- requests

    def _schedule(self) -> None:
        if not self._scheduled and self._pending and self._transport is not None:
            self._scheduled = True
            self.deadline = math.inf  # now the client waits for us
            self._owner.loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        if not self._busy and not self._paused and self._transport is not None:
            self._process()

    def body_arrived(self) -> None:
        """A large body is whole: answer its request."""
        reader, head = self._reader, self._head
        if reader is None or head is None:
            return
        self._finish()
        self._lent = reader.buffer
        self._process(Request(head, reader.body))

    def _process(self, given: Request | None = None) -> None:
        """Answer what is complete.

        Args:
            given: A request that is complete already, and that has no quick answer.
        """
        self.idle_since = None
        try:
            for _ in range(self._owner.limits.requests_per_turn):
                request = given or self._next_request()
                if request is None:
                    self._wait()
                    return
                if given is not None or not self._answer_quickly(request.head, request.body):
                    self._answer(request)
                given = None
                if self._busy or self._paused or self._transport is None or self._lingering:
                    return
                if not self._pending:
                    break
        except HttpError as exc:
            self._fail(exc)
            return
        if self._pending:
            self._schedule()
        else:
            self._wait()

    def _wait(self) -> None:
        """Set the deadline for what is missing now."""
        owner = self._owner
        limits = owner.limits
        if self._transport is None or self._lingering or self._busy or self._paused:
            return
        transport = self._transport
        if not transport.is_reading():
            transport.resume_reading()
        if self._head is None and not self._pending:
            self.idle_since = owner.now
            self.deadline = owner.now + limits.idle_timeout_s
            if owner.draining or self._ended:
                transport.close()
        elif self._ended:
            self._fail(HttpError(400, "the request ends before it is complete", close=True))
        elif self._head is None and self._needed == 0:
            self._needed = 1
            self._begun = owner.now
            self.deadline = owner.now + limits.head_timeout_s

    def _throttle(self) -> None:
        # One whole request may wait behind the present one; more stays in the socket.
        if self._transport is not None and len(self._pending) > self._owner.limits.max_head_bytes:
            self._transport.pause_reading()

    def _next_request(self) -> Request | None:
        pending = self._pending
        head = self._head
        if head is None:
            end = pending.find(b"\r\n\r\n")
            if end < 0:
                self._await_head()
                return None
            owner = self._owner
            if end > owner.limits.max_head_bytes:
                raise _head_too_large(owner.limits)
            body_at = end + 4
            data = pending[:body_at] if type(pending) is bytes else bytes(pending[:body_at])
            head = owner.heads.get(data.lstrip(b"\r\n") if data[0] in b"\r\n" else data)
            self._body_at = body_at
        if head.chunked:
            return self._chunked(head)
        end = self._body_at + (head.length or 0)
        if len(pending) < end:
            self._await_body(head, end)
            return None
        return self._cut(head, end)

    def _cut(self, head: Head, end: int) -> Request:
        pending, start = self._pending, self._body_at
        body: Buffer
        if end - start <= _LARGE:
            body = bytes(pending[start:end])
        else:
            body = memoryview(pending)[start:end]
        self._pending = b"" if len(pending) == end else bytes(memoryview(pending)[end:])
        self._finish()
        return Request(head, body)

    def _finish(self) -> None:
        self._head = None
        self._chunks = None
        self._needed = 0
        if self._reader is not None:
            self._reader = None
            if self._transport is not None:
                self._transport.set_protocol(self)
        if self._reserved:
            self._release()

    def _await_head(self) -> None:
        pending, limits = self._pending, self._owner.limits
        if len(pending) > limits.max_head_bytes:
            raise _head_too_large(limits)
        if pending and not pending.strip(b"\r\n"):
            self._pending = b""  # empty lines between requests mean nothing (RFC 9112, 2.2)

    def _await_body(self, head: Head, end: int) -> None:
        if self._head is None:
            length = head.length or 0
            self._begin_body(head, length)
            if length > _LARGE and self._read_body(length):
                return
        self._needed = end

    def _read_body(self, length: int) -> bool:
        transport = self._transport
        if transport is None or transport.get_extra_info("sslcontext") is not None:
            return False  # what TLS decrypts is in memory of its own already
        begun = memoryview(self._pending)[self._body_at :]
        self._reader = BodyReader(self, self._owner.buffers.take(length), length, begun)
        self._pending = b""
        self._needed = 0
        transport.set_protocol(self._reader)
        return True

    def _begin_body(self, head: Head, length: int) -> None:
        owner = self._owner
        limits = owner.limits
        self._head = head
        if length > _LARGE:
            if owner.buffered_bytes + length > limits.max_buffered_bytes:
                raise HttpError(
                    503,
                    "too many large requests at once",
                    close=True,
                    headers=b"Retry-After: 1\r\n",
                )
            self._reserved = length
            owner.buffered_bytes += length
        self._begun = owner.now
        self.deadline = owner.now + limits.body_timeout_s
        if head.expects_continue and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _chunked(self, head: Head) -> Request | None:
        limits = self._owner.limits
        if self._chunks is None:
            self._begin_body(head, 0)
            self._chunks = ChunkedBody(limits.max_body_bytes)
            self._pending = self._pending[self._body_at :]
        before = len(self._chunks.body)
        complete, used = self._chunks.feed(self._pending)
        self._pending = bytes(self._pending[used:])
        self._grow(len(self._chunks.body) - before)
        if not complete:
            self._needed = 0
            return None
        body = memoryview(self._chunks.body)
        self._finish()
        return Request(head, body)

    def _grow(self, grown: int) -> None:
        owner = self._owner
        if owner.buffered_bytes + grown > owner.limits.max_buffered_bytes:
            raise HttpError(503, "too many large requests at once", close=True)
        self._reserved += grown
        owner.buffered_bytes += grown
        self.deadline += grown / owner.limits.min_bytes_per_s

    def _release(self) -> None:
        self._owner.buffered_bytes -= self._reserved
        self._reserved = 0

    def _hold(self, unread: int) -> None:
        self._owner.unread_bytes += unread - self._held
        self._held = unread

    # -- answers

    def _answer(self, request: Request) -> None:
        head = request.head
        if head.endpoint is None:
            refusal = self._owner.resolve(head)
            if refusal is not None:
                self._write(refusal, head)
                return
        try:
            result = head.endpoint(request)  # type: ignore[misc]  # resolve() has filled it in
        except HttpError as exc:
            self._write_error(exc, head)
        except Exception:
            log.exception("%s %s failed", head.method, head.target)
            self._write_error(HttpError(500, "internal error"), head)
        else:
            if type(result) is Response:
                self._write(result, head)
                self._give_back(head)
            else:
                self._await_answer(asyncio.ensure_future(result), head)

    def _await_answer(self, future: asyncio.Future[Response], head: Head) -> None:
        self._busy = True
        self.deadline = math.inf
        future.add_done_callback(lambda done: self._answered(done, head))

    def _answered(self, future: asyncio.Future[Response], head: Head) -> None:
        self._busy = False
        if not future.cancelled():
            self._give_back(head)  # no thread looks at the body any more
        if future.cancelled():
            self._write_error(HttpError(503, "the server stops", close=True), head)
        elif (error := future.exception()) is None:
            self._write(future.result(), head)
        elif isinstance(error, HttpError):
            self._write_error(error, head)
        else:
            log.error("%s %s failed", head.method, head.target, exc_info=error)
            self._write_error(HttpError(500, "internal error"), head)
        if self._transport is None or self._lingering or self._paused:
            return
        if self._pending:
            self._schedule()
            if not self._transport.is_reading():
                self._transport.resume_reading()
        else:
            self._wait()

    def _give_back(self, head: Head) -> None:
        buffer, self._lent = self._lent, None
        if buffer is not None and head.frees_body:
            self._owner.buffers.give(buffer)

    def _write_error(self, error: HttpError, head: Head) -> None:
        if error.close:
            self._fail(error)
            return
        self._write(error_response(error), head)

    def _write(self, response: Response, head: Head) -> None:
        transport = self._transport
        if response.status >= 400:
            self._owner.failed(response.status)
        if transport is None:
            return
        keep = head.keep_alive and not self._owner.draining
        start = head_bytes(response, self._owner.date, keep_alive=keep)
        if head.method == "HEAD":
            transport.write(start)
        elif sum(map(len, response.body)) < _LARGE:
            transport.write(b"".join((start, *response.body)))
        else:
            transport.writelines([start, *response.body])
        if not keep:
            self._linger()

    def _fail(self, error: HttpError) -> None:
        """Answer an error after which the connection cannot be used, and close it."""
        self._owner.failed(error.status)
        if self._transport is None:
            return
        response = error_response(error)
        start = head_bytes(response, self._owner.date, keep_alive=False)
        self._transport.write(start + b"".join(response.body))
        self._linger()

    def _linger(self) -> None:
        # Closing while the client still sends would reset the connection under the answer.
        transport = self._transport
        if transport is None:
            return
        self._lingering = True
        self.idle_since = None
        self._pending = b""
        self._finish()
        if not self._paused:  # else there is the deadline for reading the answer
            self.deadline = self._owner.now + _LINGER_S
        if self._ended or not transport.can_write_eof():
            transport.close()
            return
        if not transport.is_reading():
            transport.resume_reading()
        transport.write_eof()


def _unread(transport: asyncio.Transport) -> int:
    """Return the bytes that the client has not taken, those in the kernel included.

    The kernel asks for more only when a third of its megabytes is free, so without them a slow
    client would seem not to read at all.
    """
    kernel = bytearray(4)
    with contextlib.suppress(OSError, AttributeError):
        fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, kernel)
    return transport.get_write_buffer_size() + int.from_bytes(kernel, sys.byteorder)


def _head_too_large(limits: Limits) -> HttpError:
    return HttpError(431, f"the head has more than {limits.max_head_bytes} bytes", close=True)
