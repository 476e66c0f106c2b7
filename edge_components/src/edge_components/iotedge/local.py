"""The runtime's way to edgeHub: a unix socket beside the device's state.

A module has one identity and so one connection, which this process holds. The runtime, whose queue
on disk keeps telemetry until it is taken, hands a batch over and waits for edgeHub's word.

A request is a line of JSON, ``{"output": "telemetry", "bytes": 123}``, and the body; the answer is
a line of JSON, ``{"outcome": "delivered", "why": ""}``.
"""

from __future__ import annotations

import logging
import os
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from edge_components.iotedge.link import LinkError

_LOG = logging.getLogger(__name__)
SOCKET_FILE = "edgehub.sock"
SOCKET_VARIABLE = "EDGECTL_EDGEHUB_SOCKET"
# IoT Hub takes 256 KB with properties and topic (quotas and throttling, "message size").
MAX_MESSAGE_BYTES = (256 << 10) - (4 << 10)
_MAX_LINE = 4096
_MAX_PATH = 100
_IDLE_S = 60.0


class Hand(msgspec.Struct, frozen=True, kw_only=True):
    """What the runtime hands over: which output, and how many bytes follow."""

    output: str
    bytes: int


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it: ``delivered``, ``kept`` or ``poison``."""

    outcome: str
    why: str = ""


class LocalServer:
    """Listens for the runtime.

    Args:
        path: Where the socket is.
        publish: Sends a message from an output; raises ``LinkError``.
    """

    def __init__(self, path: Path, publish: Callable[[str, bytes], None]) -> None:
        handler = type("_Bound", (_Handler,), {"publish": staticmethod(publish)})
        path.unlink(missing_ok=True)
        with reachable(path) as address:
            mask = os.umask(0o177)
            try:
                self._server = _Server(address, handler)
            finally:
                os.umask(mask)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name="local", daemon=True
        )

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def reachable(path: Path) -> Iterator[str]:
    """Give an address for a socket's path that may be longer than the kernel takes."""
    if len(os.fsencode(path)) <= _MAX_PATH:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False


class _Handler(socketserver.StreamRequestHandler):
    publish: Callable[[str, bytes], None]
    timeout = _IDLE_S

    def handle(self) -> None:
        try:
            while line := self.rfile.readline(_MAX_LINE):
                hand = msgspec.json.decode(line, type=Hand)
                if hand.bytes > MAX_MESSAGE_BYTES:
                    why = f"{hand.bytes} bytes; edgeHub takes {MAX_MESSAGE_BYTES} at most"
                    self._say(Taken(outcome="poison", why=why))
                    return
                body = self.rfile.read(hand.bytes)
                if len(body) < hand.bytes:
                    return
                self._say(self._taken(hand.output, body))
        except (OSError, msgspec.DecodeError) as exc:
            _LOG.debug("the runtime's connection ended: %s", exc)

    def _taken(self, output: str, body: bytes) -> Taken:
        try:
            self.publish(output, body)
        except LinkError as exc:
            return Taken(outcome="kept", why=str(exc))
        return Taken(outcome="delivered")

    def _say(self, taken: Taken) -> None:
        self.wfile.write(msgspec.json.encode(taken) + b"\n")


class LocalClient:
    """The runtime's side; used by one thread.

    Args:
        path: Where the module's socket is.
        timeout_s: How long an answer may take.
    """

    def __init__(self, path: Path, timeout_s: float) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None

    def hand_over(self, output: str, body: bytes) -> Taken:
        """Have the module send a message; raises ``OSError`` if the module does not answer."""
        try:
            connection = self._connected()
            head = msgspec.json.encode(Hand(output=output, bytes=len(body)))
            connection.sendall(head + b"\n" + body)
            return msgspec.json.decode(self._line(connection), type=Taken)
        except msgspec.DecodeError as exc:
            self.close()
            raise ConnectionError("the module did not answer") from exc
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """End the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connected(self) -> socket.socket:
        if self._socket is None:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(self._timeout_s)
            try:
                with reachable(self._path) as address:
                    connection.connect(address)
            except OSError:
                connection.close()
                raise
            self._socket = connection
        return self._socket

    def _line(self, connection: socket.socket) -> bytes:
        line = b""
        while not line.endswith(b"\n") and len(line) < _MAX_LINE:
            part = connection.recv(_MAX_LINE)
            if not part:
                break
            line += part
        return line
