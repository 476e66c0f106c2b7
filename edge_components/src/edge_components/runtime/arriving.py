"""What one connection has received and not yet answered, cut into requests.

Small bodies are cut from the bytes that came. A large one goes from the socket into a buffer of
its own (``bodies``), a chunked one is put together (``chunked``); both count for the whole server
until they are whole, so that many clients cannot fill the memory together.
"""

from __future__ import annotations

import asyncio
import math

from edge_components.runtime.bodies import BodyReader, Waiting
from edge_components.runtime.chunked import ChunkedBody
from edge_components.runtime.http import Buffer, Head, HttpError, Limits, Request
from edge_components.runtime.owner import Owner
from edge_components.runtime.unread import GRACE_S

_LARGE = 64 << 10


class Arriving:
    """The bytes of one connection's present request and of those behind it.

    Attributes:
        pending: Bytes that are not cut yet.
        needed: How many of them have to be there before it is worth looking again.
        head: Of the request whose body arrives.
        lent: The buffer of the large request that is being answered.
        due: When the head or body that arrives has to be whole.
    """

    __slots__ = (
        *("_begun", "_body_at", "_chunks", "_owner", "_reader", "_reserved"),
        *("_transport", "_waiting", "due", "head", "lent", "needed", "pending"),
    )

    def __init__(self, owner: Owner, waiting: Waiting) -> None:
        self.pending: bytes | bytearray = b""
        self.needed = 0
        self.head: Head | None = None
        self.due = math.inf
        self._owner = owner
        self._waiting = waiting
        self._transport: asyncio.Transport | None = None
        self._begun = 0.0
        self._body_at = 0
        self._chunks: ChunkedBody | None = None
        self._reader: BodyReader | None = None  # since the first large body
        self.lent: memoryview | None = None
        self._reserved = 0

    def open(self, transport: asyncio.Transport) -> None:
        """Begin with a transport that the one who waits is the protocol of."""
        self._transport = transport

    def lose(self) -> None:
        """The transport is gone, and what has arrived with it."""
        self._transport = None
        self.pending = b""
        self._reader = None
        self._release()

    def drop(self) -> None:
        """Forget what has arrived: nothing more is answered."""
        self.pending = b""
        self._finish()

    # -- who asks how it stands

    @property
    def is_empty(self) -> bool:
        """Whether no request has begun."""
        return not self.pending and self.head is None

    def pace(self) -> float | None:
        """Return the bytes a second that the client sends; None before it can be called slow."""
        passed = self._owner.now - self._begun
        if self.is_empty or passed < GRACE_S:
            return None
        arrived = len(self.pending) + len(self._chunks.body if self._chunks else b"")
        return (arrived + (self._reader.filled if self._reader else 0)) / passed

    def extend(self) -> None:
        """Give a body of known length the time that its bytes so far are worth."""
        if self.head is not None and self._chunks is None:
            reader, limits = self._reader, self._owner.limits
            in_place = reader is not None and reader.body is not None
            arrived = reader.filled if reader and in_place else len(self.pending) - self._body_at
            self.due = self._begun + limits.body_timeout_s + arrived / limits.min_bytes_per_s

    # -- bytes in

    def add(self, data: bytes) -> None:
        """Take what the socket gave."""
        pending = self.pending
        if not pending:
            self.pending = data
        elif isinstance(pending, bytearray):
            pending += data
        else:
            self.pending = bytearray(pending) + data

    def throttle(self) -> None:
        """Leave more in the socket while the present request is answered."""
        # One whole request may wait behind the present one.
        if self._transport is not None and len(self.pending) > self._owner.limits.max_head_bytes:
            self._transport.pause_reading()

    # -- requests out

    def next(self) -> Request | None:
        """Return the next request, or None where its bytes have not all arrived.

        Raises:
            HttpError: What has arrived is not a request that is taken.
        """
        pending = self.pending
        head = self.head
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

    def take_body(self) -> Request | None:
        """Return the request whose large body has become whole."""
        reader, head = self._reader, self.head
        if reader is None or head is None or reader.body is None:
            return None
        request = Request(head, reader.body)
        self.lent = reader.buffer
        self._finish()
        return request

    def repeat(self) -> bool:
        """Begin with another large body behind the same head, if nothing stands before it.

        Raises:
            HttpError: There is no room for it now.
        """
        reader = self._reader
        if reader is None or self.pending:
            return False
        self._begin_body(reader.head, reader.head.length or 0)
        reader.begin()
        return True

    def give_back(self, head: Head) -> None:
        """Let the buffer of an answered request be used again, where nobody looks at it."""
        buffer, self.lent = self.lent, None
        if buffer is not None and head.frees_body:
            self._owner.buffers.give(buffer)

    def _cut(self, head: Head, end: int) -> Request:
        pending, start = self.pending, self._body_at
        small = end - start <= _LARGE
        body: Buffer = bytes(pending[start:end]) if small else memoryview(pending)[start:end]
        self.pending = b"" if len(pending) == end else bytes(memoryview(pending)[end:])
        self._finish()
        return Request(head, body)

    def _finish(self) -> None:
        self.head = None
        self._chunks = None
        self.needed = 0
        if self._reader is not None:
            self._reader.end()
        if self._reserved:
            self._release()

    def _await_head(self) -> None:
        pending, owner = self.pending, self._owner
        if len(pending) > owner.limits.max_head_bytes:
            raise _head_too_large(owner.limits)
        if not pending.strip(b"\r\n"):
            self.pending = b""  # empty lines between requests mean nothing (RFC 9112, 2.2)
            self.needed = 0
        elif self.needed == 0:
            self.needed = 1
            self._begun = owner.now
            self.due = owner.now + owner.limits.head_timeout_s

    def _await_body(self, head: Head, end: int) -> None:
        if self.head is None:
            length = head.length or 0
            self._begin_body(head, length)
            if length > _LARGE and self._read_body(head):
                return
        self.needed = end

    def _read_body(self, head: Head) -> bool:
        transport = self._transport
        if transport is None or transport.get_extra_info("sslcontext") is not None:
            return False  # what TLS decrypts is in memory of its own already
        pending = memoryview(self.pending)
        text = bytes(pending[: self._body_at])
        reader = BodyReader(self._waiting, transport, self._owner.buffers, head, text)
        reader.begin(pending[self._body_at :])
        self._reader = reader
        self.pending = b""
        self.needed = 0
        transport.set_protocol(reader)
        return True

    def _begin_body(self, head: Head, length: int) -> None:
        owner = self._owner
        limits = owner.limits
        self.head = head
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
        self.due = owner.now + limits.body_timeout_s
        if head.expects_continue and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _chunked(self, head: Head) -> Request | None:
        if self._chunks is None:
            self._begin_body(head, 0)
            self._chunks = ChunkedBody(self._owner.limits.max_body_bytes)
            self.pending = self.pending[self._body_at :]
        before = len(self._chunks.body)
        complete, used = self._chunks.feed(self.pending)
        self.pending = bytes(self.pending[used:])
        self._grow(len(self._chunks.body) - before)
        if not complete:
            self.needed = 0
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
        self.due += grown / owner.limits.min_bytes_per_s

    def _release(self) -> None:
        self._owner.buffered_bytes -= self._reserved
        self._reserved = 0


def _head_too_large(limits: Limits) -> HttpError:
    return HttpError(431, f"the head has more than {limits.max_head_bytes} bytes", close=True)
