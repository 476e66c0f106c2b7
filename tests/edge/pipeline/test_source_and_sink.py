"""The directory source and sink: whole files only, in order, within the budget."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from edge_components.contract.pipeline import DirectorySink, DirectorySource
from edge_components.pipeline.reading import Outcome
from edge_components.pipeline.sinks.directory import DirectoryWriter
from edge_components.pipeline.sources.directory import DirectoryReader, is_candidate


def reader(tmp_path: Path, **more: Any) -> DirectoryReader:
    folder = tmp_path / "inbox"
    source = DirectorySource(path=str(folder), **more)
    return DirectoryReader(source, folder, tmp_path / "state" / "seen")


def drop(folder: Path, name: str, *, age_s: float = 10.0) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(b"x")
    moment = time.time() - age_s
    os.utime(path, (moment, moment))
    return path


def names(source: DirectoryReader) -> list[str]:
    return [path.name for path in source.look()]


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("a.png", True),
        (".a.png", False),
        ("a.png.part", False),
        ("a.tmp", False),
        ("a.png~", False),
        ("a.crdownload", False),
    ],
)
def test_hidden_and_partial_names_are_left_alone(name: str, taken: bool) -> None:
    assert is_candidate(name, "*") is taken


def test_the_pattern_chooses(tmp_path: Path) -> None:
    source = reader(tmp_path, pattern="*.png")
    drop(source.folder, "a.png")
    drop(source.folder, "a.txt")
    assert names(source) == ["a.png"]


def test_the_folder_is_made_and_files_come_oldest_first(tmp_path: Path) -> None:
    source = reader(tmp_path)
    assert names(source) == []
    drop(source.folder, "b", age_s=5)
    drop(source.folder, "a", age_s=9)
    drop(source.folder, "c", age_s=7)
    assert names(source) == ["a", "c", "b"]


def test_a_file_that_still_grows_waits(tmp_path: Path) -> None:
    source = reader(tmp_path)
    path = drop(tmp_path / "inbox", "a", age_s=-1000)
    assert names(source) == []
    path.write_bytes(b"xx")
    os.utime(path, (time.time() + 2000, time.time() + 2000))
    assert names(source) == []
    assert names(source) == ["a"]


def test_links_and_folders_are_not_readings(tmp_path: Path) -> None:
    source = reader(tmp_path)
    drop(source.folder, "a")
    (source.folder / "link").symlink_to("/etc/passwd")
    (source.folder / "folder").mkdir()
    assert names(source) == ["a"]


@pytest.mark.parametrize(("after", "left"), [("delete", []), ("move", ["done/a"])])
def test_what_was_read_is_disposed_of(tmp_path: Path, after: Any, left: list[str]) -> None:
    source = reader(tmp_path, after=after)
    drop(source.folder, "a")
    source.dispose(source.look()[0], Outcome.ANSWERED)
    found = [str(p.relative_to(source.folder)) for p in source.folder.rglob("*") if p.is_file()]
    assert found == left


def test_kept_files_are_remembered_over_a_restart_until_they_change(tmp_path: Path) -> None:
    first = reader(tmp_path, after="keep")
    drop(first.folder, "a b")
    first.dispose(first.look()[0], Outcome.ANSWERED)
    assert names(first) == []
    second = reader(tmp_path, after="keep")
    assert names(second) == []
    drop(second.folder, "a b", age_s=3)
    assert names(second) == ["a b"]


def test_the_memory_forgets_files_that_are_gone(tmp_path: Path) -> None:
    first = reader(tmp_path, after="keep")
    for number in range(5):
        drop(first.folder, f"f{number}")
    for path in first.look():
        first.dispose(path, Outcome.ANSWERED)
        if path.name != "f4":
            path.unlink()
    names(reader(tmp_path, after="keep"))
    assert (tmp_path / "state/seen").read_text().count("\n") == 1


def test_a_rejected_file_goes_to_failed(tmp_path: Path) -> None:
    source = reader(tmp_path)
    drop(source.folder, "a")
    source.dispose(source.look()[0], Outcome.FAILED)
    assert (source.folder / "failed" / "a").exists()
    assert names(source) == []


def test_answers_are_whole_json_files_named_after_the_reading(tmp_path: Path) -> None:
    writer = DirectoryWriter(DirectorySink(path="out"), tmp_path / "out")
    writer.write("a.png", {"label": "7"})
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a.png.json"]
    assert json.loads((tmp_path / "out/a.png.json").read_text()) == {"label": "7"}


def test_the_oldest_answers_go_when_the_budget_is_full_also_after_a_restart(tmp_path: Path) -> None:
    sink = DirectorySink(path="out", max_bytes=100)
    folder = tmp_path / "out"
    for number in range(10):
        DirectoryWriter(sink, folder).write(f"r{number}", {"text": "a" * 20})
        moment = 1_000_000 + number
        os.utime(folder / f"r{number}.json", (moment, moment))
    assert sorted(p.name for p in folder.iterdir()) == ["r7.json", "r8.json", "r9.json"]


def test_one_answer_larger_than_the_budget_is_still_written(tmp_path: Path) -> None:
    writer = DirectoryWriter(DirectorySink(path="out", max_bytes=10), tmp_path / "out")
    writer.write("a", {"text": "a" * 100})
    assert (tmp_path / "out/a.json").exists()


def test_a_disk_that_refuses_leaves_nothing_half_written(tmp_path: Path) -> None:
    writer = DirectoryWriter(DirectorySink(path="out"), tmp_path / "out")
    writer.write("a", {})
    (tmp_path / "out/b.json").mkdir()
    (tmp_path / "out/b.json/x").write_text("")
    with pytest.raises(OSError, match=r"b\.json"):
        writer.write("b", {})
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.json", "b.json"]
