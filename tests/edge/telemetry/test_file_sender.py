"""Telemetry to a file: whole lines, rotation by bytes, torn lines, full disks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_components.contract.telemetry import TelemetryRecord, from_otlp
from edge_components.telemetry.file_sender import FileSender
from edge_components.telemetry.queue import TelemetryQueue
from edge_components.telemetry.sender import Outcome, SenderError, UplinkSettings
from edge_components.telemetry.uplink import Uplink

Make = Callable[..., TelemetryRecord]


def sender(path: Path, query: str = "") -> FileSender:
    return FileSender(UplinkSettings(url=f"file://{path}{query}"))


def test_each_line_is_an_otlp_request_and_the_queue_empties(
    tmp_path: Path, queue: TelemetryQueue, record: Make, until: Any, unnumbered: Any
) -> None:
    path = tmp_path / "logs" / "telemetry.jsonl"
    sent = [record(number, body="a\nb") for number in range(700)]
    queue.put(sent)
    uplink = Uplink(queue, UplinkSettings(url=f"file://{path}", interval_s=0.05))
    uplink.start()
    until(lambda: len(queue) == 0)
    uplink.stop()
    lines = path.read_bytes().splitlines()
    assert len(lines) == 2
    assert unnumbered(found for line in lines for found in from_otlp(line)) == sent


def test_a_file_rotates_before_it_is_too_large_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    out = sender(path, "?max_bytes=25&keep=2")
    for number in range(8):
        assert out.send(b'{"n":%d}  ' % number).outcome is Outcome.DELIVERED
    found = {p.name: p.read_bytes().split() for p in tmp_path.iterdir()}
    assert found == {
        "t.jsonl": [b'{"n":6}', b'{"n":7}'],
        "t.jsonl.1": [b'{"n":4}', b'{"n":5}'],
        "t.jsonl.2": [b'{"n":2}', b'{"n":3}'],
    }


def test_a_batch_beyond_the_limit_stands_alone(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    out = sender(path, "?max_bytes=10&keep=0")
    out.send(b"1")
    out.send(b"x" * 50)
    assert path.read_bytes() == b"x" * 50 + b"\n"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("torn", [b'{"half', b"x" * 200_000])
def test_a_line_that_a_power_cut_tore_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(b'{"whole":1}\n' + torn)
    sender(path).send(b"{}")
    assert path.read_bytes() == b'{"whole":1}\n{}\n'


def test_a_file_of_one_torn_line_begins_again(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(b'{"half')
    sender(path).send(b"{}")
    assert path.read_bytes() == b"{}\n"


def test_a_place_that_cannot_be_written_keeps_everything(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    answer = sender(tmp_path / "file" / "t.jsonl").send(b"{}")
    assert answer.outcome is Outcome.KEPT
    assert "cannot be written" in answer.why


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("file:relative.jsonl", "absolute"),
        ("file://elsewhere/t.jsonl", "absolute"),
        ("file:///t.jsonl?max_bytes=-1", "max_bytes"),
    ],
)
def test_an_address_that_names_no_file_is_refused(url: str, what: str) -> None:
    with pytest.raises(SenderError, match=what):
        FileSender(UplinkSettings(url=url))
