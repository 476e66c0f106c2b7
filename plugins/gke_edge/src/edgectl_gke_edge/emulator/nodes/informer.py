"""A copy of all objects of one kind that follows the API server, and who is told of changes.

What this process writes it puts into its copy at once (``put``), so that it never decides twice
from a copy that has not heard of its own write. Resource versions of one server only rise, so an
event that is older than the copy is left out.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping

from edgectl_gke_edge.emulator.nodes.api import Api, ApiError, Obj

_LOG = logging.getLogger(__name__)
_AGAIN_S = 0.5
_AGAIN_MAX_S = 5.0

Handler = Callable[[Obj | None, Obj | None], None]


def key_of(obj: Obj) -> str:
    """Return the key of an object: ``namespace/name``, or its name where it has no namespace."""
    meta = obj["metadata"]
    space = meta.get("namespace", "")
    return f"{space}/{meta['name']}" if space else str(meta["name"])


class Informer:
    """The copy of one kind.

    Args:
        api: The API server.
        kind: The plural, for example ``pods``.
        params: What to restrict list and watch by, for example a field selector.
    """

    def __init__(self, api: Api, kind: str, params: Mapping[str, str | int] | None = None) -> None:
        self.kind = kind
        self.items: dict[str, Obj] = {}
        self.synced = asyncio.Event()
        self._api = api
        self._params = dict(params or {})
        self._handlers: list[Handler] = []

    def on_change(self, handler: Handler) -> None:
        """Have ``handler`` called with the object before and after; None where there is none."""
        self._handlers.append(handler)

    def get(self, key: str) -> Obj | None:
        """Return an object of the copy; it must not be changed."""
        return self.items.get(key)

    def put(self, obj: Obj) -> None:
        """Take an object that this process has just read or written."""
        before = self.items.get(key_of(obj))
        if before is not None and _version(before) >= _version(obj):
            return
        self.items[key_of(obj)] = obj
        self._tell(before, obj)

    def drop(self, obj: Obj) -> None:
        """Forget an object that is gone; another one of its name stays."""
        before = self.items.get(key_of(obj))
        if before is not None and before["metadata"]["uid"] == obj["metadata"]["uid"]:
            del self.items[key_of(obj)]
            self._tell(before, None)

    async def run(self) -> None:
        """Follow the API server until cancelled, whatever happens to it."""
        wait = _AGAIN_S
        while True:
            try:
                version = await self._list()
                wait = _AGAIN_S
                while True:
                    version = await self._watch(version)
            except ApiError as exc:
                _LOG.info("%s: listed anew: %s", self.kind, exc)
            await asyncio.sleep(wait * (0.5 + random.random()))  # noqa: S311 - jitter
            wait = min(wait * 2, _AGAIN_MAX_S)

    async def _list(self) -> str:
        items, version = await self._api.list(self.kind, self._params)
        found = {key_of(item): item for item in items}
        for key in [key for key in self.items if key not in found]:
            self.drop(self.items[key])
        for item in found.values():
            self.put(item)
        self.synced.set()
        return version

    async def _watch(self, version: str) -> str:
        async for kind, obj in self._api.watch(self.kind, version, self._params):
            version = obj["metadata"]["resourceVersion"]
            if kind == "DELETED":
                self.drop(obj)
            elif kind != "BOOKMARK":
                self.put(obj)
        return version

    def _tell(self, before: Obj | None, after: Obj | None) -> None:
        for handler in self._handlers:
            handler(before, after)


def _version(obj: Obj) -> int:
    # Opaque by the API's word; a number that rises with etcd and with the emulator's server.
    text = obj["metadata"].get("resourceVersion", "0")
    return int(text) if text.isdecimal() else 0
