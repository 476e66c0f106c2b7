"""The audit journal: who did what to which target, when, and from which digest to which.

JSON lines, only ever appended to, chained by hashes (``journal_chain``). A line is on the disk
before the call returns. Writers of several processes take turns by a lock. A line that a crash
left half written was never acknowledged: the next writer moves it to ``<journal>.torn`` and says
so in a line of its own. The number and hash of the last line stand in ``<journal>.head``.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import getpass
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from edge_components.contract.digest import sha256_digest
from edgectl import __version__
from edgectl.errors import JournalError
from edgectl.journal_chain import (
    MAX_LINE_BYTES,
    START,
    Entry,
    Head,
    JournalLine,
    Problem,
    check_chain,
    make_line,
    read_end,
)
from edgectl.records import Record

__all__ = ["Entry", "Journal", "JournalLine", "Problem", "VerifyResult", "read", "verify"]


class VerifyResult(Record, frozen=True, kw_only=True):
    """What a check of the journal found.

    Attributes:
        lines: How many lines there are.
        last_hash: The hash of the last line; compare it with one that was kept elsewhere.
        problems: What is broken; empty for a whole journal.
    """

    lines: int
    last_hash: str
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether the journal is whole."""
        return not self.problems


def _utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class Journal:
    """A journal that can be written to.

    Args:
        path: The file; made with its folder on the first entry.
        who: Who is at work; None asks the system.
        host: Where; None asks the system.
        clock: Tells the time, in UTC.
    """

    def __init__(
        self,
        path: Path,
        *,
        who: str | None = None,
        host: str | None = None,
        clock: Callable[[], dt.datetime] = _utc_now,
    ) -> None:
        self.path = path
        self._who = who
        self._host = host
        self._clock = clock

    def append(self, entry: Entry) -> None:
        """Write one entry; it is on the disk when this returns.

        Raises:
            JournalError: It cannot be written, or the journal's end is damaged.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with _locked(self.path), _open(self.path) as file:
                head = self._repaired_end(file)
                self._write(file, entry, head)
        except OSError as exc:
            raise JournalError(
                f"the journal '{self.path}' cannot be written: {exc.strerror}"
            ) from exc

    def _repaired_end(self, file: BinaryIO) -> Head:
        end, torn = _last_line(file, self.path)
        head = _read_head(self.path)
        if head is not None and end.seq < head.seq:
            raise JournalError(
                f"the journal '{self.path}' ends after entry {end.seq}, "
                f"but {head.seq} were written: its end was cut off",
                hint="`edgectl journal verify` says more; to begin a new journal, "
                "move this one and its .head file to a safe place",
            )
        if not torn:
            return end
        with _beside(self.path, ".torn").open("ab") as aside:
            aside.write(torn + b"\n")
            _sync(aside)
        file.truncate(file.seek(0, os.SEEK_END) - len(torn))
        _sync(file)
        detail = {"bytes": str(len(torn)), "digest": sha256_digest(torn)}
        return self._write(file, Entry(action="repair", result="ok", detail=detail), end)

    def _write(self, file: BinaryIO, entry: Entry, head: Head) -> Head:
        line, after = make_line(
            entry,
            head,
            time=self._clock().isoformat(timespec="microseconds").replace("+00:00", "Z"),
            who=self._who or _user(),
            host=self._host or socket.gethostname(),
            tool=__version__,
        )
        file.seek(0, os.SEEK_END)
        file.write(line + b"\n")
        _sync(file)
        _write_head(self.path, after)
        return after


def read(
    path: Path, *, target: str | None = None, action: str | None = None
) -> Iterator[JournalLine]:
    """Yield a journal's lines, oldest first; a half-written last line is left out.

    Args:
        path: The journal; none at all has no lines.
        target: Only lines about this target.
        action: Only lines of this action.

    Raises:
        JournalError: A line cannot be read.
    """
    with _reading(path) as file:
        for number, line in enumerate(_lines(file), start=1):
            if not line.endswith(b"\n"):
                return
            try:
                entry = msgspec.json.decode(line, type=JournalLine)
            except (msgspec.DecodeError, UnicodeDecodeError) as exc:
                raise JournalError(
                    f"line {number} of the journal '{path}' cannot be read: {exc}",
                    hint="`edgectl journal verify` checks the whole journal",
                ) from exc
            if target in {None, entry.target} and action in {None, entry.action}:
                yield entry


def verify(path: Path) -> VerifyResult:
    """Check a journal from its first line to its last.

    Raises:
        JournalError: It cannot be opened.
    """
    torn: list[Problem] = []
    count = 0

    def whole_lines(file: BinaryIO) -> Iterator[bytes]:
        nonlocal count
        for line in _lines(file):
            count += 1
            if line.endswith(b"\n"):
                yield line[:-1]
            else:
                message = f"line {count} is half written; the next entry moves it aside"
                torn.append(Problem(line=count, kind="torn", message=message))

    # The lock keeps a writer from being between the journal and its head.
    with _locked_if_there(path), _reading(path) as file:
        last, problems = check_chain(whole_lines(file), _read_head(path))
    return VerifyResult(lines=count, last_hash=last.hash, problems=(*problems, *torn))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with _beside(path, ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _locked_if_there(path: Path) -> contextlib.AbstractContextManager[None]:
    there = path.exists() and os.access(path.parent, os.W_OK)
    return _locked(path) if there else contextlib.nullcontext()


def _open(path: Path) -> BinaryIO:
    """Open for reading and writing; a new file's name is on the disk before its first line."""
    if not path.exists():
        path.touch()
        _sync_folder(path.parent)
    return path.open("r+b")


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    source = path if path.exists() else Path(os.devnull)
    try:
        file = source.open("rb")
    except OSError as exc:
        raise JournalError(f"the journal '{path}' cannot be read: {exc.strerror}") from exc
    with file:
        yield file


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield lines with their newline; one that is too long comes in pieces, so none is valid."""
    while line := file.readline(MAX_LINE_BYTES + 2):
        yield line


def _last_line(file: BinaryIO, path: Path) -> tuple[Head, bytes]:
    """Return the head of the last whole line, and what is half written behind it."""
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - 2 * MAX_LINE_BYTES)
    file.seek(start)
    whole, newline, torn = file.read(size - start).rpartition(b"\n")
    if not newline and start == 0:
        return START, torn
    try:
        return read_end(whole.rpartition(b"\n")[2]), torn
    except ValueError as exc:
        raise JournalError(
            f"the end of the journal '{path}' is damaged: {exc}",
            hint="`edgectl journal verify` says more; to begin a new journal, "
            "move this one and its .head file to a safe place",
        ) from exc


def _read_head(path: Path) -> Head | None:
    try:
        return msgspec.json.decode(_beside(path, ".head").read_bytes(), type=Head)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise JournalError(f"the file '{_beside(path, '.head')}' cannot be read: {exc}") from exc


def _write_head(path: Path, head: Head) -> None:
    fresh = _beside(path, ".head.new")
    with fresh.open("wb") as file:
        file.write(msgspec.json.encode(head) + b"\n")
        _sync(file)
    fresh.replace(_beside(path, ".head"))
    _sync_folder(path.parent)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
