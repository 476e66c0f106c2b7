"""A collector: takes OTLP/HTTP log records and keeps them as a collector's file exporter does.

One request is one line, written whole before it is acknowledged, so that what a pod believes to be
sent can be read back. JSON, gzip or not; anything else is refused as the protocol says.
Source: OTLP 1.x, "OTLP/HTTP" (a 2xx means taken, 400 that sending it again is of no use).
"""

from __future__ import annotations

import gzip
import threading
import zlib
from collections.abc import Iterable
from pathlib import Path
from wsgiref.types import StartResponse, WSGIEnvironment

import msgspec

from edgectl.api import from_otlp
from edgectl.emulation import WebServer

LOGS_PATH = "/v1/logs"
FILE = "telemetry.jsonl"
_PLAIN = [("Content-Type", "application/json")]


class Collector:
    """Takes records on loopback.

    Args:
        folder: Where they are kept.
        port: The port; 0 takes a free one.
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.file = folder / FILE
        self._lock = threading.Lock()
        self._server = WebServer(self._answer, port=port)

    @property
    def endpoint(self) -> str:
        """The logs endpoint that pods write to."""
        return f"{self._server.url}{LOGS_PATH}"

    def start(self) -> None:
        """Take records from now on."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self._server.start()

    def stop(self) -> None:
        """End."""
        self._server.stop()

    def _answer(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        if (environ["REQUEST_METHOD"], environ["PATH_INFO"]) != ("POST", LOGS_PATH):
            start("404 Not Found", _PLAIN)
            return [b"{}"]
        data = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        try:
            if environ.get("HTTP_CONTENT_ENCODING") == "gzip":
                data = gzip.decompress(data)
            from_otlp(data)
        except (OSError, zlib.error, msgspec.DecodeError, ValueError) as exc:
            start("400 Bad Request", _PLAIN)
            return [msgspec.json.encode({"message": str(exc)})]
        line = data.replace(b"\r", b" ").replace(b"\n", b" ") + b"\n"
        with self._lock, self.file.open("ab") as out:
            out.write(line)
        start("200 OK", _PLAIN)
        return [b"{}"]
