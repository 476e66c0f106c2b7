"""What a connection needs of its server: limits, shared memory, the coarse clock, and its books."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from edge_components.runtime.bodies import Buffers
from edge_components.runtime.http import Head, HeadCache, Limits, Response

if TYPE_CHECKING:
    from edge_components.runtime.lifetime import BoundedConnection


class Owner(Protocol):
    """The server, as its connections see it.

    Attributes:
        limits: What a client may take.
        heads: Those that were seen before.
        buffers: For large bodies.
        date: The ``Date`` line.
        now: Seconds of the loop's clock, as of the last sweep.
        draining: Whether connections close after their present answer.
        buffered_bytes: Of all unfinished bodies together.
        unread_bytes: Of the answers of all connections that are not read.
        loop: Where all of this runs.
    """

    limits: Limits
    heads: HeadCache
    buffers: Buffers
    date: bytes
    now: float
    draining: bool
    buffered_bytes: int
    unread_bytes: int
    loop: asyncio.AbstractEventLoop

    def opened(self, connection: BoundedConnection) -> bool:
        """Take note of a new connection; False if there is no room for it."""

    @property
    def crowded(self) -> bool:
        """Whether there is not even room to say goodbye."""

    def make_room(self) -> None:
        """Give up connections that do not read, where they hold too much together."""

    def closed(self, connection: BoundedConnection) -> None:
        """Forget a connection."""

    def resolve(self, head: Head) -> Response | None:
        """Fill in ``head.endpoint``, or return the answer that says why there is none."""

    def failed(self, status: int) -> None:
        """Count an error answer."""
