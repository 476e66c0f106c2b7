"""The directory source: which files are whole, in which order, and where they go afterwards.

A file is taken when it has not changed between two looks (or is older than a second), in the
order of its time and name. Hidden files and names that writers use for unfinished files are left
alone. A file that cannot be used goes to ``failed`` and holds up nobody; one that the queue left
out goes to ``dropped``, where files are moved at all.
"""

from __future__ import annotations

import contextlib
import fnmatch
import functools
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from edge_components.contract.pipeline import DirectorySource
from edge_components.pipeline.reading import Outcome, Reading

DONE = "done"
FAILED = "failed"
DROPPED = "dropped"
_MIN_POLL_S = 0.02
_PARTIAL = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".filepart", "~")
_SETTLED_S = 1.0
_Fingerprint = tuple[str, int, int]


def is_candidate(name: str, pattern: str) -> bool:
    """Whether a file of this name may be a whole reading."""
    return (
        not name.startswith(".")
        and not name.lower().endswith(_PARTIAL)
        and fnmatch.fnmatchcase(name, pattern)
    )


class DirectoryFeed:
    """Brings the files of a folder, and disposes of them when they have their outcome."""

    threaded = True

    def __init__(self, source: DirectorySource, folder: Path, memory: Path) -> None:
        self._source = source
        self._reader = DirectoryReader(source, folder, memory)
        self._lock = threading.Lock()
        self._in_hand: set[str] = set()

    def run(self, put: Callable[[Reading], bool], stop: threading.Event) -> None:
        """Look and bring until told to stop.

        Raises:
            OSError: The folder cannot be used.
        """
        while not stop.is_set():
            with self._lock:
                found = [path for path in self._reader.look() if path.name not in self._in_hand]
            for path in found:
                with self._lock:
                    self._in_hand.add(path.name)
                reading = Reading(path.name, path, done=functools.partial(self._done, path))
                if not put(reading) and stop.is_set():
                    reading.finish(Outcome.LEFT)
                    return
            stop.wait(max(_MIN_POLL_S, self._source.poll_s))

    def _done(self, path: Path, outcome: Outcome, _why: str) -> None:
        with self._lock:
            try:
                self._reader.dispose(path, outcome)
            finally:
                self._in_hand.discard(path.name)


class DirectoryReader:
    """Looks into the folder and disposes of what was read."""

    def __init__(self, source: DirectorySource, folder: Path, memory: Path) -> None:
        self.folder = folder
        self._source = source
        self._memory = memory
        self._last: dict[str, tuple[int, int]] = {}
        self._seen: set[_Fingerprint] | None = None

    def look(self) -> list[Path]:
        """Return the whole files that wait, oldest first.

        Raises:
            OSError: The folder cannot be made or read.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        found: dict[str, tuple[int, int]] = {}
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if not is_candidate(entry.name, self._source.pattern):
                    continue
                with contextlib.suppress(OSError):
                    if entry.is_file(follow_symlinks=False):
                        status = entry.stat(follow_symlinks=False)
                        found[entry.name] = (status.st_mtime_ns, status.st_size)
        settled_ns = time.time_ns() - int(_SETTLED_S * 1e9)
        ready = [
            (mtime, name)
            for name, (mtime, size) in found.items()
            if (self._last.get(name) == (mtime, size) or mtime <= settled_ns)
            and (name, mtime, size) not in self._remembered(found)
        ]
        self._last = found
        return [self.folder / name for _, name in sorted(ready)]

    def dispose(self, path: Path, outcome: Outcome) -> None:
        """A file has its outcome: delete, keep or move it; one that failed is set aside.

        Raises:
            OSError: That is not possible.
        """
        if outcome is Outcome.LEFT:
            return
        if outcome is Outcome.FAILED:
            self._move(path, FAILED)
            return
        match self._source.after:
            case "delete":
                path.unlink(missing_ok=True)
            case "keep":
                self._remember(path)
            case "move":
                self._move(path, DONE if outcome is Outcome.ANSWERED else DROPPED)

    def _move(self, path: Path, name: str) -> None:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            path.replace(folder / path.name)

    def _remembered(self, found: dict[str, tuple[int, int]]) -> set[_Fingerprint]:
        if self._source.after != "keep":
            return set()
        if self._seen is None:
            self._seen = _load(self._memory) & {(n, m, s) for n, (m, s) in found.items()}
            _save(self._memory, self._seen)
        return self._seen

    def _remember(self, path: Path) -> None:
        if path.name not in self._last:
            return  # it is gone, and so is the need to remember it
        mtime, size = self._last[path.name]
        if self._seen is not None:
            self._seen.add((path.name, mtime, size))
        with self._memory.open("a", encoding="utf-8", errors="surrogateescape") as stream:
            stream.write(_line((path.name, mtime, size)))


def _line(item: _Fingerprint) -> str:
    name, mtime, size = item
    return f"{mtime} {size} {name}\n"


def _load(memory: Path) -> set[_Fingerprint]:
    seen: set[_Fingerprint] = set()
    with contextlib.suppress(FileNotFoundError):
        text = memory.read_text(encoding="utf-8", errors="surrogateescape")
        for line in text.split("\n"):
            mtime, _, rest = line.partition(" ")
            size, _, name = rest.partition(" ")
            if mtime.isdecimal() and size.isdecimal() and name:
                seen.add((name, int(mtime), int(size)))
    return seen


def _save(memory: Path, seen: set[_Fingerprint]) -> None:
    memory.parent.mkdir(parents=True, exist_ok=True)
    part = memory.with_name(memory.name + ".part")
    part.write_text(
        "".join(_line(item) for item in sorted(seen)), encoding="utf-8", errors="surrogateescape"
    )
    part.replace(memory)
