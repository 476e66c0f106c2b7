"""The built-in endpoint's log, and the index that queries see: positions, retention, lag."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgectl_azure_iot_edge.emulator.events import EventLog
from edgectl_azure_iot_edge.emulator.hub.index import Index
from edgectl_azure_iot_edge.emulator.hub.registry import Registry

START = datetime(2026, 1, 1, tzinfo=UTC)


class Time:
    """The account's time, which a test moves."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def filled(time: Time, count: int, **settings: timedelta) -> tuple[EventLog, int]:
    log = EventLog(now=time, **settings)
    for number in range(count):
        log.append("d", str(number).encode(), annotations={})
        time.move(1)
    return log, log.partition_of("d")


def bodies(log: EventLog, partition: int, start: int) -> list[int]:
    return [int(event.body) for event in log.read(partition, start)]


def test_sequence_numbers_and_offsets_rise() -> None:
    log, partition = filled(Time(), 5)
    events = log.read(partition, 0)
    assert [event.sequence_number for event in events] == [0, 1, 2, 3, 4]
    offsets = [int(event.offset) for event in events]
    assert offsets == sorted(set(offsets))
    assert log.state(partition).last_offset == events[-1].offset


def test_reading_begins_where_it_is_told_to() -> None:
    time = Time()
    log, partition = filled(time, 6)
    second = log.read(partition, 0)[2]
    assert bodies(log, partition, 3) == [3, 4, 5]
    behind = log.after_offset(partition, second.offset, inclusive=False)
    at = log.after_offset(partition, second.offset, inclusive=True)
    later = log.after_time(partition, second.enqueued_at)
    assert (behind, at, later) == (3, 2, 3)
    assert log.after_offset(partition, "-1", inclusive=False) == 0
    assert log.after_time(partition, time.now) == 6


def test_what_is_too_old_is_gone_and_numbers_go_on() -> None:
    time = Time()
    log, partition = filled(time, 6, retention=timedelta(seconds=3))
    state = log.state(partition)
    assert (state.begin, state.next) == (3, 6)
    assert bodies(log, partition, 0) == [3, 4, 5]
    time.move(60)
    assert (log.state(partition).begin, bodies(log, partition, 0)) == (6, [])
    assert log.append("d", b"6", annotations={}).sequence_number == 6


def test_a_partition_that_is_not_there_is_an_error() -> None:
    log, _ = filled(Time(), 1)
    with pytest.raises(IndexError):
        log.read(log.partitions, 0)


def test_a_reader_that_waits_is_woken() -> None:
    log, partition = filled(Time(), 1)
    woken: list[bool] = []
    reader = threading.Thread(target=lambda: woken.append(log.wait(partition, 1, 20.0)))
    reader.start()
    log.append("d", b"1", annotations={})
    reader.join(20)
    assert woken == [True]
    assert not log.wait(partition, 2, 0.0)


@given(st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), max_size=40))
def test_each_devices_messages_are_in_one_partition_in_their_order(devices: list[str]) -> None:
    log = EventLog(now=Time())
    for number, device in enumerate(devices):
        log.append(device, str(number).encode(), annotations={})
    for device in set(devices):
        found = [
            int(event.body)
            for event in log.read(log.partition_of(device), 0)
            if event.annotations["iothub-connection-device-id"] == device
        ]
        assert found == [number for number, name in enumerate(devices) if name == device]


def test_queries_may_see_what_was_a_moment_ago() -> None:
    time = Time()
    registry = Registry(time, lambda: None)
    clock = [0.0]
    index = Index(registry, 2.0, lambda: clock[0])
    assert index.documents("devices") == []
    registry.put_device("d", {"deviceId": "d"}, None)
    assert index.documents("devices") == []
    clock[0] = 2.0
    assert [d["deviceId"] for d in index.documents("devices")] == ["d"]
