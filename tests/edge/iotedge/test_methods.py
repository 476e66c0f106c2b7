"""The direct methods of the module, as an operator's programs call them."""

from __future__ import annotations

import json
import logging

import pytest
from edge_device import EdgeDevice

from edge_components.iotedge.methods import MAX_ANSWER_BYTES, Journal, Methods


def test_ping_answers(device: EdgeDevice) -> None:
    device.start()
    device.until(desired=0)
    status, answer = device.hub.call("ping")
    assert status == 200
    assert answer["ok"] is True


@pytest.mark.slow
def test_status_tells_what_is_wanted_and_what_is_kept(device: EdgeDevice) -> None:
    device.start()
    device.install(1, "v1")
    one = device.install(2, "v2")
    status, answer = device.hub.call("status")
    assert status == 200
    assert answer["wanted"] == device.wanted(2, one)
    assert answer["report"]["current"] == 2
    assert answer["kept"] == [2, 1]
    assert answer["ready"] is True


@pytest.mark.slow
def test_rollback_goes_back_at_once_and_says_so(device: EdgeDevice) -> None:
    device.start()
    device.install(1, "v1")
    device.install(2, "v2")
    assert device.hub.call("rollback") == (202, {"release": 1})
    report = device.until(desired=2, phase="rolled_back", current=1)
    assert report["reason"] == "canceled"
    device.wait_answer("v1")


def test_what_was_left_by_hand_does_not_come_back_with_a_restart(device: EdgeDevice) -> None:
    device.start()
    device.install(1, "v1")
    two = device.install(2, "v2")
    device.hub.call("rollback")
    device.until(desired=2, phase="rolled_back", current=1)
    device.stop()
    device.start()
    device.hub.until(lambda: device.hub.connects == 2)
    device.wait_answer("v1")
    assert device.hub.call("status")[1]["wanted"] == device.wanted(2, two)
    assert device.hub.last()["current"] == 1
    device.install(3, "v3")


@pytest.mark.slow
def test_rollback_without_a_version_before_is_refused(device: EdgeDevice) -> None:
    device.start()
    device.install(1, "v1")
    assert device.hub.call("rollback")[0] == 409


@pytest.mark.slow
def test_logs_gives_the_last_lines(device: EdgeDevice) -> None:
    device.start()
    device.install(1, "v1")
    status, answer = device.hub.call("logs", {"tail": 5})
    assert status == 200
    assert 0 < len(answer["lines"]) <= 5
    assert device.hub.call("logs", {"tail": "many"})[0] == 400
    assert any("release 1 is wanted" in line for line in device.hub.call("logs")[1]["lines"])


def test_what_is_no_method_is_told_what_there_is(device: EdgeDevice) -> None:
    device.start()
    device.until(desired=0)
    status, answer = device.hub.call("Ping")
    assert status == 404
    assert answer["methods"] == ["ping", "status", "rollback", "logs"]


def test_no_answer_is_longer_than_a_hub_takes() -> None:
    journal = Journal()
    for _ in range(3000):
        journal.handle(logging.makeLogRecord({"msg": "x" * 5000, "levelno": logging.INFO}))
    methods = Methods(dict, lambda: 0, journal)
    status, answer = methods.answer("logs", b'{"tail": 100000}')
    assert status == 200
    assert 50_000 < len(json.dumps(answer)) < MAX_ANSWER_BYTES
