"""As much HTTP as a pretended device needs: one request at a time on a connection that is kept.

A crowd sends hundreds of requests a second beside the hub on the same machine, so each of them
may cost no more here than it costs the hub.
"""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import urlsplit

import httptools
import msgspec

_ANSWER_S = 60.0
_PIECE = 65_536


class RefusedError(Exception):
    """The hub answered with a refusal."""

    def __init__(self, path: str, status: int, said: bytes) -> None:
        super().__init__(f"'{path}' is answered with {status}: {said[:200]!r}")
        self.status = status


class _Answer:
    """What httptools found so far."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.whole = False

    def on_body(self, piece: bytes) -> None:
        self.body += piece

    def on_message_complete(self) -> None:
        self.whole = True


class Line:
    """A connection to the hub, made anew when it was lost.

    Args:
        url: The hub's address.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, method: str, path: str, login: str, body: object = None) -> bytes:
        """Send a request and return the answer's body.

        Args:
            method: GET, PUT or POST.
            path: Path and query.
            login: The header ``Authorization``.
            body: Goes as JSON; None sends nothing.

        Raises:
            OSError: There is no answer.
            RefusedError: The answer is a refusal.
        """
        sent = b"" if body is None else msgspec.json.encode(body)
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            f"Authorization: {login}\r\nContent-Length: {len(sent)}\r\n"
            "Content-Type: application/json\r\nAccept: */*\r\n\r\n"
        )
        try:
            async with asyncio.timeout(_ANSWER_S):
                status, found, kept = await self._exchange(head.encode() + sent)
        except (OSError, TimeoutError, EOFError, httptools.HttpParserError) as exc:
            self.close()
            raise ConnectionError(f"no answer to '{path}': {exc}") from exc
        if not kept:
            self.close()
        if status >= 300:
            raise RefusedError(path, status, found)
        return found

    def close(self) -> None:
        """Leave the connection."""
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.close()
        self._reader = self._writer = None

    async def _exchange(self, request: bytes) -> tuple[int, bytes, bool]:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        self._writer.write(request)
        answer = _Answer()
        parser = httptools.HttpResponseParser(answer)
        while not answer.whole:
            piece = await self._reader.read(_PIECE)
            if not piece:
                raise EOFError("the hub closed the connection")
            parser.feed_data(piece)
        return parser.get_status_code(), bytes(answer.body), parser.should_keep_alive()
