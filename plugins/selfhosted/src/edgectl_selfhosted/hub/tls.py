"""TLS, and the name in a device's client certificate.

The certificate chain is verified by the TLS library against the given authority; here only the
subject's common name is read and handed on. A certificate is asked for but not demanded, so that
operators can use the same port with a password.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from edgectl_selfhosted.hub.ddi.identity import PEER_NAME

MAX_HEAD_BYTES = 64 << 10

Names = Sequence[Sequence[tuple[str, str]]]


def common_name(certificate: dict[str, Any] | None) -> str:
    """Return the one common name of a verified certificate, or ""."""
    if not certificate:
        return ""
    subject = cast("Names", certificate.get("subject", ()))
    names = [value for part in subject for key, value in part if key == "commonName"]
    return names[0] if len(names) == 1 else ""


class HubProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol that puts the client certificate's name into the scope.

    It also bounds a request's head, which the parser would collect without end.
    """

    peer_name = ""
    in_head = False
    head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Read the name once a connection."""
        super().connection_made(transport)
        self.peer_name = common_name(transport.get_extra_info("peercert"))

    def data_received(self, data: bytes) -> None:
        """Hang up on a request whose head does not end."""
        super().data_received(data)
        self.head_bytes = self.head_bytes + len(data) if self.in_head else 0
        if self.head_bytes > MAX_HEAD_BYTES:
            self.transport.close()

    def shutdown(self) -> None:
        """End an idle connection at once; a TLS client may never say goodbye."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if self.scheme == "https" and (cycle is None or cycle.response_complete):
            self.transport.abort()
        else:
            super().shutdown()

    def on_headers_complete(self) -> None:
        """Note that the head ended."""
        self.in_head = False
        super().on_headers_complete()

    def on_message_begin(self) -> None:
        """Put the name into each request's scope."""
        super().on_message_begin()
        self.in_head = True
        if self.peer_name:
            cast("dict[str, Any]", self.scope)[PEER_NAME] = self.peer_name
