"""edgeHub's store: messages on the disk until their endpoint has them or their time is over.

One queue for each endpoint, ordered by priority, then by arrival. As the real one's, it has no
bound: a sender that must not fill the disk has to bound itself.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable
from pathlib import Path

from edgectl.api import Record
from edgectl_azure_iot_edge.emulator.edge.routes import Delivery

_TABLES = """
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    endpoint TEXT NOT NULL,
    priority INTEGER NOT NULL,
    expires REAL NOT NULL,
    sender TEXT NOT NULL,
    properties TEXT NOT NULL,
    payload BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS next ON messages (endpoint, priority, id);
"""


class Queued(Record, frozen=True, kw_only=True):
    """A message that waits.

    Attributes:
        sender: The module that sent it.
        properties: As they stood in its topic.
    """

    number: int
    endpoint: str
    sender: str
    properties: str
    payload: bytes


class MessageStore:
    """The queues; may be used from any thread."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.executescript(_TABLES)

    def add(
        self,
        deliveries: Iterable[Delivery],
        sender: str,
        properties: str,
        payload: bytes,
        now: float,
    ) -> None:
        """Keep a message for each of its endpoints, all or none."""
        rows = [
            (each.endpoint.name, each.priority, now + each.ttl_s, sender, properties, payload)
            for each in deliveries
        ]
        with self._lock, self._connection:
            self._connection.execute("BEGIN")
            self._connection.executemany(
                "INSERT INTO messages (endpoint, priority, expires, sender, properties, payload)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                rows,
            )

    def next(self, endpoint: str, now: float, count: int = 10) -> list[Queued]:
        """Return what an endpoint gets next, of one priority; what expired is skipped."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT id, endpoint, sender, properties, payload FROM messages"
                " WHERE endpoint = ? AND expires > ? AND priority = (SELECT MIN(priority)"
                " FROM messages WHERE endpoint = ? AND expires > ?) ORDER BY id LIMIT ?",
                (endpoint, now, endpoint, now, count),
            ).fetchall()
        return [
            Queued(number=row[0], endpoint=row[1], sender=row[2], properties=row[3], payload=row[4])
            for row in rows
        ]

    def done(self, numbers: Iterable[int]) -> None:
        """Forget messages that their endpoint has."""
        with self._lock:
            self._connection.executemany(
                "DELETE FROM messages WHERE id = ?", [(number,) for number in numbers]
            )

    def clean(self, now: float) -> int:
        """Forget what has expired; return how many."""
        with self._lock:
            return self._connection.execute(
                "DELETE FROM messages WHERE expires <= ?", (now,)
            ).rowcount

    def lengths(self) -> dict[str, int]:
        """Return how many messages wait for each endpoint."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT endpoint, COUNT(*) FROM messages GROUP BY endpoint"
            ).fetchall()
        return dict(rows)

    def senders(self) -> set[str]:
        """Return whose messages wait."""
        with self._lock:
            rows = self._connection.execute("SELECT DISTINCT sender FROM messages").fetchall()
        return {row[0] for row in rows}

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()
