"""A threaded HTTP server for the emulator: keep-alive, TLS, client certificates.

Werkzeug's own server closes every connection and does TLS handshakes on its accepting thread, so
one slow client would hold all others; a fleet of a thousand devices needs neither. A request's
body is read whole before the application runs: signatures cover it.
"""

from __future__ import annotations

import io
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from wsgiref.types import WSGIApplication

if TYPE_CHECKING:
    from types import TracebackType

MAX_BODY_BYTES = 5 * 1024**3
"""S3's limit of one PUT; nothing else takes as much."""

IDLE_TIMEOUT_S = 65.0
"""How long an idle connection is kept, about what clouds' own front ends do."""


Extend = Callable[[dict[str, Any], Iterable[tuple[str, str]]], None]


class WebServer(ThreadingMixIn, HTTPServer):
    """One listener. ``start`` serves on a thread of its own, ``stop`` ends it.

    Args:
        application: What answers.
        host: Address to bind.
        port: 0 takes a free one; see ``port``.
        tls: A server-side context; None speaks plain HTTP.
        extend: Is given the environment made so far and the headers as they came, to add to it.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 512
    allow_reuse_address = True

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
        self.tls = tls
        self._thread: threading.Thread | None = None
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__((host, port), _Handler)

    @property
    def port(self) -> int:
        """The port that is bound."""
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        """The address for clients on this machine."""
        return f"{'https' if self.tls else 'http'}://{self.server_address[0]!s}:{self.port}"

    def server_bind(self) -> None:
        """Bind without the name look-up of the base class, which may ask a name server."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "localhost", self.port

    def start(self) -> None:
        """Serve until ``stop``."""
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End serving and close every connection."""
        if self._thread is not None:
            self.shutdown()
            self._thread.join()
        self.server_close()
        with self._lock:
            connections = tuple(self._open)
        for connection in connections:
            with _quiet():
                connection.shutdown(socket.SHUT_RDWR)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands on the connection's own thread, then serve its requests."""
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request.settimeout(IDLE_TIMEOUT_S)
        connection = request
        if self.tls is not None:
            connection = self.tls.wrap_socket(request, server_side=True)
        with self._lock:
            self._open.add(connection)
        try:
            _Handler(connection, client_address, self)
        finally:
            with self._lock:
                self._open.discard(connection)
            with _quiet():
                connection.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up or fail a handshake."""
        del request, client_address


class _quiet:  # noqa: N801 - reads as contextlib.suppress, of which it is a case
    def __enter__(self) -> None:
        return

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        return isinstance(value, OSError)


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
