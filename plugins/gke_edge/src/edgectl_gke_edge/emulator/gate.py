"""The way from operators to a cluster's API server, which can be cut.

Nodes speak to the API server directly, operators through the gate: a cluster that is cut off from
the world goes on working inside, as a real one does. It passes bytes on, so TLS is between the two
ends, and it stands before a real API server as well as before the emulator's own.
"""

from __future__ import annotations

import contextlib
import socket
import threading

_BLOCK = 1 << 16


class Gate:
    """One listener and where it leads.

    Args:
        target: Port of the API server on loopback.
        port: Port to listen on; 0 takes a free one.
    """

    def __init__(self, target: int, port: int = 0) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._is_cut = False
        self._ending = False
        self._listener = socket.create_server(("127.0.0.1", port), backlog=512)
        self._thread = threading.Thread(target=self._accept, daemon=True, name="gate")
        self._thread.start()

    @property
    def port(self) -> int:
        """Where operators connect."""
        found: int = self._listener.getsockname()[1]
        return found

    @property
    def is_cut(self) -> bool:
        """Whether nobody gets through."""
        return self._is_cut

    def cut(self) -> None:
        """Break every connection, and hang up on new ones."""
        with self._lock:
            self._is_cut = True
            connections = tuple(self._open)
        for one in connections:
            _shut(one)

    def mend(self) -> None:
        """Let everybody through again."""
        self._is_cut = False

    def stop(self) -> None:
        """Stop listening and break every connection."""
        self._ending = True
        _shut(self._listener)
        self._listener.close()
        self.cut()
        self._thread.join(5)

    def _accept(self) -> None:
        while not self._ending:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.ExitStack() as held:
            held.callback(client.close)
            if self.is_cut:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target), 10)
            except OSError:
                return
            held.callback(server.close)
            pair = (client, server)
            if not self._joins(pair):
                return
            for one in pair:
                one.settimeout(None)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=_copy, args=(server, client), daemon=True)
            back.start()
            _copy(client, server)
            back.join()
            with self._lock:
                self._open.difference_update(pair)

    def _joins(self, pair: tuple[socket.socket, socket.socket]) -> bool:
        """Count a connection, unless the way was cut meanwhile."""
        with self._lock:
            if not self._is_cut:
                self._open.update(pair)
            return not self._is_cut


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(_BLOCK):
            target.sendall(data)
    except OSError:
        pass
    _shut(source)
    _shut(target)


def _shut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
