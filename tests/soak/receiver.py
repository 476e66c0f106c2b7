"""A telemetry receiver that goes away and comes back, and knows what it should have got."""

from __future__ import annotations

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from edge_components.contract.telemetry import from_otlp

_AWAY_S = 4.0
_THERE_S = 6.0


class Receiver:
    """Takes OTLP/HTTP on one port, where nobody listens while it is away.

    Attributes:
        sequences: Of the records that came, once each.
        absences: How often it went away.
    """

    def __init__(self) -> None:
        self.sequences: set[int] = set()
        self.absences = 0
        self._port = 0
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where the records go."""
        return f"http://127.0.0.1:{self._port}/v1/logs"

    def open(self) -> None:
        """Listen, if it does not."""
        if self._server is not None:
            return
        sequences = self.sequences

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                sequences.update(record.sequence for record in from_otlp(gzip.decompress(body)))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Be quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        """Go away."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server = None

    def come_and_go(self, stop: threading.Event) -> None:
        """Be there and away by turns until told to stop."""
        while not stop.wait(_THERE_S):
            self.close()
            self.absences += 1
            stop.wait(_AWAY_S)
            self.open()

    def missing(self) -> int:
        """Count the records between the first and the last that never came."""
        if not self.sequences:
            return 0
        return max(self.sequences) - min(self.sequences) + 1 - len(self.sequences)
