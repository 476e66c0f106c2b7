"""Telemetry to a file: one OTLP JSON request a line, as an OpenTelemetry collector writes it too.

``file:///var/log/edgectl/telemetry.jsonl?max_bytes=16777216&keep=3``: a file that would grow
beyond ``max_bytes`` becomes ``….1``, the one before ``….2``, and so on up to ``keep``. A line is
on the disk before its records leave the queue; a line that a power cut tore is cut off, because
its records are still in the queue.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from edge_components.telemetry.sender import Answer, Outcome, SenderError, UplinkSettings

_MAX_BYTES = 16 << 20
_KEEP = 3
_STEP = 1 << 16


class FileSender:
    """Appends to a file and rotates it.

    Raises:
        SenderError: The address is no absolute path, or a number in it is none.
    """

    def __init__(self, settings: UplinkSettings) -> None:
        parts = urlsplit(settings.url)
        query = parse_qs(parts.query)
        self._path = Path(unquote(parts.path))
        if parts.netloc not in {"", "localhost"} or not self._path.is_absolute():
            raise SenderError("a file uplink needs an absolute path, file:///path/of/the.jsonl")
        self._max_bytes = _number(query, "max_bytes", _MAX_BYTES)
        self._keep = _number(query, "keep", _KEEP)
        self._checked = False

    def send(self, body: bytes) -> Answer:
        """Append a batch."""
        line = body.replace(b"\n", b" ") + b"\n"
        try:
            if not self._checked:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                _cut_torn_line(self._path)
                self._checked = True
            if self._path.exists() and self._path.stat().st_size + len(line) > self._max_bytes:
                self._rotate()
            self._append(line)
        except OSError as exc:
            self._checked = False  # what a full disk left is cut off before the next line
            return Answer(Outcome.KEPT, f"'{self._path}' cannot be written: {exc.strerror}")
        return Answer(Outcome.DELIVERED)

    def close(self) -> None:
        """Nothing is open between batches."""

    def _append(self, line: bytes) -> None:
        with self._path.open("ab") as stream:
            stream.write(line)
            stream.flush()
            os.fsync(stream.fileno())

    def _rotate(self) -> None:
        if self._keep == 0:
            self._path.unlink()
            return
        for number in range(self._keep - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                older.replace(self._numbered(number + 1))
        self._path.replace(self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


def _cut_torn_line(path: Path) -> None:
    if not path.exists():
        return
    with path.open("r+b") as stream:
        end = stream.seek(0, os.SEEK_END)
        position = end
        while position > 0:
            start = max(0, position - _STEP)
            stream.seek(start)
            newline = stream.read(position - start).rfind(b"\n")
            if newline >= 0:
                position = start + newline + 1
                break
            position = start
        if position < end:
            stream.truncate(position)


def _number(query: dict[str, list[str]], key: str, default: int) -> int:
    value = query.get(key, [str(default)])[-1]
    if not value.isdecimal():
        raise SenderError(f"'{key}' of a file uplink is a number, not '{value}'")
    return int(value)
