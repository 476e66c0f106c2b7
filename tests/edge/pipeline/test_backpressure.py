"""The queue's policies: what waits, what is left out, and that nothing is lost uncounted."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_components.contract.pipeline import CameraSource, Pipeline, Queue
from edge_components.pipeline.backpressure import WaitingRoom
from edge_components.pipeline.reading import Outcome, Reading


class Room:
    """A room that remembers what became of readings."""

    def __init__(self, **settings: Any) -> None:
        self.counts: Counter[str] = Counter()
        self.outcomes: dict[str, Outcome] = {}
        self.lengths: list[int] = []
        self.room = WaitingRoom(Queue(**settings), self.count, self.lengths.append)

    def count(self, what: str) -> None:
        self.counts[what] += 1

    def put(self, name: str, *, wait: bool = False) -> bool:
        def done(outcome: Outcome, _: str) -> None:
            self.outcomes[name] = outcome

        return self.room.put(Reading(name, b"", done=done), wait=wait)

    def take(self) -> str | None:
        reading = self.room.take(0)
        return None if reading is None else reading.name


def test_readings_come_out_in_their_order() -> None:
    room = Room(length=3)
    assert [room.put(name) for name in "abc"] == [True] * 3
    assert [room.take() for _ in range(4)] == ["a", "b", "c", None]
    assert room.lengths[:3] == [1, 2, 3]


def test_block_makes_who_brings_wait_until_there_is_room() -> None:
    room = Room(policy="block", length=1)
    room.put("a")
    thread = threading.Thread(target=room.put, args=("b",), kwargs={"wait": True})
    thread.start()
    assert thread.is_alive()
    assert room.take() == "a"
    thread.join(10)
    assert room.take() == "b"
    assert room.counts["blocked"] == 1
    assert room.outcomes == {}


def test_block_tells_who_cannot_wait_that_it_is_full() -> None:
    room = Room(policy="block", length=1)
    assert room.put("a")
    assert not room.put("b")
    assert room.outcomes == {}


def test_drop_oldest_keeps_the_newest() -> None:
    room = Room(policy="drop_oldest", length=2)
    assert all(room.put(name) for name in "abcd")
    assert [room.take(), room.take()] == ["c", "d"]
    assert room.counts == {"dropped_oldest": 2}
    assert room.outcomes == {"a": Outcome.DROPPED, "b": Outcome.DROPPED}


def test_sample_thins_from_half_full_on_and_takes_none_when_full() -> None:
    room = Room(policy="sample", length=4, every=3)
    taken = [room.put(str(number)) for number in range(12)]
    assert taken == [True, True, False, False, True, False, False, True, *[False] * 4]
    assert room.counts == {"sampled_out": 4, "dropped_full": 4}
    while room.take():
        pass
    assert room.put("again")


def test_closing_lets_go_of_who_waits_and_gives_back_what_waits() -> None:
    room = Room(policy="block", length=1)
    room.put("a")
    thread = threading.Thread(target=room.put, args=("b",), kwargs={"wait": True})
    thread.start()
    assert [reading.name for reading in room.room.close()] == ["a"]
    thread.join(10)
    assert not thread.is_alive()
    assert not room.put("c")


@given(
    st.sampled_from(["drop_oldest", "sample"]),
    st.integers(1, 5),
    st.lists(st.booleans(), max_size=60),
)
def test_every_reading_is_answered_counted_or_waits(
    policy: Any, length: int, moves: list[bool]
) -> None:
    room = Room(policy=policy, length=length, every=2)
    brought = answered = 0
    for is_put in moves:
        if is_put:
            room.put(str(brought))
            brought += 1
        elif room.take() is not None:
            answered += 1
        assert len(room.room) <= length
    dropped = sum(outcome is Outcome.DROPPED for outcome in room.outcomes.values())
    assert brought == answered + dropped + len(room.room)
    assert dropped == room.counts.total()


@pytest.mark.parametrize(
    ("source", "policy"),
    [
        (None, "block"),
        (CameraSource(url="rtsp://c"), "drop_oldest"),
        (CameraSource(url="/v.mp4", at_end="stop"), "block"),
    ],
)
def test_the_policy_that_suits_the_source_is_the_default(source: Any, policy: str) -> None:
    assert Pipeline(source=source).waiting_room.policy == policy
