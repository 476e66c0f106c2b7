"""The durable queue: order, budget, priority, and a disk that does not help."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_components.contract.telemetry import Kind, TelemetryRecord
from edge_components.telemetry.queue import PRIORITY, TelemetryQueue, _row

Make = Callable[..., TelemetryRecord]


def ids(queue: TelemetryQueue) -> list[str]:
    return [item.record.id for item in queue.peek(max_records=10_000, max_bytes=1 << 30)]


def test_records_come_back_oldest_first_and_events_before_predictions(
    queue: TelemetryQueue, record: Make
) -> None:
    queue.put([record(1), record(2), record(3, Kind.HEALTH), record(4, Kind.EVENT), record(5)])
    assert ids(queue) == ["r4", "r3", "r1", "r2", "r5"]


def test_acknowledged_records_are_gone_and_the_rest_stays(
    queue: TelemetryQueue, record: Make
) -> None:
    queue.put([record(number) for number in range(5)])
    batch = queue.peek(max_records=3, max_bytes=1 << 20)
    queue.ack([item.seq for item in batch])
    assert ids(queue) == ["r3", "r4"]
    assert len(queue) == 2


def test_a_batch_keeps_its_size_limit_but_is_never_empty(
    queue: TelemetryQueue, record: Make
) -> None:
    queue.put([record(number, body="a" * 1000) for number in range(5)])
    assert len(queue.peek(max_records=10, max_bytes=2500)) == 2
    assert len(queue.peek(max_records=10, max_bytes=1)) == 1


def test_records_survive_a_restart_with_their_content(
    tmp_path: Path, record: Make, unnumbered: Any
) -> None:
    path = tmp_path / "q.db"
    first = TelemetryQueue(path, max_bytes=1 << 20, ttl_s=3600)
    kept = record(1, Kind.EVENT, "Straße")
    first.put([kept])
    first.close()
    second = TelemetryQueue(path, max_bytes=1 << 20, ttl_s=3600)
    found = second.peek(max_records=9, max_bytes=1 << 20)
    assert unnumbered(item.record for item in found) == [kept]
    assert len(second) == 1
    assert second.size_bytes == first.size_bytes
    second.close()


def test_over_budget_the_oldest_of_the_lowest_priority_go_and_are_counted(
    tmp_path: Path, record: Make
) -> None:
    queue = TelemetryQueue(tmp_path / "q.db", max_bytes=20_000, ttl_s=3600)
    queue.put([record(1, Kind.EVENT, "a" * 3000), record(2, Kind.HEALTH, "a" * 3000)])
    queue.put([record(number, body="a" * 1000) for number in range(10, 40)])
    assert queue.size_bytes <= 20_000
    found = ids(queue)
    assert found[:2] == ["r1", "r2"]
    assert found[-1] == "r39"
    assert found[2:] == [f"r{number}" for number in range(40 - len(found[2:]), 40)]
    assert queue.drops == {"prediction.budget": 32 - len(found)}
    queue.put([record(number, Kind.EVENT, "a" * 3000) for number in range(50, 55)])
    assert [name for name in ids(queue) if name in {"r1", "r50", "r54"}] == ["r1", "r50", "r54"]
    queue.close()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    batches=st.lists(
        st.lists(st.tuples(st.sampled_from(list(Kind)), st.integers(0, 900)), max_size=12),
        max_size=8,
    )
)
def test_the_budget_holds_and_every_record_is_kept_or_counted(
    record: Make, batches: list[list[tuple[Kind, int]]]
) -> None:
    queue = TelemetryQueue(Path(":memory:"), max_bytes=4000, ttl_s=3600)
    number = 0
    expected: list[TelemetryRecord] = []  # the rule itself, on a list
    for batch in batches:
        records = [record(number + n, kind, "a" * size) for n, (kind, size) in enumerate(batch)]
        number += len(batch)
        queue.put(records)
        expected += records
        while sum(_row(kept)[2] for kept in expected) > 4000:
            expected.remove(min(expected, key=lambda r: (PRIORITY[r.kind], r.time_unix_ns)))
        assert queue.size_bytes == sum(_row(kept)[2] for kept in expected)
    expected.sort(key=lambda r: (-PRIORITY[r.kind], r.time_unix_ns))
    assert ids(queue) == [kept.id for kept in expected]
    assert queue.drops.total() == number - len(expected)
    queue.close()


def test_records_older_than_their_time_to_live_are_dropped_and_counted(
    tmp_path: Path, record: Make
) -> None:
    queue = TelemetryQueue(tmp_path / "q.db", max_bytes=1 << 20, ttl_s=0.0)
    queue.put([record(1), record(2, Kind.EVENT)])
    time.sleep(0.01)
    queue.expire()
    assert len(queue) == 0
    assert queue.drops == {"prediction.ttl": 1, "event.ttl": 1}
    queue.close()


def test_the_file_stays_near_its_budget(tmp_path: Path, record: Make) -> None:
    queue = TelemetryQueue(tmp_path / "q.db", max_bytes=200_000, ttl_s=3600)
    for start in range(0, 20_000, 500):
        queue.put([record(number, body="a" * 100) for number in range(start, start + 500)])
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert size < 200_000 * 2 + (3 << 20)
    queue.close()


def test_a_file_that_is_no_queue_is_set_aside(tmp_path: Path, record: Make) -> None:
    path = tmp_path / "q.db"
    path.write_bytes(b"this is not a database, certainly" * 100)
    queue = TelemetryQueue(path, max_bytes=1 << 20, ttl_s=3600)
    assert queue.put([record(1)])
    assert ids(queue) == ["r1"]
    assert (tmp_path / "q.db.broken").exists()
    queue.close()


def test_a_folder_that_cannot_be_written_leaves_a_queue_in_memory(record: Make) -> None:
    queue = TelemetryQueue(Path("/proc/none/q.db"), max_bytes=1 << 20, ttl_s=3600)
    assert queue.put([record(1)])
    assert ids(queue) == ["r1"]
    queue.close()


def test_a_full_disk_costs_predictions_and_is_counted_and_heals(
    tmp_path: Path, record: Make
) -> None:
    queue = TelemetryQueue(tmp_path / "q.db", max_bytes=1 << 30, ttl_s=3600)
    queue.put([record(number, body="a" * 1000) for number in range(50)])
    # SQLite's own limit gives the very error of a full disk.
    pages = queue._database.execute("PRAGMA page_count").fetchone()[0]
    queue._database.execute(f"PRAGMA max_page_count={pages}")
    lost = [record(number, body="b" * 4000) for number in range(100, 300)]
    assert queue.put(lost) is False
    assert queue.drops["prediction.disk"] >= 200
    assert queue.put([record(1000, Kind.EVENT, "after")]) is True
    assert ids(queue)[0] == "r1000"
    assert len(queue) == len(ids(queue))
    queue.close()


def test_a_broken_record_is_counted_and_does_not_block_the_others(
    tmp_path: Path, record: Make
) -> None:
    path = tmp_path / "q.db"
    queue = TelemetryQueue(path, max_bytes=1 << 20, ttl_s=3600)
    queue.put([record(1), record(2)])
    with sqlite3.connect(path) as other:
        other.execute("UPDATE records SET body = x'ff' WHERE seq = (SELECT min(seq) FROM records)")
    other.close()
    assert ids(queue) == ["r2"]
    assert queue.drops == {"prediction.unreadable": 1}
    assert len(queue) == 1
    queue.close()


WRITER = """
import sys
from pathlib import Path
from edge_components.contract.telemetry import Kind, TelemetryRecord
from edge_components.telemetry.queue import TelemetryQueue
queue = TelemetryQueue(Path(sys.argv[1]), max_bytes=1 << 28, ttl_s=3600)
number = 0
while True:
    batch = [
        TelemetryRecord(id=str(number + n), kind=Kind.PREDICTION, time_unix_ns=1, device="d",
                        body="a" * 200)
        for n in range(20)
    ]
    if queue.put(batch):
        number += 20
        print(number, flush=True)
