"""What a poll needs, kept in memory: an idle device costs no SQL.

An entry lives until a committed write touches its device. A load that was under way when the
device was touched is not stored, so the cache never holds what was true before a write that was
answered. Sightings are batched here and written down now and then: they are not acknowledged.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class OpenAction(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The action that a device is shown: ``kind`` names the DDI resource."""

    kind: str
    id: int
    etag: int


class PollAnswer(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An answer as it goes onto the wire, with its ETag."""

    whole: bytes
    etag: bytes

    @property
    def body(self) -> bytes:
        """What follows the head."""
        return self.whole.partition(b"\r\n\r\n")[2]


class Entry(msgspec.Struct, kw_only=True, gc=False):
    """One device; nothing in it is of interest to the garbage collector, as there are many.

    Attributes:
        base: The address at which the device reached the hub last, or "".
        answer: The poll answer for that address.
    """

    controller_id: str
    token: bytes
    is_new: bool
    wants_attributes: bool
    action: OpenAction | None
    installed_action: int | None
    base: str = ""
    answer: PollAnswer | None = None


class PollCache:
    """Entries by controller id; used from the event loop only."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._loading: dict[str, object] = {}
        self._seen: dict[str, tuple[int, str]] = {}

    def get(self, controller_id: str) -> Entry | None:
        """Return the entry, or None when it must be loaded."""
        return self._entries.get(controller_id)

    def begin_load(self, controller_id: str) -> object:
        """Announce a load; give the answer to ``store``."""
        return self._loading.setdefault(controller_id, object())

    def store(self, controller_id: str, ticket: object, entry: Entry | None) -> None:
        """Keep what was loaded, unless a write touched the device meanwhile."""
        if self._loading.get(controller_id) is ticket:
            del self._loading[controller_id]
            if entry is not None:
                self._entries[controller_id] = entry

    def forget(self, controller_ids: Iterable[str]) -> None:
        """Drop devices that a committed write touched."""
        for controller_id in controller_ids:
            self._entries.pop(controller_id, None)
            self._loading.pop(controller_id, None)

    def forget_all(self) -> None:
        """Drop everything."""
        self._entries.clear()
        self._loading.clear()

    def saw(self, controller_id: str, now_ms: int, address: str) -> None:
        """Note that a device polled."""
        self._seen[controller_id] = (now_ms, address)

    def last_seen(self, controller_id: str) -> tuple[int, str] | None:
        """Return a sighting that is not written down yet."""
        return self._seen.get(controller_id)

    def take_sightings(self) -> list[tuple[str, int, str]]:
        """Return and forget the sightings."""
        taken = [(controller_id, *seen) for controller_id, seen in self._seen.items()]
        self._seen.clear()
        return taken
