"""A listener of emulators: a thread for each connection, TLS shaken hands there, and an end.

What is asked on a connection, and how it is answered, its handler decides.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn
from typing import Any, Self

IDLE_TIMEOUT_S = 65.0
"""How long an idle connection is kept, about what clouds' own front ends do."""


class ThreadedServer(ThreadingMixIn, HTTPServer):
    """One listener. ``start`` serves on a thread of its own, ``stop`` ends it.

    Args:
        handler: What answers on a connection.
        host: Address to bind.
        port: 0 takes a free one; see ``port``.
        tls: A server-side context; None speaks plain HTTP.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 512
    allow_reuse_address = True

    def __init__(
        self,
        handler: type[BaseHTTPRequestHandler],
        *,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
    ) -> None:
        self.tls = tls
        self._handler = handler
        self._thread: threading.Thread | None = None
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__((host, port), handler)

    @property
    def port(self) -> int:
        """The port that is bound."""
        return int(self.server_address[1])

    def server_bind(self) -> None:
        """Bind without the name look-up of the base class, which may ask a name server."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "localhost", self.port

    def start(self) -> Self:
        """Serve until ``stop``."""
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """End serving and close every connection."""
        if self._thread is not None:
            self.shutdown()
            self._thread.join()
        self.server_close()
        with self._lock:
            connections = tuple(self._open)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands on the connection's own thread, then serve its requests."""
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request.settimeout(IDLE_TIMEOUT_S)
        connection = request
        if self.tls is not None:
            connection = self.tls.wrap_socket(request, server_side=True)
        with self._lock:
            self._open.add(connection)
        try:
            self._handler(connection, client_address, self)
        finally:
            with self._lock:
                self._open.discard(connection)
            with contextlib.suppress(OSError):
                connection.close()