"""


@pytest.mark.parametrize("lines", [1, 7, 30, 100])
def test_no_acknowledged_record_is_lost_by_sigkill(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "q.db"
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for _ in range(lines):
        process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    acknowledged = lines * 20
    for line in process.stdout:
        if line.endswith("\n"):
            acknowledged = int(line)
    process.wait(10)
    process.stdout.close()
    queue = TelemetryQueue(path, max_bytes=1 << 28, ttl_s=3600)
    batch = queue.peek(max_records=1 << 20, max_bytes=1 << 30)
    found = [int(item.record.id) for item in batch]
    assert found[:acknowledged] == list(range(acknowledged))
    assert len(found) == len(set(found))
    queue.close()


MOVER = """
import sys
from pathlib import Path
from edge_components.contract.telemetry import Kind, TelemetryRecord
from edge_components.telemetry.queue import TelemetryQueue
queue = TelemetryQueue(Path(sys.argv[1]), max_bytes=1 << 28, ttl_s=3600)
number = 0
while True:
    queue.put([
        TelemetryRecord(id=str(number + n), kind=Kind.EVENT, time_unix_ns=1 << 61, device="d")
        for n in range(20)
    ])
    number += 20
    print("put", number, flush=True)
    first = queue.peek(max_records=15, max_bytes=1 << 20)
    queue.ack([item.seq for item in first])
    print("ack", int(first[-1].record.id) + 1, flush=True)
