"""Whom a message goes to: as the filters say, and without looking at every device's filters."""

from __future__ import annotations

import sys
from types import FrameType

from hypothesis import given
from hypothesis import strategies as st

from edgectl.emulation.mqtt import Message, Session, topics
from edgectl_aws_greengrass.emulator.broker.switchboard import Switchboard

LEVELS = st.sampled_from(["$aws", "a", "b", ""])
TOPICS = st.lists(LEVELS, min_size=1, max_size=4).map("/".join)
FILTERS = st.tuples(
    st.lists(st.one_of(LEVELS, st.just("+")), min_size=1, max_size=4), st.booleans()
).map(lambda made: "/".join([*made[0], "#"] if made[1] else made[0]))


class Listener(Session):
    """A client that writes down what it is given."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.heard: list[str] = []

    def deliver(self, message: Message, qos: int) -> None:
        del qos
        self.heard.append(message.topic)


@given(st.lists(FILTERS, max_size=6, unique=True), st.lists(FILTERS, max_size=3), TOPICS)
def test_a_message_goes_to_whoever_has_a_filter_that_matches(
    kept: list[str], dropped: list[str], topic: str
) -> None:
    board = Switchboard(lambda session, name: True)
    clients = {name: Listener(name) for name in kept}
    for name, client in clients.items():
        board.subscribe(client, name, 1)
    for name in dropped:
        gone = Listener(name)
        board.subscribe(gone, name, 1)
        board.unsubscribe(gone, name)
    board.route(Message(topic=topic, payload=b"", qos=1))
    assert {n for n, c in clients.items() if c.heard} == {
        n for n in kept if topics.matches(n, topic)
    }


def steps_to_route(devices: int) -> int:
    """Return how many functions of ours a message to one of so many devices takes."""
    board = Switchboard(lambda session, name: True)
    for number in range(devices):
        client = Listener(str(number))
        board.subscribe(client, f"$aws/things/{number}/jobs/+/get/accepted", 1)
        board.subscribe(client, f"$aws/things/{number}/jobs/notify-next", 1)
    steps = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal steps
        steps += event == "call" and "edgectl" in frame.f_code.co_filename

    sys.setprofile(count)
    try:
        board.route(Message(topic="$aws/things/7/jobs/x/get/accepted", payload=b"", qos=1))
    finally:
        sys.setprofile(None)
    return steps


def test_a_message_costs_the_same_among_ten_devices_and_among_a_thousand() -> None:
    assert steps_to_route(1_000) == steps_to_route(10)
