"""The listening side: sockets, the sweep over deadlines, and the graceful end.

One sweep every half second serves all connections: it sets the coarse clock, writes the ``Date``
line and ends what is past its deadline. When the server is full, the connection that has been
idle longest makes room, else the one whose client sends or reads slowest; if all are busy the
newcomer is told to come back.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from edge_components.runtime.bodies import Buffers
from edge_components.runtime.connection import Connection
from edge_components.runtime.http import Head, HeadCache, Limits, Request, Response
from edge_components.runtime.lifetime import BoundedConnection
from edge_components.runtime.sockets import private_socket, tcp_listeners

SWEEP_S = 0.5
_BACKLOG = 512
_LEAVING = 64  # connections that were told to go and may still read why
# Names of RFC 9110, 5.6.7, whatever the locale.
_DAYS = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
_MONTHS = (
    *(b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun"),
    *(b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"),
)

Endpoint = Callable[[Request], "Response | asyncio.Future[Response]"]
Resolver = Callable[[Head], "Endpoint | Response"]


class HttpServer:
    """Serves what ``resolver`` finds for a head, on TCP or on a unix socket."""

    def __init__(self, resolver: Resolver, limits: Limits) -> None:
        self.limits = limits
        self.heads = HeadCache(limits)
        self.buffers = Buffers()
        self.draining = False
        self.buffered_bytes = 0
        self.unread_bytes = 0
        self.loop = asyncio.get_running_loop()
        self.now = self.loop.time()
        self.date = _date_line()
        self.errors: Counter[int] = Counter()
        self.accepted = 0
        self._resolver = resolver
        self._empty = asyncio.Event()
        self._connections: set[BoundedConnection] = set()
        self._servers: list[asyncio.Server] = []
        self._sweeper: asyncio.TimerHandle | None = None

    # -- listening

    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listen on TCP; return the port, which matters when 0 was asked for."""
        listeners = tcp_listeners(host, port)
        for listener in listeners:
            server = await self.loop.create_server(
                lambda: Connection(self),
                sock=listener,
                backlog=_BACKLOG,
                ssl=tls,
                ssl_handshake_timeout=None if tls is None else self.limits.head_timeout_s,
            )
            self._started(server)
        port_found: int = listeners[0].getsockname()[1]
        return port_found

    async def listen_unix(self, path: Path) -> None:
        """Listen on a unix socket that only this user may open (mode 0600)."""
        listener = private_socket(path)
        self._started(
            await self.loop.create_unix_server(
                lambda: Connection(self), sock=listener, backlog=_BACKLOG
            )
        )

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    async def drain(self, deadline_s: float) -> bool:
        """Take nothing new, finish what has begun; return whether all ended in time."""
        self.draining = True
        for server in self._servers:
            server.close()
        for connection in tuple(self._connections):
            connection.shut()
        if self._connections:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), deadline_s)
        if self._sweeper is not None:
            self._sweeper.cancel()
        left = tuple(self._connections)
        for connection in left:
            connection.abort()
        return not left

    def _started(self, server: asyncio.Server) -> None:
        self._servers.append(server)
        if self._sweeper is None:
            self._sweep()

    def _sweep(self) -> None:
        self.now = now = self.loop.time()
        self.date = _date_line()
        for connection in [c for c in self._connections if c.deadline <= now]:
            connection.expire()
        self._sweeper = self.loop.call_later(SWEEP_S, self._sweep)

    # -- what a connection asks (owner.Owner)

    def opened(self, connection: BoundedConnection) -> bool:
        """Take note of a new connection; make room for it if that harms nobody."""
        self.accepted += 1
        full = len(self._connections) >= self.limits.max_connections
        self._connections.add(connection)
        if not full:
            return True
        idle = [c for c in self._connections if c is not connection and c.idle_since is not None]
        if idle:
            min(idle, key=lambda c: c.idle_since or 0.0).shut()
            return True
        slow = [(pace, id(c), c) for c in self._connections if (pace := c.pace()) is not None]
        if not slow:
            return False
        min(slow)[2].give_up()
        return True

    @property
    def crowded(self) -> bool:
        """Whether there is not even room to say goodbye."""
        return len(self._connections) > self.limits.max_connections + _LEAVING

    def make_room(self) -> None:
        """Give up connections that do not read, slowest first, but never the only one."""
        while self.unread_bytes > self.limits.max_unread_bytes:
            found = [(c.reading(), c) for c in self._connections]
            unread = [(pace, id(c), c) for pace, c in found if pace is not None]
            if len(unread) < 2:
                return
            min(unread)[2].abort()

    def closed(self, connection: BoundedConnection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)
        if self.draining and not self._connections:
            self._empty.set()

    def resolve(self, head: Head) -> Response | None:
        """Find who answers this head and note it there, or return the refusal."""
        found = self._resolver(head)
        if isinstance(found, Response):
            return found
        head.endpoint = found
        head.frees_body = getattr(found, "frees_body", False)
        if head.keep_alive and not head.expects_continue and head.length is not None:
            head.quick = getattr(found, "quick", None)
            if head.tensors_at is not None:
                head.wide = getattr(found, "wide", None)
        return None

    def failed(self, status: int) -> None:
        """Count an error answer."""
        self.errors[status] += 1


def _date_line() -> bytes:
    now = time.gmtime()
    day, month = _DAYS[now.tm_wday], _MONTHS[now.tm_mon - 1]
    return b"Date: %b, %02d %b %d %02d:%02d:%02d GMT\r\n" % (
        *(day, now.tm_mday, month, now.tm_year),
        *(now.tm_hour, now.tm_min, now.tm_sec),
    )
