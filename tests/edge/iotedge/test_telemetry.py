"""Telemetry of the runtime through the module to edgeHub: the queue stays in front of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from edge_device import EdgeDevice

from edge_components.contract.telemetry import Kind, TelemetryRecord, from_otlp, to_otlp
from edge_components.iotedge.local import MAX_MESSAGE_BYTES, SOCKET_VARIABLE
from edge_components.telemetry.edgehub_sender import EdgeHubSender
from edge_components.telemetry.queue import TelemetryQueue
from edge_components.telemetry.sender import Outcome, SenderError, UplinkSettings
from edge_components.telemetry.uplink import Uplink, make_sender


def record(number: int, *, body: str = "") -> TelemetryRecord:
    return TelemetryRecord(
        id=f"r{number}",
        kind=Kind.EVENT,
        time_unix_ns=1_790_000_000 * 10**9 + number,
        device="gate-7",
        application="plates",
        body=body,
    )


@pytest.fixture
def sender(device: EdgeDevice, monkeypatch: pytest.MonkeyPatch) -> Iterator[EdgeHubSender]:
    monkeypatch.setenv(SOCKET_VARIABLE, str(device.state_dir / "edgehub.sock"))
    found = make_sender(UplinkSettings(url="edgehub:telemetry", read_timeout_s=5.0))
    assert isinstance(found, EdgeHubSender)
    yield found
    found.close()


def test_a_batch_leaves_by_the_modules_output_as_json(
    device: EdgeDevice, sender: EdgeHubSender
) -> None:
    device.start()
    device.until(desired=0)
    assert sender.send(to_otlp([record(1), record(2)])).outcome is Outcome.DELIVERED
    output, properties, body = device.hub.events[0]
    assert output == "telemetry"
    assert properties == {"$.ct": "application/json", "$.ce": "utf-8"}
    assert [found.id for found in from_otlp(body)] == ["r1", "r2"]


@pytest.mark.slow
def test_what_edgehub_does_not_acknowledge_is_kept(
    device: EdgeDevice, sender: EdgeHubSender
) -> None:
    device.start()
    device.until(desired=0)
    device.hub.takes_events = False
    answer = sender.send(to_otlp([record(1)]))
    assert answer.outcome is Outcome.KEPT
    assert "acknowledge" in answer.why
    device.hub.takes_events = True
    assert sender.send(to_otlp([record(1)])).outcome is Outcome.DELIVERED


@pytest.mark.slow
def test_without_a_module_or_a_connection_it_is_kept(
    device: EdgeDevice, sender: EdgeHubSender
) -> None:
    assert sender.send(b"{}").outcome is Outcome.KEPT
    device.hub.workload.refuses = True
    device.start()
    deadline = time.monotonic() + 10
    while "module not found" not in device.tail():
        assert time.monotonic() < deadline, device.tail()
        time.sleep(0.01)
    answer = sender.send(b"{}")
    assert answer.outcome is Outcome.KEPT
    assert "not connected" in answer.why


@pytest.mark.slow
def test_a_batch_longer_than_a_message_is_halved_by_whoever_sends(
    device: EdgeDevice, sender: EdgeHubSender
) -> None:
    device.start()
    device.until(desired=0)
    answer = sender.send(b"x" * (MAX_MESSAGE_BYTES + 1))
    assert answer.outcome is Outcome.POISON
    assert sender.send(b"x" * MAX_MESSAGE_BYTES).outcome is Outcome.DELIVERED


def test_nothing_is_lost_while_the_module_is_killed_and_edgehub_is_cut(
    device: EdgeDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SOCKET_VARIABLE, str(device.state_dir / "edgehub.sock"))
    device.start()
    device.until(desired=0)
    queue = TelemetryQueue(tmp_path / "queue", max_bytes=1 << 20, ttl_s=3600.0)
    settings = UplinkSettings(url="edgehub:telemetry", interval_s=0.05, read_timeout_s=3.0)
    uplink = Uplink(queue, settings)
    uplink.start()

    def came(number: int) -> bool:
        found = {one.id for _, _, body in tuple(device.hub.events) for one in from_otlp(body)}
        return f"r{number}" in found

    for number in range(1, 31):
        queue.put([record(number)])
        if number == 10:
            device.hub.until(lambda: came(10))
            device.kill()
            device.start()
        if number == 20:
            device.hub.until(lambda: came(20))
            device.hub.cut()
    device.hub.until(lambda: all(came(number) for number in range(1, 31)), 20)
    uplink.stop()
    queue.close()


@pytest.mark.parametrize("url", ["edgehub:a/b", "edgehub:" + "x" * 80, "edgehub:a b"])
def test_a_name_that_no_output_has_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SOCKET_VARIABLE, "/nowhere")
    with pytest.raises(SenderError, match="output"):
        make_sender(UplinkSettings(url=url))


def test_outside_a_module_the_reason_is_told() -> None:
    with pytest.raises(SenderError, match="edge-module"):
        make_sender(UplinkSettings(url="edgehub:telemetry"))


@pytest.mark.slow
def test_a_hand_over_is_one_line_and_a_body(device: EdgeDevice, sender: EdgeHubSender) -> None:
    device.start()
    device.until(desired=0)
    assert sender.send(json.dumps({"n": 1}).encode() + b"\n" * 3).outcome is Outcome.DELIVERED
    assert sender.send(b"{}").outcome is Outcome.DELIVERED
    assert [body for _, _, body in device.hub.events] == [b'{"n": 1}\n\n\n', b"{}"]
