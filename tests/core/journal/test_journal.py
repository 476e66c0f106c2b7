"""The audit journal on a real disk: what it keeps, and what a crash or a forger cannot hide."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgectl.errors import JournalError
from edgectl.journal import Entry, Journal, read, verify

DIGEST = "sha256:" + "a" * 64


def entry(number: int = 1, target: str = "lots") -> Entry:
    return Entry(
        action="assign",
        result="ok",
        provider="memory",
        target=target,
        release=number,
        from_=DIGEST,
        to=DIGEST,
    )


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "state" / "journal.jsonl", who="ana", host="desk")


@pytest.fixture
def written(journal: Journal) -> Path:
    for number in range(1, 6):
        journal.append(entry(number))
    return journal.path


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_entry_is_kept_with_who_where_when_and_which_tool(tmp_path: Path) -> None:
    moment = dt.datetime(2030, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    journal = Journal(tmp_path / "j", who="ana", host="desk", clock=lambda: moment)
    journal.append(entry(7))
    (line,) = read(journal.path)
    assert (line.who, line.host, line.time) == ("ana", "desk", "2030-01-02T03:04:05.000000Z")
    assert (line.seq, line.release, line.from_, line.tool) == (1, 7, DIGEST, "0.1.0")


def test_file_is_json_lines_with_plain_names(written: Path) -> None:
    first = msgspec.json.decode(lines(written)[0])
    assert first["from"] == DIGEST
    assert first["prev"] == "0" * 64


def test_whole_journal_verifies(written: Path) -> None:
    result = verify(written)
    assert result.ok
    assert result.lines == 5
    assert result.last_hash == list(read(written))[-1].hash


def test_journal_that_does_not_exist_has_no_lines(tmp_path: Path) -> None:
    assert list(read(tmp_path / "none")) == []
    assert verify(tmp_path / "none").ok


def test_lines_can_be_filtered(journal: Journal) -> None:
    for target in ("a", "b", "a"):
        journal.append(entry(target=target))
    assert [line.seq for line in read(journal.path, target="a")] == [1, 3]
    assert list(read(journal.path, action="deploy")) == []


def test_removed_line_shows(written: Path) -> None:
    all_lines = lines(written)
    written.write_bytes(b"".join(all_lines[:2] + all_lines[3:]))
    (problem,) = verify(written).problems
    assert (problem.kind, problem.line) == ("missing", 3)
    assert "entry 3 missing" in problem.message


def test_changed_line_shows(written: Path) -> None:
    all_lines = lines(written)
    all_lines[1] = all_lines[1].replace(b'"release":2', b'"release":9')
    written.write_bytes(b"".join(all_lines))
    (problem,) = verify(written).problems
    assert (problem.kind, problem.line) == ("changed", 2)


def test_line_changed_together_with_its_hash_shows_at_the_next(
    written: Path, tmp_path: Path
) -> None:
    other = Journal(tmp_path / "other", who="eve", host="desk")
    other.append(entry(1))
    other.append(entry(2))
    all_lines = lines(written)
    all_lines[0:2] = lines(other.path)
    written.write_bytes(b"".join(all_lines))
    (problem,) = verify(written).problems
    assert (problem.kind, problem.line) == ("changed", 3)


def test_swapped_lines_show(written: Path) -> None:
    all_lines = lines(written)
    all_lines[1], all_lines[2] = all_lines[2], all_lines[1]
    written.write_bytes(b"".join(all_lines))
    assert {p.kind for p in verify(written).problems} >= {"missing", "order"}


def test_doubled_line_shows(written: Path) -> None:
    all_lines = lines(written)
    written.write_bytes(b"".join([*all_lines[:2], *all_lines[1:]]))
    assert [(p.kind, p.line) for p in verify(written).problems] == [("order", 3)]


def test_missing_beginning_shows(written: Path) -> None:
    written.write_bytes(b"".join(lines(written)[2:]))
    (problem,) = verify(written).problems
    assert (problem.kind, problem.line) == ("missing", 1)
    assert "entry 1 to 2 missing" in problem.message


@pytest.mark.parametrize("keep", [0, 3, 4])
def test_end_that_was_cut_off_shows(written: Path, keep: int) -> None:
    written.write_bytes(b"".join(lines(written)[:keep]))
    (problem,) = verify(written).problems
    assert problem.kind == "cut"


def test_removed_journal_shows_while_its_head_is_there(written: Path) -> None:
    written.unlink()
    assert [p.kind for p in verify(written).problems] == ["cut"]


def test_nothing_is_written_behind_an_end_that_was_cut_off(journal: Journal, written: Path) -> None:
    written.write_bytes(b"".join(lines(written)[:3]))
    with pytest.raises(JournalError, match="ends after entry 3, but 5 were written"):
        journal.append(entry())
    assert len(lines(written)) == 3


def test_last_line_replaced_with_a_valid_one_shows(written: Path, tmp_path: Path) -> None:
    short = Journal(tmp_path / "short", who="ana", host="desk")
    short.path.write_bytes(b"".join(lines(written)[:4]))
    short.append(entry(66))
    written.write_bytes(short.path.read_bytes())
    (problem,) = verify(written).problems
    assert (problem.kind, problem.line) == ("changed", 5)


def test_garbage_in_the_middle_shows_and_does_not_stop_the_check(written: Path) -> None:
    all_lines = lines(written)
    all_lines[2] = b"\xff not json\n"
    written.write_bytes(b"".join(all_lines))
    assert [(p.kind, p.line) for p in verify(written).problems] == [("unreadable", 3)]
    with pytest.raises(JournalError, match="line 3"):
        list(read(written))


def test_half_written_line_is_moved_aside_and_recorded(journal: Journal, written: Path) -> None:
    torn = lines(written)[0][:40]
    with written.open("ab") as file:
        file.write(torn)
    assert [p.kind for p in verify(written).problems] == ["torn"]
    assert len(list(read(written))) == 5
    journal.append(entry(6))
    assert verify(written).ok
    assert [line.action for line in read(written)][-2:] == ["repair", "assign"]
    assert written.with_name("journal.jsonl.torn").read_bytes() == torn + b"\n"


def test_crash_before_the_head_was_written_loses_nothing(journal: Journal, written: Path) -> None:
    head = written.with_name("journal.jsonl.head")
    before = head.read_bytes()
    journal.append(entry(6))
    head.write_bytes(before)
    assert verify(written).ok
    journal.append(entry(7))
    assert verify(written).ok
    assert verify(written).lines == 7


def test_damaged_end_is_not_written_behind(journal: Journal, written: Path) -> None:
    with written.open("ab") as file:
        file.write(b"{}\n")
    with pytest.raises(JournalError, match="damaged"):
        journal.append(entry())


def test_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="cannot be written"):
        Journal(tmp_path / "file" / "journal.jsonl").append(entry())


def test_long_and_odd_values_are_bounded(journal: Journal) -> None:
    detail = {f"k{n}": "\x00\udcff" * 5000 for n in range(200)}
    journal.append(Entry(action="x" * 9999, result="\udc80", detail=detail))
    journal.append(entry())
    assert verify(journal.path).ok
    assert len(lines(journal.path)[0]) < 64 << 10


def test_writers_of_several_processes_make_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    code = (
        "import sys; from pathlib import Path; from edgectl.journal import Entry, Journal\n"
        "for n in range(15):\n"
        "    Journal(Path(sys.argv[1])).append(Entry(action='a', result='ok', release=n))\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path)]) for _ in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    result = verify(path)
    assert result.ok
    assert result.lines == 45


def test_killed_writer_leaves_a_journal_that_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    code = (
        "import sys; from pathlib import Path; from edgectl.journal import Entry, Journal\n"
        "n = 0\n"
        "while True:\n"
        "    n += 1\n"
        "    Journal(Path(sys.argv[1])).append(Entry(action='a', result='ok', release=n))\n"
        "    print(n, flush=True)\n"
    )
    for round_ in range(4):
        writer = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        acknowledged = [writer.stdout.readline() for _ in range(5 + round_)]
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged += writer.stdout.read().splitlines()
        writer.wait()
        writer.stdout.close()
        kept = sum(1 for line in read(path) if line.action == "a")
        assert kept >= len(acknowledged)
        Journal(path).append(entry())
        assert verify(path).ok


def test_only_the_end_is_read_before_an_entry_is_written(journal: Journal) -> None:
    journal.append(entry())
    first = lines(journal.path)[0]
    journal.path.write_bytes((b"x" * 999 + b"\n") * 2000 + first)
    journal.append(entry(2))
    assert len(lines(journal.path)) == 2002


edits = st.tuples(st.integers(0, 10_000), st.integers(0, 255))


@settings(max_examples=60, deadline=None)
@given(edit=edits)
def test_any_changed_byte_shows(
    edit: tuple[int, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    journal = Journal(tmp_path_factory.mktemp("j") / "j", who="ana", host="desk")
    for number in range(3):
        journal.append(entry(number))
    data = bytearray(journal.path.read_bytes())
    place, value = edit[0] % len(data), edit[1]
    same = data[place] == value
    data[place] = value
    journal.path.write_bytes(data)
    assert verify(journal.path).ok is same
