"""Telemetry through the nucleus: what is delivered, halved or kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edge_components.contract.telemetry import Kind, TelemetryRecord, from_otlp
from edge_components.telemetry.greengrass_sender import GreengrassSender
from edge_components.telemetry.queue import TelemetryQueue
from edge_components.telemetry.sender import Outcome, SenderError, UplinkSettings
from edge_components.telemetry.uplink import Uplink, make_sender

TOPIC = "edgectl/{thing}/parking/telemetry"


def _sender(url: str = f"greengrass-ipc:{TOPIC}") -> GreengrassSender:
    return GreengrassSender(UplinkSettings(url=url, read_timeout_s=5.0))


def test_a_batch_is_delivered_when_the_nucleus_has_it(service: Any) -> None:
    sender = _sender()
    assert sender.send(b'{"resourceLogs":[]}').outcome is Outcome.DELIVERED
    sender.close()
    topic = "edgectl/core-1/parking/telemetry"
    assert service.nucleus.published == [(topic, b'{"resourceLogs":[]}', "1")]


@pytest.mark.parametrize("name", ["UnauthorizedError", "ServiceError"])
def test_what_the_nucleus_refuses_is_kept_with_its_word(service: Any, name: str) -> None:
    service.nucleus.refusal = name
    sender = _sender()
    answer = sender.send(b"{}")
    sender.close()
    assert answer.outcome is Outcome.KEPT
    assert name in answer.why


def test_a_batch_that_is_too_long_is_to_be_halved(service: Any) -> None:
    sender = _sender()
    assert sender.send(b"x" * (128 << 10)).outcome is Outcome.DELIVERED
    assert sender.send(b"x" * ((128 << 10) + 1)).outcome is Outcome.POISON
    sender.close()
    small = _sender(f"greengrass-ipc:{TOPIC}?max_bytes=4000")
    assert small.send(b"x" * 4_001).outcome is Outcome.POISON
    small.close()


@pytest.mark.parametrize(
    "url",
    [
        "greengrass-ipc:",
        "greengrass-ipc:a/#",
        "greengrass-ipc:a/+/b",
        "greengrass-ipc:a?max_bytes=many",
    ],
)
def test_an_address_that_cannot_be_used_is_an_error(url: str) -> None:
    with pytest.raises(SenderError):
        _sender(url)


def test_the_things_name_is_needed_where_the_topic_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_IOT_THING_NAME", raising=False)
    with pytest.raises(SenderError, match="AWS_IOT_THING_NAME"):
        _sender()
    assert _sender("greengrass-ipc:plain/topic")


def test_the_scheme_leads_to_this_sender() -> None:
    found = make_sender(UplinkSettings(url="greengrass-ipc:plain/topic"))
    assert isinstance(found, GreengrassSender)


def test_records_wait_on_disk_while_the_nucleus_is_away_and_arrive(
    service: Any, tmp_path: Path
) -> None:
    service.stop()
    queue = TelemetryQueue(tmp_path / "queue.db", max_bytes=1 << 20, ttl_s=600.0)
    settings = UplinkSettings(url=f"greengrass-ipc:{TOPIC}", interval_s=0.05, read_timeout_s=5.0)
    uplink = Uplink(queue, settings)
    records = [
        TelemetryRecord(id=f"r{number}", kind=Kind.PREDICTION, time_unix_ns=1, device="core-1")
        for number in range(20)
    ]
    queue.put(records)
    uplink.start()
    service.start()
    assert service.nucleus.taken.wait(20)
    uplink.stop()
    assert len(queue) == 0
    queue.close()
    taken = [record for _, raw, _ in service.nucleus.published for record in from_otlp(raw)]
    assert {record.id for record in taken} == {record.id for record in records}


def test_another_uplink_does_not_import_the_sdk() -> None:
    code = (
        "import sys\n"
        "from edge_components.telemetry.uplink import make_sender\n"
        "from edge_components.telemetry.sender import UplinkSettings\n"
        "make_sender(UplinkSettings(url='file:///var/log/x.jsonl'))\n"
        "print('edge_components.greengrass' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
