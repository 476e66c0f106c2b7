"""Telemetry's cost: records a second into the durable queue, an answer's share, an idle device.

The peer of the queue is a bare file in the same run, which gets the same encoded records in the
same batches, each written and synced to the disk, as simple durable loggers do; and the same file
without the sync. The queue keeps what it took through a kill of the process; a power cut may cost
it the last moments, as it may the second file.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np

from edge_components.contract.package import TensorSpec
from edge_components.contract.telemetry import Kind, TelemetryRecord
from edge_components.drift.features import features
from edge_components.telemetry.queue import TelemetryQueue
from edge_components.telemetry.recorder import Recorder, Subject

RECORDS, BATCH, IDLE_S, CALLS = 60_000, 500, 5.0, 20_000
SPECS = (TensorSpec(name="scores", datatype="FP32", shape=(-1, 10)),)
ANSWER = [np.linspace(0, 1, 10, dtype=np.float32)[None]]
QUESTION = {"x": np.zeros((1, 64), np.float32)}
MODEL = SimpleNamespace(
    identity=SimpleNamespace(
        name="digits", version="1", release=1, package="sha256:" + "0" * 64, precision="fp32"
    )
)


def batches() -> list[list[TelemetryRecord]]:
    """Return prediction records as a device makes them."""
    made = [
        TelemetryRecord(
            id=f"0123456789abcdef-{number:x}",
            kind=Kind.PREDICTION,
            time_unix_ns=1_760_000_000_000_000_000 + number,
            device="lot-7",
            application="digits",
            release=1,
            package=MODEL.identity.package,
            attributes={
                "model.name": "digits",
                "model.version": "1",
                "model.precision": "fp32",
                "latency_ms": 0.0417,
                "source": "http",
                "class": number % 10,
                "score": 0.93,
            },
        )
        for number in range(RECORDS)
    ]
    return [made[start : start + BATCH] for start in range(0, RECORDS, BATCH)]


def rate(
    put: Callable[[list[TelemetryRecord]], object], work: list[list[TelemetryRecord]]
) -> float:
    """Return records a second."""
    start = time.perf_counter()
    for batch in work:
        put(batch)
    return RECORDS / (time.perf_counter() - start)


def into_file(path: Path, work: list[list[TelemetryRecord]], *, sync: bool) -> float:
    """Append to a bare file."""
    with path.open("ab", buffering=0) as stream:

        def put(batch: Sequence[TelemetryRecord]) -> None:
            stream.write(b"".join(msgspec.msgpack.encode(record) for record in batch))
            if sync:
                os.fsync(stream.fileno())

        return rate(put, work)


def queue_at(path: Path) -> TelemetryQueue:
    return TelemetryQueue(path, max_bytes=256 << 20, ttl_s=3600)


def answer_cost_us(folder: Path) -> float:
    """Return what recording one answer costs the thread that answers."""
    queue = queue_at(folder / "calls.db")
    recorder = Recorder(queue, Subject(), max_predictions_per_s=500)
    recorder.start()
    start = time.thread_time()
    for _ in range(CALLS):
        recorder.prediction(MODEL, 0.00004, SPECS, ANSWER, "http", inputs=QUESTION)
    used = time.thread_time() - start
    recorder.stop()
    queue.close()
    return used / CALLS * 1e6


def sample_cost_us() -> float:
    """Return what one sample for drift costs; 20 a second are taken."""
    outputs = {"scores": ANSWER[0]}
    start = time.thread_time()
    for _ in range(2000):
        features(QUESTION, outputs)
    return (time.thread_time() - start) / 2000 * 1e6


def idle_share(folder: Path) -> float:
    """Return the share of a core that a recorder with nothing to do takes."""
    queue = queue_at(folder / "idle.db")
    recorder = Recorder(queue, Subject(), health=lambda: {"requests": 0})
    recorder.start()
    time.sleep(1.5)  # the first health record
    start = time.process_time()
    time.sleep(IDLE_S)
    used = time.process_time() - start
    recorder.stop()
    queue.close()
    return used / IDLE_S


def main() -> None:
    """Measure and print."""
    work = batches()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        synced = into_file(folder / "synced", work, sync=True)
        plain = into_file(folder / "plain", work, sync=False)
        queue = queue_at(folder / "queue.db")
        ours = rate(queue.put, work)
        queue.close()
        print(f"a file, synced a batch   {synced:9.0f} records/s")
        print(f"a file, not synced       {plain:9.0f} records/s")
        print(f"the queue                {ours:9.0f} records/s (at least 20,000 are wanted)")
        print(
            f"the queue takes {ours / synced:.2f} of the synced file,"
            f" {ours / plain:.2f} of the other"
        )
        print(f"recording an answer costs {answer_cost_us(folder):.2f} us where it is answered")
        sample = sample_cost_us()
        print(
            f"a sample for drift costs {sample:.0f} us,"
            f" 20 a second {sample * 20 / 1e4:.2f} % of a core"
        )
        print(f"an idle recorder takes {idle_share(folder):.3%} of a core")


if __name__ == "__main__":
    main()
