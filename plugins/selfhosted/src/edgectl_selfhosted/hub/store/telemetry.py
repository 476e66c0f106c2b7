"""Telemetry records, in the order of the devices' clocks."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

import msgspec

from edgectl.api import TelemetryRecord
from edgectl_selfhosted.hub.store.rows import Tx, scalar

_ROW_OVERHEAD = 200


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a page ended: the record's time, and its number among records of the same time."""

    time_unix_ns: int
    seq: int

    def cursor(self) -> str:
        """Write the place as a cursor."""
        return f"{self.time_unix_ns}:{self.seq}"


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which records; "" means any. ``after`` is where the page before ended."""

    application: str = ""
    device: str = ""
    kind: str = ""
    since_unix_ns: int = 0
    limit: int = 500
    after: Place | None = None


def add(tx: Tx, records: Iterable[TelemetryRecord]) -> None:
    """Keep records; a device's second one with the same id is dropped."""
    tx.conn.executemany(
        "INSERT OR IGNORE INTO telemetry "
        "(device, id, application, kind, time_unix_ns, received_at, record) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (
                record.device,
                record.id,
                record.application,
                record.kind.value,
                record.time_unix_ns,
                tx.now_ms,
                msgspec.json.encode(record),
            )
            for record in records
        ],
    )


def find(conn: sqlite3.Connection, wanted: Wanted) -> tuple[list[bytes], str]:
    """Return records in JSON and the cursor of the next page, "" at the end."""
    rows = conn.execute(
        "SELECT time_unix_ns, seq, record FROM telemetry "
        "WHERE (:time IS NULL OR (time_unix_ns, seq) > (:time, :seq)) "
        "AND (:application = '' OR application = :application) "
        "AND (:device = '' OR device = :device) AND (:kind = '' OR kind = :kind) "
        "AND time_unix_ns >= :since ORDER BY time_unix_ns, seq LIMIT :limit + 1",
        {
            "time": wanted.after and wanted.after.time_unix_ns,
            "seq": wanted.after and wanted.after.seq,
            "application": wanted.application,
            "device": wanted.device,
            "kind": wanted.kind,
            "since": wanted.since_unix_ns,
            "limit": wanted.limit,
        },
    ).fetchall()
    more = len(rows) > wanted.limit
    page = rows[: wanted.limit]
    last = Place(page[-1][0], page[-1][1]).cursor() if more else ""
    return [row[2] for row in page], last


def expire(tx: Tx, *, keep_bytes: int, keep_ms: float) -> int:
    """Remove the oldest records beyond the time and the bytes; return how many went."""
    before = tx.conn.total_changes
    tx.conn.execute("DELETE FROM telemetry WHERE received_at < ?", (tx.now_ms - int(keep_ms),))
    size = scalar(tx.conn, "SELECT sum(length(record) + ?) FROM telemetry", (_ROW_OVERHEAD,)) or 0
    if size > keep_bytes:
        tx.conn.execute(
            "DELETE FROM telemetry WHERE seq <= (SELECT max(seq) FROM (SELECT seq, "
            "sum(length(record) + ?1) OVER (ORDER BY seq DESC) AS total FROM telemetry) "
            "WHERE total > ?2)",
            (_ROW_OVERHEAD, keep_bytes),
        )
    return tx.conn.total_changes - before
