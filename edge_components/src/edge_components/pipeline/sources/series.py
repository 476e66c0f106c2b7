"""A file of numbers that grows: each new line is a reading, over rotations and restarts.

The place of what was answered is remembered with the file's identity. After a kill the lines
whose place was not written yet come again: at least once.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np

from edge_components.contract.pipeline import SeriesSource
from edge_components.golden import Array
from edge_components.pipeline.errors import PipelineError
from edge_components.pipeline.reading import Outcome, Reading

_MAX_LINE = 1 << 20
_SAVE_S = 0.05


class _Place(msgspec.Struct):
    inode: int
    offset: int


class SeriesFeed:
    """Follows the file."""

    threaded = True

    def __init__(self, source: SeriesSource, path: Path, memory: Path) -> None:
        self._source = source
        self._path = path
        self._memory = memory
        self._lock = threading.Lock()
        self._reached: _Place | None = None
        self._open: dict[tuple[int, int], int] = {}
        self._saved: _Place | None = None
        self._saved_at = 0.0
        self._header: list[str] = []

    def run(self, put: Callable[[Reading], bool], stop: threading.Event) -> None:
        """Bring lines until told to stop.

        Raises:
            OSError: The file cannot be read. That it is not there yet is no error.
        """
        place = self._remembered()
        first = place is None
        while not stop.is_set():
            try:
                stream = self._path.open("rb")
            except FileNotFoundError:
                stop.wait(self._source.poll_s)
                first = False  # what is written from now on is new, all of it
                continue
            with stream:
                inode, begin = self._begin(stream, place, first=first)
                self._follow(stream, inode, begin, put, stop)
            place, first = None, False
        self._save(now=True)

    def _begin(self, stream: BinaryIO, place: _Place | None, *, first: bool) -> tuple[int, int]:
        status = os.fstat(stream.fileno())
        begin = 0
        if self._source.format == "csv" and self._source.header:
            line = stream.readline(_MAX_LINE)
            if line.endswith(b"\n"):
                self._header = _cells(line)
                begin = len(line)
        if place is not None and place.inode == status.st_ino and place.offset <= status.st_size:
            begin = max(begin, place.offset)
        elif first and place is None and self._source.begin == "end":
            stream.seek(0, os.SEEK_END)
            begin = stream.tell()
        return status.st_ino, begin

    def _follow(
        self,
        stream: BinaryIO,
        inode: int,
        offset: int,
        put: Callable[[Reading], bool],
        stop: threading.Event,
    ) -> None:
        """Read to the end, and on, until the file is another or was cut."""
        stream.seek(offset)
        while not stop.is_set():
            line = stream.readline(_MAX_LINE)
            if not line.endswith(b"\n") and len(line) < _MAX_LINE:
                stream.seek(offset)
                self._save()
                if self._is_another(inode, offset):
                    return
                stop.wait(self._source.poll_s)
                continue
            offset += len(line)
            if self._source.header and not self._header and self._source.format == "csv":
                self._header = _cells(line)
            elif line.strip() and not self._bring(line, _Place(inode, offset), put):
                return

    def _bring(self, line: bytes, place: _Place, put: Callable[[Reading], bool]) -> bool:
        body: Array | PipelineError
        key = ""
        try:
            key, body = self.parse(line)
        except PipelineError as exc:
            body = exc
        with self._lock:
            self._open[place.inode, place.offset] = place.offset - len(line)
            self._reached = place
        name = f"{self._path.name}-{place.offset}"
        reading = Reading(name, body, key=key, done=functools.partial(self._done, place))
        return put(reading) or reading.is_settled

    def parse(self, line: bytes) -> tuple[str, Array]:
        """Return whose reading a line is, and its numbers.

        Raises:
            PipelineError: It is not as the source says.
        """
        source = self._source
        try:
            found = self._named(line)
            key = "" if source.key is None else str(found.pop(source.key))
            names = source.columns or tuple(found)
            numbers = np.array([float(found[name]) for name in names], dtype=np.float32)  # type: ignore[arg-type]  # float() says what is no number
        except KeyError as exc:
            raise PipelineError(f"a line of '{self._path.name}' has no column {exc}") from exc
        except (ValueError, TypeError) as exc:
            raise PipelineError(f"a line of '{self._path.name}' is no reading: {exc}") from exc
        if not numbers.size or not np.isfinite(numbers).all():
            raise PipelineError(f"a line of '{self._path.name}' has no finite numbers")
        return key, numbers

    def _named(self, line: bytes) -> dict[str, object]:
        if self._source.format == "jsonl":
            found = msgspec.json.decode(line, type=dict[str, object] | list[float])
            return dict(found) if isinstance(found, dict) else _numbered(found)
        cells = _cells(line)
        if not self._header:
            return _numbered(cells)
        if len(cells) != len(self._header):
            raise ValueError(f"{len(cells)} columns, the header has {len(self._header)}")
        return dict(zip(self._header, cells, strict=True))

    def _is_another(self, inode: int, offset: int) -> bool:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return True
        if status.st_ino != inode or status.st_size < offset:
            self._header = []
            return True
        return False

    def _done(self, place: _Place, outcome: Outcome, _why: str) -> None:
        if outcome is not Outcome.LEFT:  # else it stays open, and comes again after a restart
            with self._lock:
                self._open.pop((place.inode, place.offset), None)
            self._save()

    def _remembered(self) -> _Place | None:
        with contextlib.suppress(OSError, msgspec.DecodeError):
            return msgspec.json.decode(self._memory.read_bytes(), type=_Place)
        return None

    def _save(self, *, now: bool = False) -> None:
        """Write the place up to which every line has its outcome."""
        with self._lock:
            moment = time.monotonic()
            place = self._reached
            if place is None or (not now and moment < self._saved_at + _SAVE_S):
                return
            if self._open:
                inode, end = next(iter(self._open))
                place = _Place(inode, self._open[inode, end])
            if place == self._saved:
                return
            part = self._memory.with_name(self._memory.name + ".part")
            part.write_bytes(msgspec.json.encode(place))
            part.replace(self._memory)
            self._saved, self._saved_at = place, moment


def _cells(line: bytes) -> list[str]:
    row = next(csv.reader([line.decode("utf-8", "replace").strip("\r\n\ufeff")]), [])
    return [cell.strip() for cell in row]


def _numbered(values: list[str] | list[float]) -> dict[str, object]:
    return {str(index): value for index, value in enumerate(values)}
