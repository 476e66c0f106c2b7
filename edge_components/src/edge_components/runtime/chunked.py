"""Chunked bodies (RFC 9112, 7.1), read strictly and as they arrive.

Extensions are skipped, trailers are read and dropped; both are bounded. Nothing but CRLF ends a
line, because a lenient reader behind a strict one is how requests are smuggled.
"""

from __future__ import annotations

from edge_components.runtime.http import HttpError, too_large

_MAX_LINE = 256
_MAX_TRAILERS = 16


class ChunkedBody:
    """Collects a chunked body from whatever pieces the socket gives."""

    def __init__(self, max_bytes: int) -> None:
        self.body = bytearray()
        self._max_bytes = max_bytes
        self._left = 0  # of the present chunk, its CRLF included
        self._trailers = -1  # lines read after the last chunk, -1 before it

    def feed(self, data: bytes | bytearray) -> tuple[bool, int]:
        """Take what is there; return whether the body is complete, and the bytes that were used.

        Raises:
            HttpError: 400 or 413; the connection has to be closed.
        """
        position = 0
        while True:
            if self._left:
                used = self._take(data, position)
                position += used
                if not used:
                    return False, position
                continue
            end = data.find(b"\r\n", position, position + _MAX_LINE)
            if end < 0:
                if len(data) - position >= _MAX_LINE:
                    raise HttpError(400, "a line of the chunked body is too long", close=True)
                return False, position
            line = bytes(data[position:end])
            position = end + 2
            if self._line(line):
                return True, position

    def _take(self, data: bytes | bytearray, position: int) -> int:
        available = len(data) - position
        content = self._left - 2
        if content > 0:
            used = min(content, available)
            self.body += data[position : position + used]
            self._left -= used
            return used
        if available < 2:  # the CRLF behind a chunk comes whole, so that it can be compared
            return 0
        if data[position : position + 2] != b"\r\n":
            raise HttpError(400, "a chunk is longer than it says", close=True)
        self._left = 0
        return 2

    def _line(self, line: bytes) -> bool:
        if self._trailers >= 0:
            self._trailers += 1
            if self._trailers > _MAX_TRAILERS:
                raise HttpError(431, "too many trailers", close=True)
            return not line
        if b"\n" in line or b"\r" in line:
            raise HttpError(400, "a line of the chunked body is not ended by CRLF", close=True)
        size, extended, _ = line.partition(b";")
        if extended:
            size = size.rstrip(b" \t")
        if not size or len(size) > 12 or size.strip(b"0123456789abcdefABCDEF"):
            raise HttpError(400, "a chunk's size is not a number", close=True)
        length = int(size, 16)
        if len(self.body) + length > self._max_bytes:
            raise HttpError(413, too_large(len(self.body) + length, self._max_bytes), close=True)
        if length:
            self._left = length + 2
        else:
            self._trailers = 0
        return False
