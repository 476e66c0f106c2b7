"""The workload API: a socket for each module, on which it signs, and learns whom to trust.

Shapes: the runtime's ``workloadVersion_2020_10_10.yaml``. As there, a module speaks only for
itself: the socket that it is given says which it is.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import re
import socketserver
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from edgectl_azure_iot_edge.emulator.edge.ca import DeviceCa
from edgectl_azure_iot_edge.emulator.edge.identities import Identities
from edgectl_azure_iot_edge.emulator.edge.tokens import sign

log = logging.getLogger(__name__)

API_VERSION = "2018-06-28"
_MAX_BODY_BYTES = 64 << 10
_LIFE = timedelta(days=30)
_PATHS = re.compile(
    r"/modules/(?P<module>[^/]+)/(?:genid/(?P<generation>[^/]+)/(?P<verb>sign|certificate/server)"
    r"|(?P<identity>certificate/identity))"
)

Answer = tuple[int, dict[str, Any]]
Lister = Callable[[], list[dict[str, Any]]]


class Workload:
    """The sockets of all modules.

    Args:
        folder: Takes the sockets; its path is short, for theirs is limited.
        modules: Tells what ``GET /modules`` answers.
    """

    def __init__(
        self, folder: Path, identities: Identities, authority: DeviceCa, modules: Lister
    ) -> None:
        self._folder = folder
        self._identities = identities
        self._authority = authority
        self._modules = modules
        self._servers: dict[str, _Server] = {}
        self._lock = threading.Lock()

    def open(self, module: str) -> Path:
        """Listen for a module; return its socket."""
        path = self._folder / f"{module}.sock"
        with self._lock:
            if module not in self._servers:
                path.unlink(missing_ok=True)
                server = _Server(str(path), module, self)
                self._servers[module] = server
                threading.Thread(
                    target=server.serve_forever, args=(0.1,), name="workload", daemon=True
                ).start()
        return path

    def close(self, module: str) -> None:
        """Stop listening for a module."""
        with self._lock:
            server = self._servers.pop(module, None)
        if server is not None:
            server.shutdown()
            server.server_close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(server.path)  # noqa: PTH108  # the socket's own name is a text

    def stop(self) -> None:
        """Stop listening."""
        for module in list(self._servers):
            self.close(module)

    def answer(self, caller: str, method: str, target: str, body: bytes) -> Answer:
        """Answer a request of the module that a socket belongs to."""
        parts = urlsplit(target)
        if "api-version=" not in parts.query:
            return _error(400, "The request is missing the query parameter 'api-version'")
        if method == "GET" and parts.path == "/trust-bundle":
            return 200, {"certificate": self._authority.bundle}
        if method == "GET" and parts.path == "/modules":
            return 200, {"modules": self._modules()}
        match = _PATHS.fullmatch(parts.path)
        if match is None or method != "POST":
            return _error(404, "Not Found")
        return self._act(caller, match, body)

    def _act(self, caller: str, match: re.Match[str], body: bytes) -> Answer:
        if unquote(match["module"]) != caller:
            return _error(403, f"Module '{unquote(match['module'])}' is not the caller")
        identity = self._identities.get(caller)
        if identity is None or (
            match["generation"] and unquote(match["generation"]) != identity.generation
        ):
            return _error(404, f"Module '{caller}' has no such identity")
        try:
            document = json.loads(body or b"{}")
            if match["verb"] == "sign":
                return _signed(document, identity.key)
            return self._certificate(caller, document, is_server=bool(match["verb"]))
        except (ValueError, KeyError, TypeError) as exc:
            return _error(400, f"The request cannot be read: {exc}")

    def _certificate(self, module: str, document: dict[str, Any], *, is_server: bool) -> Answer:
        name = str(document["commonName"]) if is_server else module
        until = datetime.now(UTC) + _LIFE
        if "expiration" in document:
            asked = datetime.fromisoformat(str(document["expiration"]))
            until = min(until, asked if asked.tzinfo else asked.replace(tzinfo=UTC))
        certificate, key = self._authority.issue((name, module), until, is_server=is_server)
        return 201, {
            "privateKey": {"type": "key", "bytes": key},
            "certificate": certificate,
            "expiration": until.isoformat(),
        }


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, path: str, module: str, workload: Workload) -> None:
        self.path = path
        self.module = module
        self.workload = workload
        super().__init__(path, _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._read()

    def do_POST(self) -> None:
        self._read()

    def _read(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > _MAX_BODY_BYTES:
            self.close_connection = True
            return
        self._answer(self.rfile.read(int(length)))

    def address_string(self) -> str:
        return self.server.module

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base's own name
        log.debug("%s: %s", self.server.module, format % args)

    def _answer(self, body: bytes) -> None:
        status, document = self.server.workload.answer(
            self.server.module, self.command, self.path, body
        )
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _signed(document: dict[str, Any], key: str) -> Answer:
    if document["algo"] != "HMACSHA256":
        return _error(400, f"Algorithm '{document['algo']}' is not known")
    data = base64.b64decode(document["data"], validate=True)
    return 200, {"digest": sign(data, key)}


def _error(status: int, message: str) -> Answer:
    return status, {"message": message}
