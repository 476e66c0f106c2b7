"""Large bodies go from the socket straight into one buffer, and buffers are used again.

A body that arrives in pieces of 64 KB would be copied twice, and fresh memory costs a fault for
each of its pages: for a picture of 600 KB both together take longer than all else that HTTP does.
Who has sent one large body sends more: so the next head is read alone, and all of the body behind
it goes to its place. Raw tensors begin on a boundary there, and are used where they are.
"""

from __future__ import annotations

import asyncio

import numpy as np

from edge_components.runtime.http import Buffer, Head

_MAX_KEPT = 8
_MAX_KEPT_BYTES = 8 << 20
_ROUND = 64 << 10
_ALIGNMENT = 64
_EMPTY = memoryview(b"")


class Buffers:
    """Keeps a few buffers from one body to the next."""

    def __init__(self) -> None:
        self._kept: list[memoryview] = []
        self._kept_bytes = 0

    def peek(self, size: int) -> memoryview | None:
        """Return a buffer of at least ``size`` bytes that is kept, without taking it."""
        for buffer in self._kept:
            if size <= len(buffer) <= 2 * size + _ROUND:
                return buffer
        return None

    def take(self, size: int, kept: memoryview | None = None) -> memoryview:
        """Return an aligned buffer of at least ``size`` bytes, with anything in it.

        A new one is not touched: a client that announces megabytes and sends none takes none.

        Args:
            size: In bytes.
            kept: The one that ``peek`` has just shown, if it was asked.
        """
        kept = kept or self.peek(size)
        if kept is not None:
            self._kept.remove(kept)
            self._kept_bytes -= len(kept)
            return kept
        room = np.empty(-(-size // _ROUND) * _ROUND + _ALIGNMENT, np.uint8)
        skip = -room.ctypes.data % _ALIGNMENT
        return room[skip : len(room) - _ALIGNMENT + skip].data

    def give(self, buffer: memoryview) -> None:
        """Take a buffer back that nobody looks at any more; it is the next that is taken."""
        kept = self._kept
        kept.insert(0, buffer)
        self._kept_bytes += len(buffer)
        while len(kept) > _MAX_KEPT or self._kept_bytes > _MAX_KEPT_BYTES:
            self._kept_bytes -= len(kept.pop())


class Waiting(asyncio.Protocol):
    """Who waits for a body: the connection, whose transport it borrows."""

    __slots__ = ()

    def head_repeated(self) -> bool:
        """The head of the last large body has come again; False to get it as bytes."""
        return False

    def body_arrived(self) -> None:
        """All of it is there."""


class BodyReader(asyncio.BufferedProtocol):
    """Stands in for a connection at its transport while large bodies with the same head follow.

    Head and body are read at once into a buffer that is kept for that, and only taken if the head
    is the same again. Whatever else comes ends this. There is room for one byte more than the
    body, so that a read that gets all of it is known to be the last for now. What is not about
    bytes is passed on.

    Args:
        waiting: The connection.
        transport: Its transport.
        buffers: From where the place for a body is taken.
        head: Of the requests.
        text: The bytes of the head.

    Attributes:
        body: What arrives, or None between bodies.
        buffer: Where it lies in.
        head: Of the requests.
    """

    def __init__(
        self,
        waiting: Waiting,
        transport: asyncio.Transport,
        buffers: Buffers,
        head: Head,
        text: bytes,
    ) -> None:
        self.body: memoryview | None = None
        self.buffer = _EMPTY
        self.head = head
        self._waiting = waiting
        self._transport = transport
        self._buffers = buffers
        self._text = text
        self._first = -(len(text) + (head.tensors_at or 0)) % _ALIGNMENT
        self._start = self._first + len(text)
        self._end = self._start + (head.length or 0)
        self._at = self._start
        self._kept: memoryview | None = None  # where head and body are read to
        self._room = memoryview(bytearray(len(text)))  # where only the head is

    @property
    def filled(self) -> int:
        """How much of the body is there."""
        return self._at - self._start

    def begin(self, begun: Buffer = b"") -> None:
        """Read a body, of which something may have arrived already."""
        self.buffer = buffer = self._buffers.take(self._end + 1, self._kept)
        self._kept = None
        self.body = buffer[self._start : self._end]
        if begun:
            self.body[: len(begun)] = begun
            self._at = self._start + len(begun)

    def end(self) -> None:
        """Read no more of the body."""
        self.body = None
        self.buffer = _EMPTY
        self._at = self._start

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes go."""
        del sizehint
        if self.body is not None:
            return self.buffer[self._at : self._end + 1]
        kept = self._kept = self._buffers.peek(self._end + 1)
        return self._room if kept is None else kept[self._first : self._end + 1]

    def buffer_updated(self, nbytes: int) -> None:
        """Take note of what came."""
        body = self.body
        if body is not None:
            self._at += nbytes
        else:
            kept, text = self._kept, self._text
            came = (self._room if kept is None else kept[self._first :])[:nbytes]
            if came[: len(text)] != text or not self._waiting.head_repeated():
                self._hand_on(bytes(came))
                return
            if self.body is None:
                return  # it was refused
            self._at += nbytes - len(text)
        if self._at >= self._end:
            more = bytes(self.buffer[self._end : self._at])
            self._waiting.body_arrived()
            if more:
                self._hand_on(more)

    def _hand_on(self, data: bytes) -> None:
        self._transport.set_protocol(self._waiting)
        self._waiting.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on."""
        self._waiting.connection_lost(exc)

    def eof_received(self) -> bool | None:
        """Pass it on."""
        return self._waiting.eof_received()

    def pause_writing(self) -> None:
        """Pass it on."""
        self._waiting.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self._waiting.resume_writing()
