"""Where objects are kept: one rising resourceVersion, a window of events, a file that outlives us.

All calls come from the server's one event loop, so nothing is locked. Objects that were handed out
or stored are never changed in place. Events older than the window are forgotten: a watch that asks
for them is told 410, as by etcd after a compaction; so it is after a restart.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgectl_gke_edge.emulator.kube.errors import Json
from edgectl_gke_edge.emulator.kube.kinds import BY_PATH, Kind

WINDOW = 4096
SNAPSHOTS = 32

Key = tuple[str, str]  # namespace ("" for cluster scope), name


@dataclass(frozen=True)
class Event:
    """A change of one object.

    Attributes:
        text: The object as JSON: written once, however many watch.
        before: What it was.
    """

    version: int
    kind: Kind
    type: str
    object: Json
    text: bytes
    before: Json | None


class Watch:
    """One client's queue of events."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.events: asyncio.Queue[Event | None] = asyncio.Queue()
        """None is the end: the server stops."""


class Store:
    """The objects of one cluster.

    Args:
        file: An SQLite file; what it holds is read at the start.
        window: How many events can be watched from the past.
    """

    def __init__(self, file: Path, window: int = WINDOW) -> None:
        self._objects: dict[Kind, dict[Key, Json]] = {kind: {} for kind in BY_PATH.values()}
        self._events: deque[Event] = deque(maxlen=window)
        self._snapshots: OrderedDict[int, list[Json]] = OrderedDict()
        self._watches: set[Watch] = set()
        self._listeners: list[Callable[[Event], None]] = []
        self._database = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=OFF")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS objects (grp TEXT, plural TEXT, namespace TEXT, name TEXT,"
            " version INTEGER, body TEXT, PRIMARY KEY (grp, plural, namespace, name))"
        )
        self._database.execute("CREATE TABLE IF NOT EXISTS counter (version INTEGER)")
        self.version = self._load()
        self._oldest = self.version

    def _load(self) -> int:
        rows = self._database.execute("SELECT grp, plural, namespace, name, body FROM objects")
        for group, plural, namespace, name, body in rows:
            kind = BY_PATH.get((group, "v1", plural))
            if kind is not None:
                self._objects[kind][namespace, name] = json.loads(body)
        row = self._database.execute("SELECT version FROM counter").fetchone()
        if row is None:
            self._database.execute("INSERT INTO counter VALUES (1)")
        return int(row[0]) if row else 1

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def get(self, kind: Kind, namespace: str, name: str) -> Json | None:
        """Return an object, or None."""
        return self._objects[kind].get((namespace, name))

    def objects(self, kind: Kind, namespace: str = "") -> list[Json]:
        """Return a kind's objects sorted by namespace and name; "" means all namespaces."""
        found = self._objects[kind]
        keys = sorted(k for k in found if not namespace or k[0] == namespace)
        return [found[key] for key in keys]

    def everything(self) -> Iterator[tuple[Kind, Json]]:
        """Go over all objects."""
        for kind, objects in self._objects.items():
            for obj in list(objects.values()):
                yield kind, obj

    def put(self, kind: Kind, obj: Json) -> Json:
        """Store an object under its name; return it with its new resourceVersion."""
        metadata = obj["metadata"]
        key = (metadata.get("namespace", ""), metadata["name"])
        before = self._objects[kind].get(key)
        version = self._next()
        stored = {**obj, "metadata": {**metadata, "resourceVersion": str(version)}}
        self._objects[kind][key] = stored
        text = msgspec.json.encode(stored)
        self._database.execute(
            "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?)",
            (kind.group, kind.plural, *key, version, text.decode()),
        )
        event_type = "MODIFIED" if before else "ADDED"
        self._publish(Event(version, kind, event_type, stored, text, before))
        return stored

    def remove(self, kind: Kind, obj: Json) -> Json:
        """Remove an object; return it with the resourceVersion of its end."""
        metadata = obj["metadata"]
        key = (metadata.get("namespace", ""), metadata["name"])
        before = self._objects[kind].pop(key)
        version = self._next()
        self._database.execute(
            "DELETE FROM objects WHERE grp=? AND plural=? AND namespace=? AND name=?",
            (kind.group, kind.plural, *key),
        )
        last = {**obj, "metadata": {**metadata, "resourceVersion": str(version)}}
        self._publish(Event(version, kind, "DELETED", last, msgspec.json.encode(last), before))
        return last

    def _next(self) -> int:
        self.version += 1
        self._database.execute("UPDATE counter SET version=?", (self.version,))
        return self.version

    def _publish(self, event: Event) -> None:
        if len(self._events) == self._events.maxlen:
            self._oldest = self._events[0].version
        self._events.append(event)
        for watch in self._watches:
            if watch.kind is event.kind:
                watch.events.put_nowait(event)
        for listener in self._listeners:
            listener(event)

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Be called with each change, on the thread of whoever made it."""
        self._listeners.append(listener)

    def since(self, kind: Kind, version: int) -> list[Event] | None:
        """Return a kind's events after a version, or None when some are forgotten."""
        if version < self._oldest:
            return None
        return [e for e in self._events if e.version > version and e.kind is kind]

    def forget(self) -> None:
        """Forget all events, as a compaction does: older watches are told 410."""
        self._events.clear()
        self._snapshots.clear()
        self._oldest = self.version

    def watch(self, kind: Kind) -> Watch:
        """Begin to collect a kind's events."""
        watch = Watch(kind)
        self._watches.add(watch)
        return watch

    def unwatch(self, watch: Watch) -> None:
        """Stop to collect."""
        self._watches.discard(watch)

    def end_watches(self) -> None:
        """Tell all watches that the server stops."""
        for watch in self._watches:
            watch.events.put_nowait(None)

    def keep_snapshot(self, objects: list[Json]) -> int:
        """Keep what the pages of a list are taken from; return its version."""
        self._snapshots[self.version] = objects
        while len(self._snapshots) > SNAPSHOTS:
            self._snapshots.popitem(last=False)
        return self.version

    def snapshot(self, version: int) -> list[Json] | None:
        """Return what was kept, or None when it is forgotten."""
        return self._snapshots.get(version)
