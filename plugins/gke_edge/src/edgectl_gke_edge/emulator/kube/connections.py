"""The server's connections: whose client certificate each has, and breaking them all."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from edgectl_gke_edge.emulator.kube.access import certificate_user
from edgectl_gke_edge.emulator.kube.requests import User

_CLOSING_STEPS = 5
"""An aborted TLS connection takes some turns of the loop to close its socket."""


class Connections:
    """What is open now.

    Attributes:
        cut_off: Connections that come are dropped without a word.
        users: Address of a connection → the user of its client certificate.
    """

    def __init__(self) -> None:
        self.cut_off = False
        self.users: dict[Any, User] = {}
        self._open: set[asyncio.Transport] = set()

    def opened(self, transport: asyncio.Transport, address: Any) -> None:
        """Take a connection in, or drop it."""
        if self.cut_off:
            transport.abort()
            return
        self._open.add(transport)
        connection = transport.get_extra_info("ssl_object")
        user = certificate_user(connection.getpeercert() if connection else None)
        if user is not None:
            self.users[address] = user

    def closed(self, transport: asyncio.Transport, address: Any) -> None:
        """Forget a connection."""
        self._open.discard(transport)
        self.users.pop(address, None)

    def abort(self) -> None:
        """Break all connections."""
        for transport in list(self._open):
            transport.abort()

    async def end(self) -> None:
        """Break what is still open and wait until the loop has closed the sockets."""
        self.abort()
        for _ in range(_CLOSING_STEPS):
            await asyncio.sleep(0)


def protocol_of(connections: Connections) -> type[asyncio.Protocol]:
    """Return uvicorn's protocol, reporting to ``connections``."""

    class Reporting(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows it as well
            super().connection_made(transport)
            connections.opened(transport, self.client)

        def connection_lost(self, exc: Exception | None) -> None:
            connections.closed(self.transport, self.client)
            super().connection_lost(exc)

    return Reporting
