"""Telemetry of a real runtime: what comes up, and what a kill leaves."""

from __future__ import annotations

import gzip
import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from edge_components.contract.histogram import from_attributes, merge
from edge_components.contract.release import DeviceSettings
from edge_components.contract.telemetry import Kind, TelemetryRecord, from_otlp


@pytest.fixture
def receiver() -> Iterator[Any]:
    taken: list[TelemetryRecord] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken.extend(from_otlp(gzip.decompress(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Be quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield taken, f"http://127.0.0.1:{server.server_port}/v1/logs"
    server.shutdown()
    thread.join()
    server.server_close()


def test_predictions_events_and_health_come_up_with_release_and_package(
    start: Any, make_version: Any, build: Any, receiver: Any
) -> None:
    taken, url = receiver
    folder = make_version(3, {"fp32": lambda path: build.scaling(path, 2.0)})
    served = start(
        *("--version-dir", folder, "--precision", "fp32", "--device", "lot-7"),
        *("--telemetry-url", url, "--telemetry-interval-s", "0.1"),
        *("--telemetry-health-interval-s", "0.2"),
    )
    for _ in range(5):
        served.infer([1.0, 4.0, 2.0, 3.0])
    body = {"body": "door opened", "severity": 13, "attributes": {"door": 2}}
    served.control("POST", "/control/event", body)

    def kinds(kind: Kind) -> list[TelemetryRecord]:
        return [record for record in list(taken) if record.kind is kind]

    build.until(lambda: len(kinds(Kind.PREDICTION)) >= 5 and kinds(Kind.HEALTH))
    prediction = kinds(Kind.PREDICTION)[0]
    assert (prediction.device, prediction.application) == ("lot-7", "plates")
    assert prediction.release == 3
    assert prediction.package.startswith("sha256:")
    assert prediction.attributes["class"] == 1
    event = build.until(lambda: [r for r in kinds(Kind.EVENT) if r.body == "door opened"])[0]
    assert (event.severity, event.attributes["door"]) == (13, 2)
    health = build.until(lambda: [r for r in kinds(Kind.HEALTH) if r.attributes["requests"] == 5])
    wanted = {"latency_p50_ms", "latency_p99_ms", "rss_bytes", "cpu_share", "disk_free_bytes"}
    assert wanted <= set(health[-1].attributes)
    latency = merge(
        found
        for record in kinds(Kind.HEALTH)
        if (found := from_attributes("latency_s", record.attributes)) is not None
    )
    assert latency.count == 5
    assert 0 < latency.total < 5
    told = [record.attributes["interval.answered"] for record in kinds(Kind.HEALTH)]
    assert sum(told) == 5
    assert health[-1].attributes["telemetry.dropped"] == 0


def test_the_releases_sample_of_zero_records_no_predictions(
    start: Any, make_version: Any, build: Any, receiver: Any
) -> None:
    taken, url = receiver
    folder = make_version(
        1,
        {"fp32": lambda path: build.scaling(path, 2.0)},
        settings=DeviceSettings(telemetry_sample=0.0),
    )
    served = start(
        *("--version-dir", folder, "--precision", "fp32"),
        *("--telemetry-url", url, "--telemetry-interval-s", "0.1"),
        *("--telemetry-health-interval-s", "0.3"),
    )
    for _ in range(5):
        served.infer([1.0, 4.0, 2.0, 3.0])

    def health() -> list[TelemetryRecord]:
        return [r for r in list(taken) if r.attributes.get("requests") == 5]

    found = build.until(health)
    assert found[-1].attributes["telemetry.sampled_out"] == 5
    assert not [record for record in taken if record.kind is Kind.PREDICTION]


def test_records_wait_on_the_disk_through_a_kill_and_go_up_after_the_restart(
    start: Any, make_version: Any, build: Any, receiver: Any
) -> None:
    taken, url = receiver
    folder = make_version(1, {"fp32": lambda path: build.scaling(path, 2.0)})
    arguments = ("--version-dir", folder, "--precision", "fp32")
    first = start(*arguments)
    first.control("POST", "/control/event", {"body": "before the kill"})
    state = first.socket_path.parent

    def stored() -> bool:
        database = sqlite3.connect(state / "telemetry.db", timeout=10)
        try:
            rows = database.execute("SELECT body FROM records").fetchall()
        finally:
            database.close()
        return any(b"before the kill" in row[0] for row in rows)

    build.until(stored)
    os.kill(first.process.pid, signal.SIGKILL)
    first.process.wait(10)
    start(
        *arguments,
        *("--state-dir", state, "--telemetry-url", url, "--telemetry-interval-s", "0.1"),
    )
    build.until(lambda: any(r.body == "before the kill" for r in list(taken)))


def test_inputs_unlike_the_golden_ones_are_reported_as_drift(
    start: Any, make_version: Any, build: Any, receiver: Any
) -> None:
    taken, url = receiver
    folder = make_version(
        1, {"fp32": lambda path: build.scaling(path, 2.0)}, golden=build.scaling_golden(2.0)
    )
    served = start(
        *("--version-dir", folder, "--precision", "fp32"),
        *("--telemetry-url", url, "--telemetry-interval-s", "0.1"),
    )
    tensor = {"name": "x", "datatype": "FP32", "shape": [16, 4], "data": [9.0] * 64}

    def drift() -> list[TelemetryRecord]:
        status, _ = served.json("POST", "/v2/models/plates/infer", {"inputs": [tensor]})
        assert status == 200
        return [r for r in list(taken) if r.kind is Kind.DRIFT]

    found = build.until(drift)[0]
    assert found.severity == 13
    assert {"input.x.psi", "input.x[0].ks", "output.y.class.psi"} <= set(found.attributes)
    assert found.package.startswith("sha256:")


def test_the_release_says_what_of_a_prediction_leaves_the_device(
    start: Any, make_version: Any, build: Any, receiver: Any
) -> None:
    taken, url = receiver
    folder = make_version(
        1,
        {"fp32": lambda path: build.scaling(path, 2.0)},
        settings=DeviceSettings(record="input+output", redact=("input.x[1]", "score")),
    )
    served = start(
        *("--version-dir", folder, "--precision", "fp32"),
        *("--telemetry-url", url, "--telemetry-interval-s", "0.1"),
        *("--telemetry-health-interval-s", "0.2"),
    )
    served.infer([1.0, 4.0, 2.0, 3.0])
    served.json("POST", "/v2/models/plates/infer", {"inputs": []})
    found = build.until(lambda: [r for r in list(taken) if r.kind is Kind.PREDICTION])[0]
    assert found.attributes["input.x"] == "[[1.0,null,2.0,3.0]]"
    assert found.attributes["output.y"] == "[[2.0,8.0,4.0,6.0]]"
    assert "score" not in found.attributes
    health = build.until(
        lambda: [r for r in list(taken) if "errors.invalid_request" in r.attributes]
    )
    assert health[-1].attributes["errors.invalid_request"] == 1
    assert health[0].attributes["interval.failed"] == 1


def test_a_file_uplink_holds_whole_otlp_lines_after_a_kill(
    start: Any, make_version: Any, build: Any, tmp_path: Path
) -> None:
    folder = make_version(1, {"fp32": lambda path: build.scaling(path, 2.0)})
    path = tmp_path / "out" / "telemetry.jsonl"
    served = start(
        *("--version-dir", folder, "--precision", "fp32"),
        *("--telemetry-url", f"file://{path}", "--telemetry-interval-s", "0.05"),
    )

    def told() -> list[TelemetryRecord]:
        served.infer([1.0, 4.0, 2.0, 3.0])
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        return [r for line in lines if line.endswith(b"\n") for r in from_otlp(line)]

    build.until(lambda: sum(r.kind is Kind.PREDICTION for r in told()) >= 3)
    os.kill(served.process.pid, signal.SIGKILL)
    served.process.wait(10)
    lines = path.read_bytes().splitlines()
    ids = [record.id for line in lines for record in from_otlp(line)]
    assert len(ids) == len(set(ids))
