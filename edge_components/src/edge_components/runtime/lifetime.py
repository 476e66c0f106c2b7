"""How long one connection may last: deadlines, slow clients, and how it ends.

A connection has one deadline, which the server's sweep looks at (no timer per request). A client
that moves on gets another; one that sends or reads too slowly is given up, when its time is over
or as soon as others need the room. After the last answer the client gets a while to read it.
"""

from __future__ import annotations

import asyncio
import math
from typing import cast

from edge_components.runtime.answers import write_error
from edge_components.runtime.arriving import Arriving
from edge_components.runtime.bodies import Waiting
from edge_components.runtime.http import Head, HttpError
from edge_components.runtime.owner import Owner
from edge_components.runtime.unread import Unread

LINGER_S = 2.0
NO_HEAD = Head()


class BoundedConnection(Waiting):
    """A connection that ends in time, whatever its client does; what it answers is not known here.

    Attributes:
        deadline: When the owner's sweep has to look at it.
        idle_since: When the last answer was written; None while a request is under way.
    """

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._arriving = Arriving(owner, self)
        self._unread = Unread(owner)
        self._busy = False  # an endpoint works at the present request
        self._asked = NO_HEAD  # of the present request
        self._scheduled = False  # it waits for its next turn
        self._lingering = False  # the last answer is written
        self._ended = False  # the client sends no more
        self.deadline = math.inf
        self.idle_since: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; refuse at once if the server is full."""
        self._transport = cast("asyncio.Transport", transport)
        self._arriving.open(self._transport)
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
        self._arriving.lose()
        self._unread.forget()
        self._owner.closed(self)

    # -- what the server asks and tells

    @property
    def is_idle(self) -> bool:
        """Whether no request has begun."""
        return not self._busy and self._arriving.is_empty

    def reading(self) -> tuple[float, float] | None:
        """Return the bytes a second that a client reads which has much to read, and since when."""
        return None if self._transport is None else self._unread.reading()

    def pace(self) -> float | None:
        """Return the bytes a second of a client that has been sending or reading for a while.

        None if it is not the client that is waited for.
        """
        if self._transport is None or self._busy or self._scheduled or self._lingering:
            return None
        return self._unread.pace() if self._unread.paused else self._arriving.pace()

    def give_up(self) -> None:
        """End a request that arrives too slowly, or an answer that is read so, to make room."""
        if self._unread.paused:
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
        if self._unread.paused or transport.is_closing():
            self.abort()  # closing would wait for a client that does not read
        elif self._lingering or self.is_idle or self._busy:
            self.deadline = self._owner.now + LINGER_S
            transport.close()
        else:
            self._fail(HttpError(408, "the request did not arrive in time", close=True))

    def shut(self) -> None:
        """Close if idle; otherwise the connection closes after its present answer."""
        if self.is_idle and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        self._unread.forget()
        if self._transport is not None:
            self._transport.abort()

    def _moves(self) -> bool:
        owner, arriving = self._owner, self._arriving
        if self._unread.paused:
            if self._unread.moves():
                self.deadline = owner.now + owner.limits.write_timeout_s
        elif arriving.head is not None and not self._lingering:
            arriving.extend()
            self.deadline = arriving.due
        return self.deadline > owner.now

    def _fail(self, error: HttpError) -> None:
        """Answer an error after which the connection cannot be used, and close it."""
        self._owner.failed(error.status)
        if self._transport is not None:
            write_error(self._transport, error, self._owner.date)
            self._linger()

    def _linger(self) -> None:
        # Closing while the client still sends would reset the connection under the answer.
        transport = self._transport
        if transport is None:
            return
        self._lingering = True
        self.idle_since = None
        self._arriving.drop()
        if not self._unread.paused:  # else there is the deadline for reading the answer
            self.deadline = self._owner.now + LINGER_S
        if self._ended or not transport.can_write_eof():
            transport.close()
            return
        if not transport.is_reading():
            transport.resume_reading()
        transport.write_eof()
