from __future__ import annotations

from pathlib import Path

import pytest

from edgectl.api import Kind, NotFoundError, ProviderError, TelemetryRecord, to_otlp
from edgectl.otlpfiles import read_otlp_files as read_page


def record(number: int, device: str = "cam-1") -> TelemetryRecord:
    return TelemetryRecord(
        id=f"r{number:04d}",
        kind=Kind.PREDICTION,
        time_unix_ns=number * 10,
        device=device,
        application="plates",
    )


def write(path: Path, *batches: list[int]) -> None:
    lines = [to_otlp([record(n) for n in batch]) + b"\n" for batch in batches]
    path.write_bytes(b"".join(lines))


def pages(pattern: str, limit: int) -> list[list[int]]:
    found, cursor = [], ""
    while True:
        records, cursor = read_page(pattern, wanted=lambda _r: True, cursor=cursor, limit=limit)
        found.append([r.time_unix_ns // 10 for r in records])
        if not cursor:
            return found


def test_records_of_all_files_come_oldest_first_and_once(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", [5, 1], [3])
    write(tmp_path / "a.jsonl", [2], [4, 1])
    assert pages(str(tmp_path / "*.jsonl"), 2) == [[1, 2], [3, 4], [5]]


def test_pages_of_any_size_hold_every_record(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", list(range(40, 0, -1)))
    for limit in (1, 7, 40, 100):
        found = [n for page in pages(str(tmp_path / "a.jsonl"), limit) for n in page]
        assert found == list(range(1, 41))


def test_a_line_in_the_making_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write(path, [1])
    with path.open("ab") as file:
        file.write(to_otlp([record(2)])[:-5])
    assert pages(str(path), 10) == [[1]]


def test_what_is_not_wanted_does_not_come(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", [1, 2, 3])
    records, _ = read_page(
        str(tmp_path / "a.jsonl"), wanted=lambda r: r.id == "r0002", cursor="", limit=10
    )
    assert [r.id for r in records] == ["r0002"]


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'\n{"resourceLogs": 5}\n')
    with pytest.raises(ProviderError, match=r"line 2 of the telemetry file '.*a\.jsonl'"):
        pages(str(tmp_path / "a.jsonl"), 10)


def test_a_pattern_that_finds_nothing_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no telemetry file matches"):
        pages(str(tmp_path / "*.jsonl"), 10)
