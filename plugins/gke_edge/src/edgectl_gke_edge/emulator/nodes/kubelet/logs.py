"""A container's log: read for the logs API, and its end for a termination message.

Lines have the form of the Container Runtime Interface: ``TIME STREAM F|P TEXT``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path

import msgspec

_LOOK_S = 0.1
_TAIL_LINES, _TAIL_BYTES = 80, 2048


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What of a log is asked for.

    Attributes:
        since: Leave out what is older, or None.
        tail: At most so many lines from the end, or None for all.
    """

    follow: bool = False
    timestamps: bool = False
    since: datetime | None = None
    tail: int | None = None
    limit_bytes: int | None = None


def parse_line(line: bytes) -> tuple[str, bytes]:
    """Return a line's time and text, with its line end if it had one."""
    at, _, rest = line.partition(b" ")
    _stream, _, rest = rest.partition(b" ")
    tag, _, text = rest.partition(b" ")
    return at.decode(errors="replace"), text + (b"\n" if tag == b"F" else b"")


def tail_of(path: Path) -> str:
    """Return the last 80 lines or 2048 bytes, as ``FallbackToLogsOnError`` takes them."""
    try:
        lines = path.read_bytes().splitlines()[-_TAIL_LINES:]
    except OSError:
        return ""
    text = b"".join(parse_line(line)[1] for line in lines)
    return text[-_TAIL_BYTES:].decode(errors="replace")


async def read_log(path: Path, wanted: Wanted, is_over: Callable[[], bool]) -> AsyncIterator[bytes]:
    """Yield the log's lines; while following, until the container has ended."""
    sent = 0
    position = 0
    first = True
    while True:
        over = is_over()
        data = _read_from(path, position)
        whole = data[: data.rfind(b"\n") + 1]
        position += len(whole)
        lines = [line for line in whole.split(b"\n") if line]
        if first:
            lines = _chosen(lines, wanted)
            first = False
        for line in lines:
            text = _rendered(line, wanted)
            if wanted.limit_bytes is not None:
                text = text[: max(wanted.limit_bytes - sent, 0)]
            sent += len(text)
            if text:
                yield text
        if not wanted.follow or over:
            return
        await asyncio.sleep(_LOOK_S)


def _read_from(path: Path, position: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(position)
            return file.read()
    except FileNotFoundError:
        return b""


def _chosen(lines: list[bytes], wanted: Wanted) -> list[bytes]:
    if wanted.since is not None:
        since = wanted.since.timestamp()
        lines = [line for line in lines if _moment(line) >= since]
    if wanted.tail is not None:
        lines = lines[-wanted.tail :] if wanted.tail else []
    return lines


def _moment(line: bytes) -> float:
    text = line.partition(b" ")[0].decode(errors="replace")
    try:
        return datetime.fromisoformat(f"{text[:26].rstrip('Z')}+00:00").timestamp()
    except ValueError:
        return 0.0


def _rendered(line: bytes, wanted: Wanted) -> bytes:
    at, text = parse_line(line)
    return at.encode() + b" " + text if wanted.timestamps else text
