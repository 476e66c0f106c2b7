"""A controller's loop: what something happened to, one after another, tried again if refused."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from edgectl_gke_edge.emulator.nodes.api import Api, ApiError, Obj
from edgectl_gke_edge.emulator.nodes.informer import Informer, key_of
from edgectl_gke_edge.emulator.nodes.podfacts import owner

_LOG = logging.getLogger(__name__)
_AGAIN_S = 0.2
_AGAIN_MAX_S = 10.0
_PER_OBJECT_S = 1e-4


class Controller:
    """Brings the objects of one kind in line, one at a time.

    Args:
        api: The API server.
        kind: The plural of the kind.
        objects: All objects of that kind.
    """

    def __init__(self, api: Api, kind: str, objects: Informer) -> None:
        self.api = api
        self.kind = kind
        self.objects = objects
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._waiting: set[str] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._failures: dict[str, int] = {}
        objects.on_change(lambda before, after: self.wake(key_of(after or before or {})))

    async def sync(self, key: str) -> float | None:
        """Bring one object in line; return when to look again without being told, or None."""
        raise NotImplementedError

    def wake(self, key: str, because_of: Informer | None = None) -> None:
        """Have an object looked at.

        Args:
            key: The object.
            because_of: Where another object has changed, all of which are gone over: what happens
                to many of them one after another is looked at together.
        """
        if key in self._waiting:
            return
        self._waiting.add(key)
        if because_of is None:
            self._queue.put_nowait(key)
        else:
            wait = _PER_OBJECT_S * len(because_of.items)
            asyncio.get_running_loop().call_later(wait, self._queue.put_nowait, key)

    def wake_later(self, key: str, seconds: float) -> None:
        """Have an object looked at after a while, unless it is looked at before."""
        loop = asyncio.get_running_loop()
        self._timers[key] = loop.call_later(seconds, self.wake, key)

    def wake_owner(self, kind: str, owned: Informer) -> Callable[[Obj | None, Obj | None], None]:
        """Return a handler for ``owned``: the owner of that kind of what changed is woken."""

        def handler(before: Obj | None, after: Obj | None) -> None:
            for obj in (before, after):
                reference = None if obj is None else owner(obj)
                if obj is not None and reference is not None and reference["kind"] == kind:
                    key = f"{obj['metadata']['namespace']}/{reference['name']}"
                    self.wake(key, owned)

        return handler

    def wake_all(self, because_of: Informer) -> None:
        """Have every object looked at, see ``wake``."""
        for key in self.objects.items:
            self.wake(key, because_of)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            key = await self._queue.get()
            self._waiting.discard(key)
            if (timer := self._timers.pop(key, None)) is not None:
                timer.cancel()
            try:
                later = await self.sync(key)
            except ApiError as exc:
                failures = self._failures[key] = self._failures.get(key, 0) + 1
                level = logging.DEBUG if exc.reason == "Conflict" else logging.INFO
                _LOG.log(level, "%s '%s': %s", self.kind, key, exc)
                self.wake_later(key, min(_AGAIN_S * 2**failures, _AGAIN_MAX_S))
            except Exception:  # noqa: BLE001 - one object's fault must not end the controller
                _LOG.exception("%s '%s'", self.kind, key)
                self.wake_later(key, _AGAIN_MAX_S)
            else:
                self._failures.pop(key, None)
                if later is not None:
                    self.wake_later(key, later)

    async def write_status(self, obj: Obj, status: Obj) -> None:
        """Write a status if it differs from what stands there."""
        before = obj.get("status") or {}
        if all(before.get(key) == value for key, value in status.items()):
            return
        meta = obj["metadata"]
        body = {"status": status}
        self.objects.put(
            await self.api.patch(self.kind, meta["namespace"], meta["name"], body, "status")
        )


def run_together(*parts: Coroutine[Any, Any, None]) -> list[asyncio.Task[None]]:
    """Start coroutines as tasks."""
    return [asyncio.create_task(part) for part in parts]
