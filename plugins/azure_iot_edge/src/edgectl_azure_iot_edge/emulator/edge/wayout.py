"""The device's way out of its site: a proxy, so that its cut or slow network is the modules' too.

Modules share this machine's network, which nobody may cut. So they are told of a proxy, as sites
that have one do (``HTTPS_PROXY``), and what a module fetches goes through the device, which knows
what is wrong with its network. What stays on the device (edgeHub, loopback) goes past it.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from urllib.parse import urlsplit

from edgectl_azure_iot_edge.emulator.edge.faults import FaultFile
from edgectl_azure_iot_edge.emulator.edge.state import Kept

PORT = 3128
_KEPT = "way-out"
_LOOPBACK = "127.0.0.1"
_CHUNK_BYTES = 1 << 14
_LOOK_S = 0.2
_HEAD_BYTES = 64 << 10
_CONNECT_TIMEOUT_S = 10.0
_GONE = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class WayOut:
    """The proxy.

    Args:
        faults: What is wrong with the network now.
        kept: Remembers its port: a module's variables stay as they are when the device starts anew.
        address: The device's own address, where it listens.
        near: Other names that are on the device itself.
    """

    def __init__(self, faults: FaultFile, kept: Kept, address: str, near: tuple[str, ...]) -> None:
        self._faults = faults
        self._near = (_LOOPBACK, address, *near)
        self._listener = _listen(address, kept.read(_KEPT, int, PORT))
        kept.write(_KEPT, self._listener.getsockname()[1])
        threading.Thread(target=self._accept, name="way-out", daemon=True).start()

    @property
    def variables(self) -> dict[str, str]:
        """What modules are told, in both spellings that programs look for."""
        host, port = self._listener.getsockname()
        url = f"http://{host}:{port}"
        found = {"HTTP_PROXY": url, "HTTPS_PROXY": url, "NO_PROXY": ",".join(self._near)}
        return {**found, **{name.lower(): value for name, value in found.items()}}

    def close(self) -> None:
        """Take no more connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError, ValueError):
            client.settimeout(_CONNECT_TIMEOUT_S)
            head = _head(client)
            method, target, rest = head.split(b" ", 2)
            parts = urlsplit(f"//{target.decode()}" if method == b"CONNECT" else target.decode())
            try:
                server = self._connect(parts.hostname or "", parts.port or 80)
            except OSError:
                client.sendall(_GONE)
                return
            with server:
                if method == b"CONNECT":
                    client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                else:
                    path = parts.path or "/"
                    path += f"?{parts.query}" if parts.query else ""
                    server.sendall(_without_keeping(b" ".join((method, path.encode(), rest))))
                self._join(client, server)

    def _connect(self, host: str, port: int) -> socket.socket:
        if self._faults.now.network_cut:
            raise ConnectionError("the network is cut")
        return socket.create_connection((host, port), _CONNECT_TIMEOUT_S)

    def _join(self, client: socket.socket, server: socket.socket) -> None:
        with selectors.PollSelector() as ready:
            ready.register(client, selectors.EVENT_READ, server)
            ready.register(server, selectors.EVENT_READ, client)
            while True:
                events = ready.select(_LOOK_S)
                faults = self._faults.now
                if faults.network_cut:
                    return
                for key, _ in events:
                    source: socket.socket = key.fileobj  # type: ignore[assignment]  # as registered
                    chunk = source.recv(_CHUNK_BYTES)
                    if not chunk:
                        return
                    if faults.link_bytes_per_s and source is server:
                        time.sleep(len(chunk) / faults.link_bytes_per_s)
                    key.data.sendall(chunk)


def _listen(address: str, port: int) -> socket.socket:
    try:
        return socket.create_server((address, port))
    except OSError:
        return socket.create_server((address, 0))


def _head(client: socket.socket) -> bytes:
    """Return a request's head with what came after it.

    Raises:
        ValueError: It is too long, or ends before it is whole.
    """
    found = b""
    while b"\r\n\r\n" not in found:
        chunk = client.recv(_CHUNK_BYTES)
        if not chunk or len(found) > _HEAD_BYTES:
            raise ValueError("a request without an end")
        found += chunk
    return found


def _without_keeping(request: bytes) -> bytes:
    """Have a plain connection end after one answer: the next may be for another server."""
    head, blank, body = request.partition(b"\r\n\r\n")
    first, *fields = head.split(b"\r\n")
    kept = [
        field
        for field in fields
        if not field.lower().startswith((b"connection:", b"proxy-", b"keep-alive:"))
    ]
    return b"\r\n".join((first, *kept, b"Connection: close")) + blank + body
