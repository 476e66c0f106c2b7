"""Listening sockets, made without the resolver's threads.

uvloop asks a pool of four threads for every address, also for one that is written in digits; a
runtime that listens on 127.0.0.1 needs none of them.
"""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path


def tcp_listeners(host: str, port: int) -> list[socket.socket]:
    """Return a bound socket for each address of ``host``; port 0 is any free one.

    Raises:
        OSError: The name is not known, or an address cannot be used.
    """
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as exc:
        raise OSError(exc.errno, f"no address is known for '{host}': {exc.strerror}") from exc
    with contextlib.ExitStack() as undo:
        listeners = []
        for family, kind, protocol, _, address in dict.fromkeys(found):
            listener = undo.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            _bind(listener, address)
            listeners.append(listener)
        undo.pop_all()
    return listeners


def _bind(listener: socket.socket, address: tuple[object, ...]) -> None:
    try:
        listener.bind(address)
    except OSError as exc:
        reason = os.strerror(exc.errno) if exc.errno is not None else str(exc)
        raise OSError(exc.errno, f"'{address[0]}' port {address[1]}: {reason}") from exc


def private_socket(path: Path) -> socket.socket:
    """Return a bound unix socket that only this user may open (mode 0600)."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)  # the socket is never open to others, not even for a moment
    try:
        listener.bind(str(path))
    except OSError as exc:
        listener.close()
        raise OSError(exc.errno, f"'{path}': {exc.strerror or exc}") from exc
    finally:
        os.umask(mask)
    return listener
