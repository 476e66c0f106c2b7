"""The uplink against a receiver that fails: nothing is lost, poison is isolated."""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from edge_components.contract.telemetry import Kind, TelemetryRecord
from edge_components.telemetry.http_sender import classify
from edge_components.telemetry.queue import TelemetryQueue
from edge_components.telemetry.sender import Outcome, UplinkSettings
from edge_components.telemetry.uplink import Uplink, backoff_s

Make = Callable[..., TelemetryRecord]


@pytest.fixture
def uplink(queue: TelemetryQueue, receiver: Any) -> Iterator[Uplink]:
    settings = UplinkSettings(url=receiver.url, authorization="Bearer t", interval_s=0.05)
    found = Uplink(queue, settings)
    yield found
    found.stop()


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.DELIVERED),
        (204, Outcome.DELIVERED),
        (302, Outcome.KEPT),
        (400, Outcome.POISON),
        (401, Outcome.KEPT),
        (403, Outcome.KEPT),
        (404, Outcome.KEPT),
        (408, Outcome.KEPT),
        (413, Outcome.POISON),
        (422, Outcome.POISON),
        (429, Outcome.KEPT),
        (500, Outcome.KEPT),
        (503, Outcome.KEPT),
    ],
)
def test_what_an_answer_means(status: int, outcome: Outcome) -> None:
    assert classify(status) is outcome


def test_backoff_grows_to_a_minute_and_is_jittered() -> None:
    waits = [backoff_s(failures, 1.0, 1.0) for failures in range(1, 10)]
    assert waits == sorted(waits)
    assert waits[-1] == 60.0
    assert backoff_s(3, 1.0, 0.0) == backoff_s(3, 1.0, 1.0) / 2


def test_records_arrive_with_their_content_and_leave_the_queue(
    queue: TelemetryQueue,
    receiver: Any,
    uplink: Uplink,
    record: Make,
    until: Any,
    unnumbered: Any,
) -> None:
    sent = [record(1, Kind.EVENT, "hello"), record(2)]
    queue.put(sent)
    uplink.start()
    until(lambda: len(receiver.taken) == 2 and len(queue) == 0)
    assert unnumbered(receiver.taken) == sent
    assert receiver.requests[0]["path"] == "/v1/logs"
    assert receiver.requests[0]["Authorization"] == "Bearer t"
    assert receiver.requests[0]["Content-Encoding"] == "gzip"
    assert uplink.sent == 2


def test_a_receiver_that_fails_now_and_then_gets_everything_in_the_end(
    queue: TelemetryQueue, receiver: Any, uplink: Uplink, record: Make, until: Any
) -> None:
    chooser = random.Random(3)
    receiver.decide = lambda _: chooser.choice([200, 200, 503, 500, 0])
    queue.put([record(number) for number in range(3000)])
    uplink.start()
    until(lambda: len(queue) == 0, seconds=40)
    assert set(receiver.ids) == {f"r{number}" for number in range(3000)}


def test_a_poisoned_record_is_dropped_alone_and_counted(
    queue: TelemetryQueue, receiver: Any, uplink: Uplink, record: Make, until: Any
) -> None:
    poison = {"r3", "r77"}
    receiver.decide = lambda records: 400 if poison & {r.id for r in records} else 200
    queue.put([record(number) for number in range(100)])
    uplink.start()
    until(lambda: len(queue) == 0)
    assert set(receiver.ids) == {f"r{number}" for number in range(100)} - poison
    assert queue.drops == {"prediction.refused": 2}


def test_a_wrong_token_keeps_everything_until_it_is_right(
    queue: TelemetryQueue, receiver: Any, uplink: Uplink, record: Make, until: Any
) -> None:
    receiver.decide = lambda _: 401
    queue.put([record(number) for number in range(10)])
    uplink.start()
    until(lambda: uplink.failures >= 2)
    assert len(queue) == 10
    assert "401" in uplink.last_error
    receiver.decide = lambda _: 200
    until(lambda: len(queue) == 0)
    assert len(receiver.taken) == 10


def test_no_receiver_at_all_keeps_everything(
    queue: TelemetryQueue, record: Make, until: Any
) -> None:
    uplink = Uplink(queue, UplinkSettings(url="http://127.0.0.1:9/v1/logs", interval_s=0.05))
    queue.put([record(1)])
    uplink.start()
    until(lambda: uplink.failures >= 2)
    assert len(queue) == 1
    uplink.stop()


def test_stopping_sends_what_is_left_once_more(
    queue: TelemetryQueue, receiver: Any, record: Make
) -> None:
    uplink = Uplink(queue, UplinkSettings(url=receiver.url, interval_s=60.0))
    uplink.start()
    queue.put([record(1)])
    uplink.stop()
    assert receiver.ids == ["r1"]


def test_a_broken_url_does_not_end_the_thread(
    queue: TelemetryQueue, record: Make, until: Any
) -> None:
    uplink = Uplink(queue, UplinkSettings(url="nonsense://", interval_s=0.05))
    queue.put([record(1)])
    uplink.start()
    until(lambda: uplink.failures >= 2)
    assert len(queue) == 1
    uplink.stop()


@pytest.mark.parametrize("password", ["pass#word", "pass/word", "pass?word"])
def test_an_address_that_cannot_be_read_is_not_repeated_with_its_password(
    queue: TelemetryQueue, record: Make, until: Any, password: str
) -> None:
    url = f"http://device:{password}@receiver.invalid:1/v1/logs"
    uplink = Uplink(queue, UplinkSettings(url=url, interval_s=0.05))
    queue.put([record(1)])
    uplink.start()
    until(lambda: uplink.failures >= 1)
    uplink.stop()
    assert "pass" not in uplink.last_error


def test_a_receiver_that_wants_a_client_certificate_gets_it(
    queue: TelemetryQueue, receiver: Any, record: Make, until: Any, authority: Any
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.path)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(*authority.issue("receiver"))
    receiver.server.socket = context.wrap_socket(receiver.server.socket, server_side=True)
    url = receiver.url.replace("http://", "https://")
    certificate, key = map(str, authority.issue("lot-7"))
    queue.put([record(1)])
    closed = Uplink(queue, UplinkSettings(url=url, ca=str(authority.path), interval_s=0.05))
    closed.start()
    until(lambda: closed.failures >= 1)
    closed.stop()
    assert len(queue) == 1
    settings = UplinkSettings(
        url=url, ca=str(authority.path), certificate=certificate, key=key, interval_s=0.05
    )
    allowed = Uplink(queue, settings)
    allowed.start()
    until(lambda: receiver.ids == ["r1"] and len(queue) == 0)
    allowed.stop()
