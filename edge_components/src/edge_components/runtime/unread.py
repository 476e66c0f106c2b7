"""The answers of one connection that its client does not read, and how fast it reads them.

While the transport holds more than its mark, nothing more is answered. What it holds counts for
the whole server, so that many clients who do not read cannot fill the memory together.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import sys
import termios

from edge_components.runtime.owner import Owner

GRACE_S = 1.0  # nobody is called slow before that


class Unread:
    """Keeps the books of one client's reading.

    Attributes:
        paused: Whether the client has to read before there is another answer.
    """

    __slots__ = ("_held", "_held_at_first", "_left", "_owner", "_since", "_transport", "paused")

    def __init__(self, owner: Owner) -> None:
        self.paused = False
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._left = 0  # bytes of answers when the client was last seen to read
        self._held = 0  # what this connection adds to the owner's unread bytes
        self._held_at_first = 0
        self._since = 0.0

    def pause(self, transport: asyncio.Transport | None) -> None:
        """The client does not read; the owner may give it up at once."""
        self.paused = True
        self._transport = transport
        if transport is not None:
            self._left = _unread(transport)
            self._held_at_first = transport.get_write_buffer_size()
            self._since = self._owner.loop.time()
            self._hold(self._held_at_first)
            self._owner.make_room()

    def resume(self) -> None:
        """The client reads again."""
        self.paused = False
        self.forget()

    def forget(self) -> None:
        """The transport holds nothing any more that counts."""
        self._transport = None
        self._hold(0)

    def reading(self) -> tuple[float, float] | None:
        """Return the bytes a second that a client reads which has much to read, and since when."""
        if not self._held or self._transport is None:
            return None
        read = self._held_at_first - self._transport.get_write_buffer_size()
        return read / max(GRACE_S, self._owner.loop.time() - self._since), self._since

    def pace(self) -> float | None:
        """Return the bytes a second that the client reads; None before it can be called slow."""
        reading = self.reading()
        if reading is None or self._owner.loop.time() - reading[1] < GRACE_S:
            return None
        return reading[0]

    def moves(self) -> bool:
        """Whether the client has read enough since it was last asked for."""
        if self._transport is None:
            return False
        limits = self._owner.limits
        left = _unread(self._transport)
        if self._left - left < limits.min_bytes_per_s * limits.write_timeout_s:
            return False
        self._left = left
        return True

    def _hold(self, unread: int) -> None:
        self._owner.unread_bytes += unread - self._held
        self._held = unread


def _unread(transport: asyncio.Transport) -> int:
    """Return the bytes that the client has not taken, those in the kernel included.

    The kernel asks for more only when a third of its megabytes is free, so without them a slow
    client would seem not to read at all.
    """
    kernel = bytearray(4)
    with contextlib.suppress(OSError, AttributeError):
        fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, kernel)
    return transport.get_write_buffer_size() + int.from_bytes(kernel, sys.byteorder)