"""


@pytest.mark.parametrize("lines", [2, 15, 40, 101])
def test_a_kill_between_or_in_any_two_steps_loses_nothing_and_returns_nothing_delivered(
    tmp_path: Path, lines: int
) -> None:
    path = tmp_path / "q.db"
    process = subprocess.Popen(
        [sys.executable, "-c", MOVER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(lines)]
    os.kill(process.pid, signal.SIGKILL)
    said += process.stdout.readlines()
    process.wait(10)
    process.stdout.close()
    reached = {"put": 0, "ack": 0}
    for line in said:
        if line.endswith("\n"):
            reached[line.split()[0]] = int(line.split()[1])
    queue = TelemetryQueue(path, max_bytes=1 << 28, ttl_s=3600)
    found = [int(name) for name in ids(queue)]
    queue.close()
    assert found == list(range(found[0], found[0] + len(found)))
    assert found[0] in {reached["ack"], reached["ack"] + 15}  # the last step may not be told
    assert found[-1] + 1 in {reached["put"], reached["put"] + 20}


FILLER = """
import resource, signal, sys
from pathlib import Path
from edge_components.contract.telemetry import Kind, TelemetryRecord
from edge_components.telemetry.queue import TelemetryQueue
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
queue = TelemetryQueue(Path(sys.argv[1]), max_bytes=1 << 28, ttl_s=3600)
for number in range(2000):
    record = TelemetryRecord(
        id=str(number), kind=Kind.EVENT, time_unix_ns=1 << 61, device="d", body="a" * 400
    )
    print(number if queue.put([record]) else "refused", flush=True)
print(queue.drops["event.disk"], flush=True)
"""


def test_a_disk_that_is_really_full_loses_only_what_it_refused_and_counts_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "q.db"
    done = subprocess.run(
        [sys.executable, "-c", FILLER, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    *said, counted = done.stdout.split()
    taken = [line for line in said if line != "refused"]
    assert 0 < len(taken) < len(said)
    assert int(counted) == said.count("refused")
    queue = TelemetryQueue(path, max_bytes=1 << 28, ttl_s=3600)
    assert ids(queue) == taken
    queue.close()


def test_two_threads_can_put_and_take(queue: TelemetryQueue, record: Make, until: Any) -> None:
    taken: list[str] = []

    def take() -> None:
        while len(taken) < 1000:
            batch = queue.peek(max_records=50, max_bytes=1 << 20)
            queue.ack([item.seq for item in batch])
            taken.extend(item.record.id for item in batch)

    thread = threading.Thread(target=take)
    thread.start()
    for start in range(0, 1000, 10):
        queue.put([record(number) for number in range(start, start + 10)])
    thread.join(20)
    assert sorted(taken, key=lambda name: int(name[1:])) == [f"r{n}" for n in range(1000)]


def test_losses_that_a_killed_process_had_not_told_are_counted_by_the_next(
    tmp_path: Path, record: Make
) -> None:
    def opened() -> TelemetryQueue:
        return TelemetryQueue(tmp_path / "q.db", max_bytes=5_000, ttl_s=3600)

    first = opened()
    first.put([record(number, body="a" * 1000) for number in range(10)])
    lost = first.drops["prediction.budget"]
    assert lost > 0
    second = opened()  # the first never closed its file, as if it was killed
    assert second.drops == {"prediction.budget": lost}
    second.put([record(20, Kind.HEALTH)], told=second.drops.copy())
    second.put([record(number, body="a" * 1000) for number in range(30, 32)])
    more = second.drops["prediction.budget"] - lost
    assert more > 0
    third = opened()
    assert third.drops == {"prediction.budget": more}
    for queue in (first, second, third):
        queue.close()


def test_starts_with_one_release_are_counted_over_processes_and_begin_anew_with_another(
    tmp_path: Path,
) -> None:
    def process(*releases: int) -> list[int]:
        queue = TelemetryQueue(tmp_path / "q.db", max_bytes=1 << 20, ttl_s=3600)
        found = [queue.begin(r, is_start=i == 0) for i, r in enumerate(releases)]
        queue.close()
        return found

    assert process(7) == [0]
    assert process(7, 7) == [1, 1]
    assert process(0, 7) == [0, 1]
    assert process(7, 8, 8) == [2, 0, 0]
    assert process(8) == [1]
