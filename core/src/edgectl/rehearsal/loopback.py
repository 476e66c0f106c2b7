"""The fence of a rehearsal: its processes connect to this machine only.

A project file may name a real server in place of the emulator's variable. So where ``FENCE`` is
set, the interpreter itself refuses each connection that leaves the machine, before a byte of a
credential is sent; whatever library asked for it. Programs in other languages are not held, nor
libraries that open sockets past Python (gRPC): those go by the emulator's addresses.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from pathlib import Path
from typing import Any

FENCE = "EDGECTL_REHEARSAL"
_HINT = (
    "let the project's `providers:` take addresses from the variables that the emulators set, "
    "for example url: ${EDGECTL_HUB_URL:-https://hub.example}"
)
_OWN = {"", "localhost", "0.0.0.0", "::", socket.gethostname()}  # noqa: S104 - to listen on


class OutsideError(ConnectionRefusedError):
    """A rehearsal wanted to reach what is not on this machine."""


def fence(folder: Path | str) -> None:
    """Keep this process, and those that it starts, on this machine for the rest of their lives.

    Args:
        folder: The rehearsal's own.
    """
    os.environ[FENCE] = str(folder)
    sys.addaudithook(_look)


def fenced() -> Path | None:
    """Return the folder of the rehearsal that this process is part of, or None."""
    folder = os.environ.get(FENCE)
    return Path(folder) if folder else None


def is_here(host: object) -> bool:
    """Whether a host, by name or address, is this machine."""
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host is None or not isinstance(host, str):
        return host is None
    if host in _OWN or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def _look(event: str, arguments: tuple[Any, ...]) -> None:
    if event in {"socket.connect", "socket.sendto"}:
        place = arguments[1]
        if isinstance(place, tuple) and not is_here(place[0]):
            _refuse(f"{place[0]}:{place[1]}")
    elif event == "socket.getaddrinfo" and not is_here(arguments[0]):
        _refuse(f"{arguments[0]}:{arguments[1]}")


def _refuse(place: str) -> None:
    raise OutsideError(f"this is a rehearsal, and '{place}' is not on this machine; {_HINT}")
