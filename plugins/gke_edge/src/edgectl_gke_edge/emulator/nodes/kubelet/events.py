"""Events about pods and nodes, as ``kubectl describe`` shows them. Losing one harms nobody."""

from __future__ import annotations

import asyncio
import logging

from edgectl_gke_edge.emulator.nodes.api import Api, ApiError, Obj
from edgectl_gke_edge.emulator.nodes.podfacts import timestamp

_LOG = logging.getLogger(__name__)


class Events:
    """Writes events; one that says the same again is counted on the one before.

    Args:
        api: The API server.
        component: Who speaks.
        host: The node it speaks from, or "".
    """

    def __init__(self, api: Api, component: str, host: str = "") -> None:
        self._api = api
        self._source = {"component": component} | ({"host": host} if host else {})
        self._known: dict[tuple[str, str, str], Obj] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def tell(self, obj: Obj, kind: str, reason: str, message: str, *, warn: bool = False) -> None:
        """Write an event about an object, in the background."""
        task = asyncio.ensure_future(self._write(obj, kind, reason, message, warn))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _write(self, obj: Obj, kind: str, reason: str, message: str, warn: bool) -> None:
        meta, now = obj["metadata"], timestamp()
        key = (meta["uid"], reason, message)
        namespace = meta.get("namespace") or "default"
        try:
            if (before := self._known.get(key)) is not None:
                body = {"count": before.get("count", 1) + 1, "lastTimestamp": now}
                name = before["metadata"]["name"]
                self._known[key] = await self._api.patch("events", namespace, name, body)
                return
            self._known[key] = await self._api.create(
                "events",
                namespace,
                {
                    "apiVersion": "v1",
                    "kind": "Event",
                    "metadata": {"generateName": f"{meta['name']}.", "namespace": namespace},
                    "involvedObject": {
                        "apiVersion": obj.get("apiVersion", "v1"),
                        "kind": kind,
                        "namespace": meta.get("namespace", ""),
                        "name": meta["name"],
                        "uid": meta["uid"],
                    },
                    "reason": reason,
                    "message": message[:1024],
                    "type": "Warning" if warn else "Normal",
                    "source": self._source,
                    "count": 1,
                    "firstTimestamp": now,
                    "lastTimestamp": now,
                },
            )
        except ApiError as exc:
            self._known.pop(key, None)
            _LOG.debug("an event is lost: %s", exc)
