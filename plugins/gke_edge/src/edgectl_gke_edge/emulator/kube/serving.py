"""uvicorn in a thread: it tells when it listens and leaves signals to whoever started it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Generator

import uvicorn


def listen(host: str, port: int = 0) -> socket.socket:
    """Open a listener; port 0 takes a free one.

    Raises:
        OSError: The port is taken.
    """
    listener = socket.create_server((host, port))
    # Else each answer waits 40 ms for the client's late acknowledgement of its first half.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


class QuietServer(uvicorn.Server):
    """A server that sets an event once it listens."""

    def __init__(self, config: uvicorn.Config, ready: threading.Event) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and tell."""
        await super().startup(sockets)
        self._ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals alone: this is not the main thread."""
        yield
