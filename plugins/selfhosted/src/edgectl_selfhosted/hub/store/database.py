"""One writer, a few readers, and writes that are answered only when they are on disk.

SQLite in WAL mode with ``synchronous=FULL``. Writes wait in a queue; the writer thread takes what
is there and fits into its turn, runs each in its own savepoint of one transaction and commits
once, so a storm of device feedback costs few fsyncs and not thousands. A write that fails rolls
back alone.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from edgectl_selfhosted.hub.errors import Fault, HubError
from edgectl_selfhosted.hub.store.rows import Tx
from edgectl_selfhosted.hub.store.schema import migrate

T = TypeVar("T")
Committed = Callable[[list[Tx]], None]

_BATCH = 256
# How long jobs may take before they are committed: as long as a commit takes, which is what a
# batch saves, and not so long that all who wait are answered in one burst.
_TURN_S = 0.008
_LONGEST_TURN_S = 0.1
_READERS = 2


class _Job:
    __slots__ = ("actor", "error", "future", "result", "work")

    def __init__(self, work: Callable[[Tx], Any], actor: str, future: asyncio.Future[Any]) -> None:
        self.work = work
        self.actor = actor
        self.future = future
        self.result: Any = None
        self.error: Exception | None = None


def connect(path: Path, *, writable: bool, timeout_s: float = 30.0) -> sqlite3.Connection:
    """Open the database with the settings that durability needs."""
    conn = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=timeout_s)
    conn.execute("PRAGMA journal_mode = WAL")
    conn.execute("PRAGMA synchronous = FULL")
    conn.execute("PRAGMA foreign_keys = ON")
    conn.execute("PRAGMA cache_size = -16000")
    if not writable:
        conn.execute("PRAGMA query_only = ON")
    return conn


def _in_snapshot(conn: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    conn.execute("BEGIN")
    try:
        return work(conn)
    finally:
        conn.execute("ROLLBACK")


class Database:
    """The store behind two verbs: ``read`` and ``write``."""

    def __init__(self, path: Path, *, now_ms: Callable[[], int], committed: Committed) -> None:
        self._path = path
        self._now_ms = now_ms
        self._committed = committed
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._near: sqlite3.Connection | None = None
        self._pool = ThreadPoolExecutor(_READERS, thread_name_prefix="hub-read")
        self._conn = connect(path, writable=True)
        migrate(self._conn, now_ms())
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn_s = _TURN_S
        self._thread = threading.Thread(target=self._write_forever, name="hub-write", daemon=True)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to take writes; results are delivered in ``loop``."""
        self._loop = loop
        self._near = connect(self._path, writable=False, timeout_s=0.0)
        self._readers.append(self._near)
        self._thread.start()

    def close(self) -> None:
        """Finish what is queued, then close every connection."""
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join()
        self._pool.shutdown()
        for conn in [*self._readers, self._conn]:
            conn.close()

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query on a reader thread; it sees every write that was answered before."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._read, work)

    def glance(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query of a few rows found by key at once, in the event loop's thread.

        A thread's turn costs several times such a query. It sees every write that was answered
        before.

        Raises:
            sqlite3.OperationalError: It would have to wait; ``read`` can.
        """
        if self._near is None:
            raise sqlite3.OperationalError("the store is not started")
        return _in_snapshot(self._near, work)

    async def write(self, work: Callable[[Tx], T], *, actor: str) -> T:
        """Run a change; returns when it is on disk.

        Raises:
            HubError: What ``work`` raised, or ``STORAGE`` when the disk refused.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put(_Job(work, actor, future))
        return await future

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        conn: sqlite3.Connection | None = getattr(self._local, "conn", None)
        if conn is None:
            conn = self._local.conn = connect(self._path, writable=False)
            self._readers.append(conn)
        return _in_snapshot(conn, work)

    def _write_forever(self) -> None:
        last = False
        while not last and (first := self._jobs.get()) is not None:
            batch = [first]
            transactions, last = self._commit(batch)
            if self._loop is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._deliver, batch, transactions)

    def _commit(self, batch: list[_Job]) -> tuple[list[Tx], bool]:
        """Run the first job and those that wait behind it; whether they were the last there are."""
        transactions: list[Tx] = []
        last = False
        try:
            self._conn.execute("BEGIN IMMEDIATE")
            until = time.monotonic() + self._turn_s
            self._run(batch[0], transactions)
            while len(batch) < _BATCH and time.monotonic() < until and not last:
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
                if job is None:
                    last = True
                else:
                    batch.append(job)
                    self._run(job, transactions)
            done = time.monotonic()
            self._conn.execute("COMMIT")
            self._turn_s = min(max(_TURN_S, time.monotonic() - done), _LONGEST_TURN_S)
        except sqlite3.Error as exc:
            if self._conn.in_transaction:
                self._conn.execute("ROLLBACK")
            for job in batch:
                job.error = HubError(Fault.STORAGE, f"the store could not write: {exc}")
        return transactions, last

    def _run(self, job: _Job, transactions: list[Tx]) -> None:
        tx = Tx(self._conn, self._now_ms(), job.actor)
        transactions.append(tx)
        self._conn.execute("SAVEPOINT job")
        try:
            job.result = job.work(tx)
        except Exception as exc:  # noqa: BLE001 - goes to the one who asked for the write
            job.error = exc
            if self._conn.in_transaction:
                self._conn.execute("ROLLBACK TO job")
        self._conn.execute("RELEASE job")

    def _deliver(self, batch: list[_Job], transactions: list[Tx]) -> None:
        self._committed(transactions)
        for job in batch:
            if job.future.done():
                continue
            if job.error is not None:
                job.future.set_exception(job.error)
            else:
                job.future.set_result(job.result)
