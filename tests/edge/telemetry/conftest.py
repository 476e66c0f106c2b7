"""Queues, records and a receiver that fails on demand."""

from __future__ import annotations

import gzip
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge_components.contract.telemetry import Kind, TelemetryRecord, from_otlp
from edge_components.telemetry.queue import TelemetryQueue

sys.path.insert(0, str(Path(__file__).parents[1] / "device_support"))

from certificates import Authority

IN_2026 = 1_790_000_000 * 10**9


def make_record(number: int, kind: Kind = Kind.PREDICTION, body: str = "") -> TelemetryRecord:
    when = IN_2026 + number
    return TelemetryRecord(id=f"r{number}", kind=kind, time_unix_ns=when, device="d", body=body)


@pytest.fixture(scope="session")
def unnumbered() -> Callable[[Iterable[TelemetryRecord]], list[TelemetryRecord]]:
    """Records as they were before the queue gave them a sequence and its time."""

    def strip(records: Iterable[TelemetryRecord]) -> list[TelemetryRecord]:
        return [msgspec.structs.replace(record, sequence=0, queued_unix_ns=0) for record in records]

    return strip


@pytest.fixture(scope="session")
def record() -> Callable[..., TelemetryRecord]:
    return make_record


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[TelemetryQueue]:
    found = TelemetryQueue(tmp_path / "q.db", max_bytes=1 << 20, ttl_s=3600)
    yield found
    found.close()


@pytest.fixture(scope="session")
def until() -> Callable[..., Any]:
    def wait(what: Callable[[], Any], *, seconds: float = 15.0) -> Any:
        end = time.monotonic() + seconds
        while not (found := what()):
            assert time.monotonic() < end, "it did not happen in time"
            time.sleep(0.01)
        return found

    return wait


class Receiver:
    """An OTLP/HTTP server; ``decide`` gives the status for each request's records."""

    def __init__(self) -> None:
        self.decide: Callable[[list[TelemetryRecord]], int] = lambda _: 200
        self.taken: list[TelemetryRecord] = []
        self.requests: list[dict[str, str]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                records = from_otlp(gzip.decompress(body))
                receiver.requests.append({**dict(self.headers.items()), "path": self.path})
                status = receiver.decide(records)
                if status == 0:
                    self.close_connection = True
                    return
                if status == 200:
                    receiver.taken += records
                self.send_response(status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: Any) -> None:
                """Be quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/logs"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    @property
    def ids(self) -> list[str]:
        return [record.id for record in self.taken]

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.close()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))
