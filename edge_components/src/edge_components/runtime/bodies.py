"""Large bodies go from the socket straight into one buffer, and buffers are used again.

A body that arrives in pieces of 64 KB would be copied twice, and fresh memory costs a fault for
each of its pages: for a picture of 600 KB both together take longer than all else that HTTP does.
"""

from __future__ import annotations

import asyncio

import numpy as np

_MAX_KEPT = 8
_MAX_KEPT_BYTES = 8 << 20
_ROUND = 64 << 10


class Buffers:
    """Keeps a few buffers from one body to the next."""

    def __init__(self) -> None:
        self._kept: list[memoryview] = []

    def take(self, size: int) -> memoryview:
        """Return a buffer of at least ``size`` bytes, with anything in it.

        A new one is not touched: a client that announces megabytes and sends none takes none.
        """
        fitting = [buffer for buffer in self._kept if size <= len(buffer) <= 2 * size + _ROUND]
        if not fitting:
            return np.empty(-(-size // _ROUND) * _ROUND, np.uint8).data
        smallest = min(fitting, key=len)
        self._kept = [buffer for buffer in self._kept if buffer is not smallest]
        return smallest

    def give(self, buffer: memoryview) -> None:
        """Take a buffer back that nobody looks at any more."""
        kept = [buffer, *self._kept][:_MAX_KEPT]
        while sum(map(len, kept)) > _MAX_KEPT_BYTES:
            kept.pop()
        self._kept = kept


class Waiting(asyncio.Protocol):
    """Who waits for a body: the connection, whose transport it borrows."""

    __slots__ = ()

    def body_arrived(self) -> None:
        """All of it is there."""


class BodyReader(asyncio.BufferedProtocol):
    """Stands in for the connection at its transport until a body is whole.

    Args:
        waiting: The connection.
        buffer: Where the body goes.
        size: Of the body.
        begun: What of it has arrived already.
    """

    def __init__(self, waiting: Waiting, buffer: memoryview, size: int, begun: memoryview) -> None:
        self.buffer = buffer
        self.body = buffer[:size]
        self.filled = len(begun)
        self.body[: self.filled] = begun
        self._waiting = waiting

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes go; never room for more than the body."""
        del sizehint
        return self.body[self.filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Take note of what came."""
        self.filled += nbytes
        if self.filled == len(self.body):
            self._waiting.body_arrived()

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
