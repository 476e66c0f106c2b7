"""A client's connection: uvicorn's HTTP protocol with a short way for polls, and with patience.

A poll that memory can answer is answered here, from the parser's callbacks: no task, no ASGI
scope. Everything else goes uvicorn's way. The connection keeps what ``patience`` decides from, and
``sweep`` asks it about every connection now and then, which is cheaper than a timer a request.
Heads are bounded, and so are connections: the last file descriptors belong to the hub itself.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from edgectl_selfhosted.hub.ddi.identity import PEER_NAME
from edgectl_selfhosted.hub.ddi.poll import Asked, quick_answer
from edgectl_selfhosted.hub.hub import now_ms
from edgectl_selfhosted.hub.patience import Patience, Waits, too_slow
from edgectl_selfhosted.hub.sender import SendError
from edgectl_selfhosted.hub.tls import common_name

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.types import Scope

    from edgectl_selfhosted.hub.app import HubApp
    from edgectl_selfhosted.hub.ranges import Span
    from edgectl_selfhosted.hub.sender import FileSender

CONNECTION = "edgectl.connection"
MAX_HEAD_BYTES = 64 << 10
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 30\r\n"
    b"connection: close\r\n\r\n"
)
_PER_TURN = 500
_SAY_AGAIN_S = 60.0
_LOG = logging.getLogger("edgectl.hub")


class HubProtocol(HttpToolsProtocol):
    """One connection.

    Attributes:
        peer_name: The name in the client's certificate, or "".
        waits: What is waited for, since ``since`` (the loop's clock).
        body_bytes: What came of the request's body.
    """

    peer_name = ""
    head_bytes = 0
    body_bytes = 0
    waits = Waits.REQUEST
    since = 0.0
    _answered = False
    _unsent = 0
    _unsent_since = 0.0
    _full_said_at = float("-inf")

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Read the certificate's name once, and turn away what is one too many."""
        super().connection_made(transport)
        self.since = self.loop.time()
        self.peer_name = common_name(transport.get_extra_info("peercert"))
        most = self._app.most_connections
        if most and len(self.connections) > most:
            self._say_full(most)
            transport.write(_FULL)
            transport.close()

    @property
    def _app(self) -> HubApp:
        return cast("HubApp", self.app)

    @property
    def _at_work(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is not None and not cycle.response_complete

    def _say_full(self, most: int) -> None:
        if self.since - HubProtocol._full_said_at > _SAY_AGAIN_S:
            HubProtocol._full_said_at = self.since
            _LOG.warning(
                "%d connections are open, which is all that RLIMIT_NOFILE allows: more are turned "
                "away; raise the limit of open files",
                most,
            )

    def data_received(self, data: bytes) -> None:
        """Hang up on a request whose head does not end."""
        super().data_received(data)
        self.head_bytes = self.head_bytes + len(data) if self.waits is Waits.HEAD else 0
        if self.head_bytes > MAX_HEAD_BYTES:
            self.transport.close()

    def shutdown(self) -> None:
        """End an idle connection at once; a TLS client may never say goodbye."""
        if self.scheme == "https" and not self._at_work:
            self.transport.abort()
        else:
            super().shutdown()

    def on_message_begin(self) -> None:
        """Begin a request; its scope is made only if it needs one."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._answered = False
        self._wait_for(Waits.HEAD)

    def on_headers_complete(self) -> None:
        """Answer a poll at once, or hand the request on."""
        answer = self._quick_answer()
        if answer is not None:
            self._answered = True
            self.server_state.total_requests += 1
            self.transport.write(answer)
            self._wait_for(Waits.REQUEST)
            return
        self.body_bytes = 0
        self._wait_for(Waits.BODY)
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers += headers
        scope = cast("dict[str, Any]", self.scope)
        scope[CONNECTION] = self
        if self.peer_name:
            scope[PEER_NAME] = self.peer_name
        super().on_headers_complete()

    def _quick_answer(self) -> bytes | None:
        if self.flow.write_paused or self._at_work or self.parser.get_method() != b"GET":
            return None
        if not self.parser.should_keep_alive():
            return None
        asked = Asked(
            self.url,
            self.headers,
            self.scheme or "http",
            self.client[0] if self.client else "",
            self.peer_name,
        )
        return quick_answer(self._app.hub, asked, now_ms=now_ms())

    def on_body(self, body: bytes) -> None:
        """Count what came; a request that was answered already has no reader."""
        self.body_bytes += len(body)
        if self._at_work:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """From here on the client waits for the hub."""
        if self._answered:
            return
        if self._at_work:
            self._wait_for(Waits.HUB)
            super().on_message_complete()
        else:
            self._wait_for(Waits.REQUEST)

    def on_response_complete(self) -> None:
        """Wait for the next request, without what the last one held."""
        if self.waits is Waits.HUB:
            self._wait_for(Waits.HUB if self.pipeline else Waits.REQUEST)
        super().on_response_complete()
        if not self._at_work:
            self.cycle = self.scope = None  # type: ignore[assignment]  # uvicorn begins with None too

    def _wait_for(self, what: Waits) -> None:
        self.waits = what
        self.since = self.loop.time()

    def resume_writing(self) -> None:
        """Note that the client has taken something."""
        self._unsent = 0
        super().resume_writing()

    def takes_files(self, scope: Scope) -> bool:
        """Whether ``send_file`` can be used for the answer to this request.

        TLS has to see every byte, and behind a request that waits already it is not told apart.
        """
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return self.scheme == "http" and cycle is not None and cycle.scope is scope

    async def send_file(self, sender: FileSender, path: Path, span: Span) -> None:
        """Send bytes of a file as part of the answer's body, past all buffers.

        Where they cannot be sent whole, the connection ends.
        """
        cycle = self.cycle
        # The head is on its way; what is below the mark of 0 bytes is with the kernel.
        self.transport.set_write_buffer_limits(high=0)
        await self.flow.drain()
        if cycle.disconnected or self.transport.is_closing():
            return
        self.transport.set_write_buffer_limits()
        fd = self.transport.get_extra_info("socket").fileno()
        try:
            await sender.send(path, span.start, span.end, fd)
        except SendError as exc:
            _LOG.debug("hung up in the middle of an artifact: %s", exc)
            cycle.disconnected = True
            self.transport.abort()
        else:
            cycle.expected_content_length -= span.end - span.start

    def check(self, now: float, patience: Patience) -> None:
        """Hang up if the client is too slow."""
        unsent = self.transport.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent, self._unsent_since = unsent, now
        # What the hub does not read at the moment is not late.
        waits = Waits.HUB if self.flow.read_paused else self.waits
        if too_slow(
            waits,
            now - self.since,
            body_bytes=self.body_bytes,
            stalled_s=now - self._unsent_since if unsent else None,
            patience=patience,
        ):
            _LOG.debug("hung up on a client while it was waited for %s", waits.value)
            self.transport.abort()


async def sweep(connections: set[HubProtocol], patience: Patience) -> None:
    """Look at every connection, letting others work in between."""
    now = asyncio.get_running_loop().time()
    for number, connection in enumerate(tuple(connections), start=1):
        connection.check(now, patience)
        if not number % _PER_TURN:
            await asyncio.sleep(0)
