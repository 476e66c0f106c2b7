"""Serves components over the unix socket: one thread a connection."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from edgectl_aws_greengrass.emulator.nucleus.ipc.messages import (
    ACCEPTED,
    TERMINATE,
    VERSION,
    Frame,
    Reader,
    Type,
    encode,
    error,
)

log = logging.getLogger(__name__)

Send = Callable[[Frame], None]
_CHUNK = 65_536


class Handler(Protocol):
    """What answers components."""

    def authenticate(self, token: str) -> str | None:
        """Return the component whose ``SVCUID`` it is."""
        ...

    def handle(self, component: str, operation: str, frame: Frame, send: Send) -> None:
        """Answer a request; more may be sent on its stream later."""
        ...

    def closed(self, send: Send) -> None:
        """Forget a connection's streams."""
        ...


class IpcServer:
    """The socket."""

    def __init__(self, path: Path, handler: Handler) -> None:
        self._path = path
        self._handler = handler
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin to listen.

        Raises:
            OSError: The socket cannot be made.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        self._socket.bind(str(self._path))
        self._path.chmod(0o666)  # other users' components connect, and prove who they are
        self._socket.listen()
        threading.Thread(target=self._accept, name="ipc", daemon=True).start()

    def stop(self) -> None:
        """End all connections."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with self._lock:
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        lock = threading.Lock()

        def send(frame: Frame) -> None:
            with lock:
                connection.sendall(encode(frame))

        try:
            self._talk(connection, send)
        except (OSError, ValueError) as exc:
            log.info("an IPC connection ends: %s", exc)
        finally:
            self._handler.closed(send)
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _talk(self, connection: socket.socket, send: Send) -> None:
        reader = Reader()
        component: str | None = None
        while data := connection.recv(_CHUNK):
            for frame in reader.feed(data):
                if component is None:
                    component = self._connect(frame, send)
                    if component is None:
                        return
                elif frame.type == Type.PING:
                    send(Frame(type=Type.PING_RESPONSE, payload=frame.payload))
                elif frame.type == Type.MESSAGE and frame.stream > 0:
                    self._request(component, frame, send)

    def _connect(self, frame: Frame, send: Send) -> str | None:
        if frame.type != Type.CONNECT or frame.headers.get(":version") != VERSION:
            send(Frame(type=Type.CONNECT_ACK))
            return None
        try:
            token = str(json.loads(frame.payload)["authToken"])
        except (ValueError, KeyError, TypeError):
            token = ""
        component = self._handler.authenticate(token) if token else None
        send(Frame(type=Type.CONNECT_ACK, flags=ACCEPTED if component else 0))
        return component

    def _request(self, component: str, frame: Frame, send: Send) -> None:
        operation = frame.headers.get("operation", "")
        if frame.flags & TERMINATE:
            return
        try:
            self._handler.handle(component, operation, frame, send)
        except ValueError as exc:
            send(error(frame.stream, "aws.greengrass#InvalidArgumentsError", str(exc)))
