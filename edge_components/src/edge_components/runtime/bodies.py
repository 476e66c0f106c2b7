"""Large bodies go from the socket straight into one buffer, and buffers are used again.

A body that arrives in pieces of 64 KB would be copied twice, and fresh memory costs a fault for
each of its pages: for a picture of 600 KB both together take longer than all else that HTTP does.
Who has sent one large body sends more: so the next head is read alone, and all of the body behind
it goes to its place. Raw tensors begin on a boundary there, and are used where they are.
"""

from __future__ import annotations

import asyncio

import numpy as np

from edge_components.runtime.http import Head

_MAX_KEPT = 8
_MAX_KEPT_BYTES = 8 << 20
_ROUND = 64 << 10
_ALIGNMENT = 64


class Buffers:
    """Keeps a few buffers from one body to the next."""

    def __init__(self) -> None:
        self._kept: list[memoryview] = []
        self._kept_bytes = 0

    def take(self, size: int) -> memoryview:
        """Return an aligned buffer of at least ``size`` bytes, with anything in it.

        A new one is not touched: a client that announces megabytes and sends none takes none.
        """
        for at, buffer in enumerate(self._kept):
            if size <= len(buffer) <= 2 * size + _ROUND:
                del self._kept[at]
                self._kept_bytes -= len(buffer)
                return buffer
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

    def body_arrived(self) -> None:
        """All of it is there."""


class _StandIn(asyncio.BufferedProtocol):
    """Stands in for a connection at its transport; what is not about bytes is passed on."""

    def __init__(self, waiting: Waiting) -> None:
        self._waiting = waiting

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


class BodyReader(_StandIn):
    """Stands in for the connection until a body is whole.

    Args:
        waiting: The connection.
        buffers: From where the place for the body is taken.
        head: Of the request.
        size: Of the body.
        begun: What of it has arrived already.
    """

    def __init__(
        self, waiting: Waiting, buffers: Buffers, head: Head, size: int, begun: memoryview
    ) -> None:
        super().__init__(waiting)
        skip = -(head.tensors_at or 0) % _ALIGNMENT
        self.buffer = buffers.take(size + _ALIGNMENT)
        self.body = self.buffer[skip : skip + size]
        self.filled = len(begun)
        if self.filled:
            self.body[: self.filled] = begun

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes go; never room for more than the body."""
        del sizehint
        return self.body[self.filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Take note of what came."""
        self.filled += nbytes
        if self.filled == len(self.body):
            self._waiting.body_arrived()


class HeadReader(_StandIn):
    """Stands in for the connection behind a large body: reads no more than the same head again.

    Args:
        waiting: The connection; it has the transport back when anything has come.
        transport: Its transport.
        size: Of the head before.
    """

    def __init__(self, waiting: Waiting, transport: asyncio.Transport, size: int) -> None:
        super().__init__(waiting)
        self._transport = transport
        self._buffer = bytearray(size)

    def get_buffer(self, sizehint: int) -> bytearray:
        """Return where the next bytes go."""
        del sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Hand on what came, whatever it is."""
        self._transport.set_protocol(self._waiting)
        self._waiting.data_received(bytes(self._buffer[:nbytes]))
