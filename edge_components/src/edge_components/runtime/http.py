"""HTTP/1.1 heads in, answers out: parsing and writing without any socket.

A keep-alive client sends the same head again and again, so parsed heads are kept by their bytes
(``HeadCache``) and most requests skip parsing. What may be smuggled is refused: two lengths, a
length beside chunks, a folded header. Sources: RFC 9110, RFC 9112; the binary extension's
``Inference-Header-Content-Length``.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import httptools
import msgspec
import orjson

Buffer = bytes | bytearray | memoryview
JSON_TYPE = b"application/json"
BINARY_TYPE = b"application/octet-stream"
_ONLY_IDENTITY = b"Accept-Encoding: identity\r\n"  # RFC 9110, 12.5.3


class HttpError(Exception):
    """A request that is answered with an error status.

    Attributes:
        status: The HTTP status.
        close: Whether the connection cannot be used any more.
        headers: Further header lines, each ended by CRLF.
    """

    def __init__(
        self, status: int, message: str, *, close: bool = False, headers: bytes = b""
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.close = close
        self.headers = headers


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a client may take.

    Attributes:
        min_bytes_per_s: A body that arrives slower than this is given up, and an answer that is
            read slower.
        requests_per_turn: Pipelined requests of one connection before the others have their turn.
        max_buffered_bytes: Of all unfinished bodies together.
        max_unread_bytes: Of all answers together that clients have not read.
    """

    max_head_bytes: int = 16 << 10
    max_headers: int = 64
    max_body_bytes: int = 64 << 20
    max_buffered_bytes: int = 256 << 20
    max_unread_bytes: int = 256 << 20
    max_connections: int = 512
    head_timeout_s: float = 10.0
    body_timeout_s: float = 10.0
    min_bytes_per_s: int = 16 << 10
    idle_timeout_s: float = 75.0
    write_timeout_s: float = 30.0
    requests_per_turn: int = 8


class Head:
    """A parsed request head.

    Attributes:
        target: Path as sent, without the query.
        length: Content-Length; None where the request has none.
        tensors_at: Inference-Header-Content-Length, or None.
        endpoint: Who answers; the connection fills it in once per head.
        frees_body: Whether nobody looks at the body after the answer.
        quick: Who may answer a request of this head at once, where there is such a way: takes
            head, body and ``Date`` line, returns all bytes of the answer, or None to leave the
            request to ``endpoint``. None for a head after which the connection is closed.
        wide: Who may answer a request of this head later, likewise: takes head, body and whom to
            tell the answer or the error, returns False to leave the request to ``endpoint``.
    """

    __slots__ = (
        "authorization",
        "chunked",
        "endpoint",
        "expects_continue",
        "frees_body",
        "keep_alive",
        "length",
        "method",
        "query",
        "quick",
        "target",
        "tensors_at",
        "wide",
    )

    def __init__(self) -> None:
        self.method = ""
        self.target = ""
        self.query = ""
        self.length: int | None = None
        self.chunked = False
        self.keep_alive = True
        self.expects_continue = False
        self.tensors_at: int | None = None
        self.authorization: bytes | None = None
        self.endpoint: Callable[..., Any] | None = None
        self.frees_body = False
        self.quick: Callable[[Head, bytes, bytes], bytes | None] | None = None
        self.wide: Callable[[Head, Buffer, Reply], bool] | None = None


Reply = Callable[["Response | BaseException"], None]


