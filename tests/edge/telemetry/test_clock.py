"""A device whose clock jumps: its records keep their order, are dated again, and are marked."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edge_components.contract.telemetry import Kind, TelemetryRecord, from_otlp, to_otlp
from edge_components.telemetry.clock import Clock, Moment, dated
from edge_components.telemetry.queue import TelemetryQueue
from edge_components.telemetry.recorder import Recorder, Subject

Make = Callable[..., TelemetryRecord]
IN_2026 = 1_790_000_000.0


class Hand(Clock):
    """A clock that is set by hand; ``up`` is the time since the start."""

    def __init__(self, unix_s: float, *, boot: str = "a", up: float = 10.0) -> None:
        self.time = unix_s
        self.up = up
        self.boot = boot

    def pass_s(self, seconds: float) -> None:
        self.time += seconds
        self.up += seconds

    def unix_s(self) -> float:
        return self.time

    def now(self) -> Moment:
        return Moment(self.boot, self.time - self.up)


def at(record: Make, number: int, unix_s: float) -> TelemetryRecord:
    return msgspec.structs.replace(record(number), time_unix_ns=int(unix_s * 1e9))


def queue_with(path: Path, clock: Clock, **more: Any) -> TelemetryQueue:
    return TelemetryQueue(path, max_bytes=1 << 20, clock=clock, **{"ttl_s": 86_400.0, **more})


def sent(queue: TelemetryQueue) -> list[TelemetryRecord]:
    batch = queue.peek(max_records=100, max_bytes=1 << 20)
    return from_otlp(to_otlp(item.record for item in batch))


def test_records_of_1970_get_their_date_once_the_clock_is_set_and_say_so(
    tmp_path: Path, record: Make
) -> None:
    clock = Hand(60.0)
    queue = queue_with(tmp_path / "q.db", clock)
    queue.put([at(record, 1, clock.time)])
    clock.pass_s(100)
    clock.time += IN_2026
    queue.put([at(record, 2, clock.time)])
    first, second = sent(queue)
    queue.close()
    assert first.queued_unix_ns == first.time_unix_ns
    assert second.queued_unix_ns == int(clock.time * 1e9)
    assert first.time_unix_ns / 1e9 == pytest.approx(IN_2026 + 60, abs=1e-3)
    assert first.attributes == {"clock.shift_s": IN_2026}
    assert (second.time_unix_ns / 1e9, second.attributes) == (clock.time, {})
    assert second.sequence == first.sequence + 1


def test_records_of_the_future_are_brought_back(tmp_path: Path, record: Make) -> None:
    clock = Hand(IN_2026 + 1e9)
    queue = queue_with(tmp_path / "q.db", clock)
    queue.put([at(record, 1, clock.time)])
    clock.time = IN_2026
    (found,) = sent(queue)
    queue.close()
    assert found.time_unix_ns / 1e9 == pytest.approx(IN_2026)
    assert found.attributes["clock.shift_s"] == -1e9


def test_an_impossible_date_of_an_earlier_start_is_marked_and_left(
    tmp_path: Path, record: Make
) -> None:
    queue = queue_with(tmp_path / "q.db", Hand(60.0))
    queue.put([at(record, 1, 60.0)])
    queue.close()
    later = queue_with(tmp_path / "q.db", Hand(IN_2026, boot="b"))
    (found,) = sent(later)
    later.close()
    assert (found.time_unix_ns, found.attributes) == (60 * 10**9, {"clock.suspect": True})


def test_the_sequence_rises_over_restarts_whatever_the_clock_says(
    tmp_path: Path, record: Make
) -> None:
    numbers = []
    for start, unix_s in enumerate((IN_2026, 60.0, IN_2026 * 2)):
        queue = queue_with(tmp_path / "q.db", Hand(unix_s, boot=str(start)))
        queue.put([at(record, start, unix_s)])
        numbers.append(sent(queue)[-1].sequence)
        queue.ack([item.seq for item in queue.peek(max_records=9, max_bytes=1 << 20)])
        queue.close()
    assert numbers == sorted(set(numbers))


def test_a_new_queue_counts_on_above_a_lost_one(tmp_path: Path, record: Make) -> None:
    path = tmp_path / "q.db"
    first = queue_with(path, Hand(IN_2026))
    first.put([record(n) for n in range(50)])
    before = sent(first)[-1].sequence
    first.close()
    path.unlink()
    second = queue_with(path, Hand(IN_2026 + 60))
    second.put([record(99)])
    assert sent(second)[0].sequence > before
    second.close()


@pytest.mark.parametrize("jump", [IN_2026, -3e8, 3e9])
def test_a_clock_that_is_set_does_not_make_records_too_old(
    tmp_path: Path, record: Make, jump: float
) -> None:
    clock = Hand(5e8 if jump == IN_2026 else IN_2026)
    queue = queue_with(tmp_path / "q.db", clock)
    queue.put([at(record, 1, clock.time)])
    clock.time += jump
    clock.pass_s(3600)
    queue.expire()
    assert len(queue) == 1
    clock.pass_s(86_400)
    queue.expire()
    assert (len(queue), queue.drops) == (0, {"prediction.ttl": 1})
    queue.close()


def test_records_of_1970_wait_over_a_restart_for_the_budget_and_not_for_their_age(
    tmp_path: Path, record: Make
) -> None:
    queue = queue_with(tmp_path / "q.db", Hand(60.0))
    queue.put([at(record, 1, 60.0)])
    queue.close()
    later = queue_with(tmp_path / "q.db", Hand(IN_2026, boot="b"))
    later.expire()
    assert len(later) == 1
    later.close()


def test_small_corrections_of_a_time_server_change_nothing(record: Make) -> None:
    original = at(record, 1, IN_2026)
    assert dated(original, Moment("a", 100.0), Moment("a", 101.5)) is original


def test_without_a_name_for_the_start_nothing_is_dated_again(record: Make) -> None:
    original = at(record, 1, IN_2026)
    assert dated(original, Moment("", 1.0), Moment("", 1e9)) is original


def test_a_queue_of_an_earlier_program_is_brought_up_to_date(tmp_path: Path, record: Make) -> None:
    path = tmp_path / "q.db"
    old = sqlite3.connect(path)
    old.execute(
        "CREATE TABLE records (seq INTEGER PRIMARY KEY AUTOINCREMENT, priority INTEGER NOT NULL,"
        " kind TEXT NOT NULL, stored_at REAL NOT NULL, size INTEGER NOT NULL, body BLOB NOT NULL)"
    )
    body = msgspec.msgpack.encode(record(1))
    old.execute("INSERT INTO records VALUES (7, 0, 'prediction', ?, 100, ?)", (IN_2026, body))
    old.commit()
    old.close()
    queue = queue_with(path, Hand(IN_2026))
    queue.put([record(2)])
    assert [(found.id, found.sequence) for found in sent(queue)] == [("r1", 7), ("r2", 8)]
    queue.close()


def test_a_jump_becomes_an_event(tmp_path: Path, until: Any) -> None:
    clock = Hand(60.0)
    queue = queue_with(tmp_path / "q.db", clock)
    recorder = Recorder(queue, Subject(device="d"), clock=clock)
    recorder.start()
    clock.time += 1e9
    events = until(lambda: [r for r in sent(queue) if r.kind is Kind.EVENT])
    recorder.stop()
    queue.close()
    assert events[0].body == "the clock was set by +1000000000 s"
    assert events[0].attributes["clock.jump_s"] == 1e9


def test_the_real_clocks_agree_with_themselves() -> None:
    clock = Clock()
    first, second = clock.now(), clock.now()
    assert first.boot == second.boot
    assert abs(first.offset_s - second.offset_s) < 1
