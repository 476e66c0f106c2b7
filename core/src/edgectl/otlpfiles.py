"""Reading telemetry from files that an OpenTelemetry collector wrote: one OTLP request a line.

A page is the oldest records after the cursor, which is a record's time and id; so pages are
ordered by time over all files, a record that stands in two files comes once, and memory holds
two pages at most. The last line of a file may still be in the making and is then left out.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from edge_components.contract.telemetry import TelemetryRecord, from_otlp
from edgectl.errors import NotFoundError, ProviderError

Key = tuple[int, str]


def read_otlp_files(
    pattern: str,
    *,
    wanted: Callable[[TelemetryRecord], bool],
    cursor: str,
    limit: int,
) -> tuple[tuple[TelemetryRecord, ...], str]:
    """Return one page and the next page's cursor ("" for none).

    Args:
        pattern: A glob of files, absolute.
        wanted: Which records are asked for.
        cursor: Where the page begins.
        limit: At most this many records.

    Raises:
        NotFoundError: No file matches.
        ProviderError: A file cannot be read, or a line is not OTLP.
    """
    paths = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - the pattern is absolute
    if not paths:
        raise NotFoundError(
            f"no telemetry file matches '{pattern}'",
            hint="name what the collector's file exporter writes",
        )
    after = _parse(cursor)
    records = (record for path in paths for record in read_file(Path(path)) if wanted(record))
    page = _oldest((r for r in records if _key(r) > after), limit)
    more = len(page) == limit
    return tuple(page), _format(_key(page[-1])) if more else ""


def read_file(path: Path) -> Iterator[TelemetryRecord]:
    """Yield a file's records in the order in which they were written.

    Raises:
        ProviderError: The file cannot be read, or a line is not OTLP.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    return
                if line.strip():
                    yield from _records(line, path, number)
    except OSError as exc:
        raise ProviderError(f"the telemetry file '{path}' cannot be read: {exc.strerror}") from exc


def _records(line: bytes, path: Path, number: int) -> list[TelemetryRecord]:
    try:
        return from_otlp(line)
    except (msgspec.DecodeError, msgspec.ValidationError, ValueError) as exc:
        raise ProviderError(
            f"line {number} of the telemetry file '{path}' is not an OTLP request: {exc}",
            hint="the collector's file exporter has to write `format: json`, uncompressed",
        ) from exc


def _oldest(records: Iterable[TelemetryRecord], limit: int) -> list[TelemetryRecord]:
    """Return the oldest records without repeats; two pages at most are held."""
    held: dict[Key, TelemetryRecord] = {}
    for record in records:
        held.setdefault(_key(record), record)
        if len(held) >= 2 * limit:
            held = dict(sorted(held.items())[:limit])
    return [held[key] for key in sorted(held)[:limit]]


def _key(record: TelemetryRecord) -> Key:
    return record.time_unix_ns, record.id


def _parse(cursor: str) -> Key:
    time, _, identity = cursor.partition(":")
    return (int(time), identity) if time.isdigit() else (-1, "")


def _format(key: Key) -> str:
    return f"{key[0]}:{key[1]}"
