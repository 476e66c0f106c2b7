"""A threaded HTTP server for the emulator: keep-alive, TLS, client certificates.

Werkzeug's own server closes every connection and does TLS handshakes on its accepting thread, so
one slow client would hold all others; a fleet of a thousand devices needs neither. A request's
body is read whole before the application runs: signatures cover it.
"""

from __future__ import annotations

import io
import ssl
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote, urlsplit
from wsgiref.types import WSGIApplication

from edgectl.emulation.listening import ThreadedServer

MAX_BODY_BYTES = 5 * 1024**3
"""S3's limit of one PUT; nothing else takes as much."""

Extend = Callable[[dict[str, Any], Iterable[tuple[str, str]]], None]


class WebServer(ThreadedServer):
    """One listener. ``start`` serves on a thread of its own, ``stop`` ends it.

    Args:
        application: What answers.
        host: Address to bind.
        port: 0 takes a free one; see ``port``.
        tls: A server-side context; None speaks plain HTTP.
        extend: Is given the environment made so far and the headers as they came, to add to it.
    """

    def __init__(
        self,
        application: WSGIApplication,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        extend: Extend | None = None,
    ) -> None:
        self.application = application
        self.extend = extend
        super().__init__(_Handler, host=host, port=port, tls=tls)

    @property
    def url(self) -> str:
        """The address for clients on this machine."""
        return f"{'https' if self.tls else 'http'}://{self.server_address[0]!s}:{self.port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up or fail a handshake."""
        del request, client_address


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WebServer
    wbufsize = -1

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Keep quiet: the front counts calls."""

    def handle(self) -> None:
        try:
            super().handle()
        except (OSError, ValueError):
            self.close_connection = True

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65_537)
        if not self.raw_requestline:
            self.close_connection = True
            return
        if not self.parse_request():
            return
        body = self._body()
        if body is None:
            return
        self._run(self._environ(body))
        self.wfile.flush()

    def handle_expect_100(self) -> bool:
        sent = super().handle_expect_100()
        self.wfile.flush()
        return sent

    def _body(self) -> bytes | None:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return b"".join(self._chunks())
        try:
            length = int(self.headers.get("Content-Length") or 0)
        except ValueError:
            length = -1
        if not 0 <= length <= MAX_BODY_BYTES:
            self.close_connection = True
            self.send_error(413 if length > 0 else 400)
            return None
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return None
        return body

    def _chunks(self) -> Iterable[bytes]:
        while size := int(self.rfile.readline(1024).split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline(8)
        while self.rfile.readline(65_537).strip():
            pass

    def _environ(self, body: bytes) -> dict[str, Any]:
        raw = self.path if self.path.startswith("/") else urlsplit(self.path).path or "/"
        path, _, query = raw.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": self.command,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote(path, "latin-1"),
            "QUERY_STRING": query,
            "RAW_URI": raw,
            "REQUEST_URI": raw,
            "SERVER_NAME": "localhost",
            "SERVER_PORT": str(self.server.port),
            "SERVER_PROTOCOL": self.request_version,
            "REMOTE_ADDR": str(self.client_address[0]),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "https" if self.server.tls else "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "CONTENT_LENGTH": str(len(body)),
        }
        _add_headers(environ, self.headers.items())
        if self.server.extend is not None:
            self.server.extend(environ, self.headers.items())
        if isinstance(self.connection, ssl.SSLSocket):
            certificate = self.connection.getpeercert(binary_form=True)
            if certificate:
                environ["SSL_CLIENT_CERT"] = ssl.DER_cert_to_PEM_cert(certificate)
        return environ

    def _run(self, environ: dict[str, Any]) -> None:
        head: list[Any] = []

        def start_response(
            status: str, headers: list[tuple[str, str]], exc_info: object = None
        ) -> Callable[[bytes], object]:
            del exc_info
            head[:] = [status, headers]
            return lambda data: None

        parts = self.server.application(environ, start_response)
        try:
            body = b"".join(parts)
        finally:
            close = getattr(parts, "close", None)
            if close is not None:
                close()
        self._send(head[0], head[1], body)

    def _send(self, status: str, headers: list[tuple[str, str]], body: bytes) -> None:
        code, _, words = status.partition(" ")
        self.send_response_only(int(code), words)
        names = {name.lower() for name, _ in headers}
        for name, value in headers:
            if self.command == "HEAD" or name.lower() != "content-length":
                self.send_header(name, value)
        if "date" not in names:
            self.send_header("Date", self.date_time_string())
        bodiless = self.command == "HEAD" or int(code) in {204, 304}
        if not bodiless or (self.command == "HEAD" and "content-length" not in names):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if not bodiless:
            self.wfile.write(body)


def _add_headers(environ: dict[str, Any], headers: Iterable[tuple[str, str]]) -> None:
    for name, value in headers:
        key = name.upper().replace("-", "_")
        if key == "CONTENT_TYPE":
            environ[key] = value
        elif key not in {"CONTENT_LENGTH", "TRANSFER_ENCODING"}:
            key = f"HTTP_{key}"
            environ[key] = f"{environ[key]},{value}" if key in environ else value
