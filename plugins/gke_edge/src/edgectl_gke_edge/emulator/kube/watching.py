"""A watch: lines of JSON, from a version on or from the present state, with bookmarks.

A version that the window has forgotten gets an ERROR event with 410 in the stream, as from a real
server's watch cache, and the client lists anew.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

import msgspec

from edgectl_gke_edge.emulator.kube.errors import Cause, Json, bad_request, expired, invalid
from edgectl_gke_edge.emulator.kube.features import Features
from edgectl_gke_edge.emulator.kube.listing import select
from edgectl_gke_edge.emulator.kube.requests import Target
from edgectl_gke_edge.emulator.kube.store import Event, Store, Watch

BOOKMARK_EVERY_S = 60.0
MIN_TIMEOUT_S = 1800
INITIAL_END = "k8s.io/initial-events-end"


@dataclass(frozen=True)
class WatchOptions:
    """What a client asked for."""

    version: str
    bookmarks: bool
    initial: bool
    timeout_s: float

    @classmethod
    def read(cls, query: Mapping[str, str]) -> WatchOptions:
        """Read the query.

        Raises:
            StatusError: 400.
        """
        timeout = query.get("timeoutSeconds", "")
        if timeout and not timeout.isdigit():
            raise bad_request(f'timeoutSeconds: Invalid value: "{timeout}"')
        version = query.get("resourceVersion", "")
        if version and not version.isdigit():
            raise bad_request(f'resourceVersion: Invalid value: "{version}": must be a number')
        default = MIN_TIMEOUT_S * (1 + random.random())  # noqa: S311 - spreads reconnects
        return cls(
            version=version,
            bookmarks=query.get("allowWatchBookmarks") in {"true", "1"},
            initial=query.get("sendInitialEvents") in {"true", "1"},
            timeout_s=float(timeout) if timeout else default,
        )


class Stream:
    """One watch of one client."""

    def __init__(
        self,
        store: Store,
        target: Target,
        query: Mapping[str, str],
        features: Features,
        bookmark_every_s: float = BOOKMARK_EVERY_S,
    ) -> None:
        self._store = store
        self._target = target
        self._options = WatchOptions.read(query)
        if self._options.initial and not features.initial_events:
            told = (
                "Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature "
                "gate is enabled"
            )
            cause = Cause("FieldValueForbidden", told, "sendInitialEvents")
            raise invalid("ListOptions", "meta.k8s.io", "", [cause])
        self._chosen: Callable[[Json], bool] = select(target, query)
        self._every_s = bookmark_every_s

    async def lines(self) -> AsyncIterator[bytes]:
        """Yield events until the client's time is over."""
        watch = self._store.watch(self._target.kind)
        try:
            for line in self._beginning():
                yield line
            async for line in self._following(watch):
                yield line
        finally:
            self._store.unwatch(watch)

    def _beginning(self) -> list[bytes]:
        """Return the events until now; the watch collects what comes later."""
        options = self._options
        if options.initial or options.version in {"", "0"}:
            present = self._store.objects(self._target.kind, self._target.namespace)
            lines = [_line_of("ADDED", o) for o in present if self._chosen(o)]
            if options.initial and options.bookmarks:
                lines.append(self._bookmark({INITIAL_END: "true"}))
            return lines
        past = self._store.since(self._target.kind, int(options.version))
        if past is None:
            message = f"too old resource version: {options.version} ({self._store.version})"
            return [_line_of("ERROR", expired(message).to_json())]
        return [line for event in past if (line := self._told(event))]

    async def _following(self, watch: Watch) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        ends = loop.time() + self._options.timeout_s
        bookmark_at = loop.time() + self._every_s
        while (left := ends - loop.time()) > 0:
            try:
                wait = min(left, max(bookmark_at - loop.time(), 0.001))
                event = await asyncio.wait_for(watch.events.get(), wait)
            except TimeoutError:
                if loop.time() >= bookmark_at:
                    bookmark_at = loop.time() + self._every_s
                    if self._options.bookmarks:
                        yield self._bookmark({})
                continue
            if event is None:
                return
            if line := self._told(event):
                yield line

    def _told(self, event: Event) -> bytes | None:
        """Return an event as this watch sees it: what leaves its selection is deleted for it."""
        now = event.type != "DELETED" and self._chosen(event.object)
        before = event.before is not None and self._chosen(event.before)
        if now:
            return _line("MODIFIED" if before else "ADDED", event.text)
        if before:
            return _line("DELETED", event.text)
        return None

    def _bookmark(self, annotations: dict[str, str]) -> bytes:
        kind = self._target.kind
        metadata: Json = {"resourceVersion": str(self._store.version), "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = annotations
        obj = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata}
        return _line_of("BOOKMARK", obj)


def _line_of(event_type: str, obj: Json) -> bytes:
    return _line(event_type, msgspec.json.encode(obj))


def _line(event_type: str, text: bytes) -> bytes:
    return b'{"type":"%b","object":%b}\n' % (event_type.encode(), text)