class _Collector:
    """httptools' callbacks for one head."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False
        self.keep_alive = False
        self.parser: Any = None

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.complete = True
        # Asked now, because the parser forgets it when a request without a body ends.
        self.keep_alive = self.parser.should_keep_alive()


def parse_head(data: bytes, limits: Limits) -> Head:
    """Parse a head that ends with an empty line.

    Raises:
        HttpError: 400, 411, 413, 417, 431, 501 or 505; the connection has to be closed.
    """
    collector = _Collector()
    parser = collector.parser = httptools.HttpRequestParser(collector)
    try:
        # A wish to change protocols may be ignored (RFC 9110, 7.8).
        with contextlib.suppress(httptools.HttpParserUpgrade):
            parser.feed_data(data)
        url = httptools.parse_url(collector.url)
        target = (url.path or b"").decode("ascii")
        query = (url.query or b"").decode("ascii")
    except (httptools.HttpParserError, UnicodeDecodeError) as exc:
        raise HttpError(400, f"the request is not HTTP/1.1: {exc}", close=True) from exc
    if not collector.complete:
        raise HttpError(400, "the request's head is not complete", close=True)
    if len(collector.headers) > limits.max_headers:
        raise HttpError(
            431, f"{len(collector.headers)} headers, at most {limits.max_headers}", close=True
        )
    head = Head()
    head.method = parser.get_method().decode("ascii")
    head.target, head.query = target, query
    version = parser.get_http_version()
    if version not in {"1.0", "1.1"}:
        raise HttpError(505, f"HTTP/{version} is not spoken here", close=True)
    old = version == "1.0"
    _read_headers(head, collector.headers, limits, needs_host=not old)
    if old and head.chunked:  # its sender cannot have meant this (RFC 9112, 6.1)
        raise HttpError(400, "HTTP/1.0 has no Transfer-Encoding", close=True)
    head.keep_alive = collector.keep_alive and not old
    head.expects_continue &= not old  # RFC 9110, 10.1.1
    return head


def _read_headers(
    head: Head, headers: list[tuple[bytes, bytes]], limits: Limits, *, needs_host: bool
) -> None:
    seen: set[bytes] = set()
    for name, value in headers:
        reader = _READERS.get(name)
        if reader is None:
            continue
        if name in seen:
            raise HttpError(400, f"header {name.decode()} is given twice", close=True)
        seen.add(name)
        reader(head, value.strip())
    if needs_host and b"host" not in seen:
        raise HttpError(400, "the request has no Host header", close=True)
    if head.chunked and head.length is not None:
        raise HttpError(400, "a chunked body has no Content-Length", close=True)
    if head.length is not None and head.length > limits.max_body_bytes:
        raise HttpError(413, too_large(head.length, limits.max_body_bytes), close=True)


def _content_length(head: Head, value: bytes) -> None:
    head.length = _number("Content-Length", value)


def _tensors_at(head: Head, value: bytes) -> None:
    head.tensors_at = _number("Inference-Header-Content-Length", value)


def _transfer_encoding(head: Head, value: bytes) -> None:
    if value.lower() != b"chunked":
        raise HttpError(501, "only chunked transfer coding is known", close=True)
    head.chunked = True


def _content_encoding(_: Head, value: bytes) -> None:
    if value.lower() not in {b"", b"identity"}:
        raise HttpError(415, "compressed bodies are not taken", close=True, headers=_ONLY_IDENTITY)


def _expect(head: Head, value: bytes) -> None:
    if value.lower() != b"100-continue":
        raise HttpError(417, "only 100-continue can be expected", close=True)
    head.expects_continue = True


def _authorization(head: Head, value: bytes) -> None:
    head.authorization = value


_HOST = re.compile(rb"[A-Za-z0-9._~%!$&'()*+,;=:\[\]-]+").fullmatch  # RFC 3986, 3.2


def _host(_: Head, value: bytes) -> None:
    if not _HOST(value):
        raise HttpError(400, "the Host header names no host", close=True)


# What is read, and may stand in a head only once.
_READERS: dict[bytes, Callable[[Head, bytes], None]] = {
    b"host": _host,
    b"content-length": _content_length,
    b"transfer-encoding": _transfer_encoding,
    b"content-encoding": _content_encoding,
    b"expect": _expect,
    b"authorization": _authorization,
    b"inference-header-content-length": _tensors_at,
}


def too_large(found: int, limit: int) -> str:
    """Say that a body is too large."""
    return f"the body has {found} bytes, at most {limit} are taken"


def _number(name: str, value: bytes) -> int:
    if not value.isdigit() or len(value) > 18:
        raise HttpError(400, f"header {name} is not a number", close=True)
    return int(value)


class HeadCache:
    """Parsed heads by their bytes; emptied when full, so that nobody can fill the memory."""

    def __init__(self, limits: Limits, *, max_heads: int = 256, max_bytes: int = 1024) -> None:
        self._limits = limits
        self._max_heads = max_heads
        self._max_bytes = max_bytes
        self._heads: dict[bytes, Head] = {}
        self.known = self._heads.get

    def get(self, data: bytes) -> Head:
        """Return the parsed head.

        Raises:
            HttpError: See ``parse_head``.
        """
        head = self._heads.get(data)
        if head is None:
            head = parse_head(data, self._limits)
            if len(data) <= self._max_bytes:
                if len(self._heads) >= self._max_heads:
                    self._heads.clear()
                self._heads[data] = head
        return head


class Request(msgspec.Struct):
    """A whole request: its head and its body."""

    head: Head
    body: Buffer


class Response(msgspec.Struct):
    """An answer: status, body in parts, and further header lines (each ended by CRLF)."""

    status: int
    body: list[bytes | memoryview]
    content_type: bytes = JSON_TYPE
    headers: bytes = b""


def json_response(status: int, document: object, headers: bytes = b"") -> Response:
    """Return an answer with a JSON body."""
    return Response(
        status, [orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS)], headers=headers
    )


def error_response(error: HttpError) -> Response:
    """Return the protocol's error object: ``{"error": message}``."""
    return json_response(error.status, {"error": error.message}, headers=error.headers)


_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}
_OK_JSON = _STATUS_LINES[200] + b"Content-Type: application/json\r\nContent-Length: "


def head_bytes(response: Response, length: int, date: bytes, *, keep_alive: bool) -> bytes:
    """Return the answer's head.

    Args:
        response: The answer.
        length: Of its body.
        date: The ``Date`` line, ended by CRLF.
        keep_alive: Whether the connection stays open; else the head says so.
    """
    if response.status == 200 and response.content_type is JSON_TYPE:
        start = _OK_JSON
    else:
        start = b"%bContent-Type: %b\r\nContent-Length: " % (
            _STATUS_LINES[response.status],
            response.content_type,
        )
    end = b"\r\n" if keep_alive else b"Connection: close\r\n\r\n"
    return b"%b%d\r\n%b%b%b" % (start, length, response.headers, date, end)


_OK_BINARY = b"%bContent-Type: %b\r\nContent-Length: " % (_STATUS_LINES[200], BINARY_TYPE)


def tensors_line(json_length: int) -> bytes:
    """Return the header line that says where the raw tensors of an answer begin."""
    return b"Inference-Header-Content-Length: %d\r\n" % json_length


def whole_answer(body: bytes, json_length: int | None, date: bytes) -> bytes:
    """Return all bytes of a 200 answer after which the connection stays open.

    Args:
        body: Of the answer.
        json_length: How much of it is JSON where raw tensors follow, else None.
        date: The ``Date`` line, ended by CRLF.
    """
    if json_length is None:
        return b"%b%d\r\n%b\r\n%b" % (_OK_JSON, len(body), date, body)
    tensors = tensors_line(json_length)
    return b"%b%d\r\n%b%b\r\n%b" % (_OK_BINARY, len(body), tensors, date, body)
