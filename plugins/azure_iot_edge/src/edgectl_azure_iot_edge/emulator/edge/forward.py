"""Forwards a port of the device to another port of a module, both at the device's own address.

Modules share the machine's network, so a binding of a port to the same port needs nothing.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterable

from edgectl_azure_iot_edge.emulator.edge.containers import EngineError
from edgectl_azure_iot_edge.emulator.edge.options import Port

_CHUNK_BYTES = 1 << 16


class Forwards:
    """The ports that are forwarded, by module, at one address."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._open: dict[str, list[socket.socket]] = {}

    def open(self, name: str, ports: Iterable[Port]) -> None:
        """Begin to forward a module's ports.

        Raises:
            EngineError: One is taken.
        """
        self._open[name] = []
        for port in ports:
            if port.host in {0, port.container}:
                continue
            listener = socket.socket()
            try:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((self._address, port.host))
                listener.listen()
            except OSError as exc:
                listener.close()
                self.close(name)
                raise EngineError(
                    f"Bind for 0.0.0.0:{port.host} failed: port is already allocated"
                ) from exc
            self._open[name].append(listener)
            threading.Thread(
                target=_accept,
                args=(listener, (self._address, port.container)),
                name="forward",
                daemon=True,
            ).start()

    def close(self, name: str) -> None:
        """Stop forwarding a module's ports."""
        for listener in self._open.pop(name, ()):
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def close_all(self) -> None:
        """Stop forwarding."""
        for name in list(self._open):
            self.close(name)


def _accept(listener: socket.socket, module: tuple[str, int]) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        try:
            server = socket.create_connection(module)
        except OSError:
            client.close()
            continue
        threading.Thread(target=_join, args=(client, server), daemon=True).start()


def _join(client: socket.socket, server: socket.socket) -> None:
    back = threading.Thread(target=_pump, args=(server, client), daemon=True)
    back.start()
    _pump(client, server)
    back.join()
    client.close()
    server.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(_CHUNK_BYTES):
            sink.sendall(chunk)
    for each in (source, sink):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
