"""What is left over: objects whose owner is gone, pods of nodes that are gone, finished pods.

The emulator's own API server collects by owner itself; a real one leaves it to its controller
manager, which is here then.
Source: kubernetes.io, "Garbage Collection".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from edgectl_gke_edge.emulator.nodes.api import Api, ApiError, Obj
from edgectl_gke_edge.emulator.nodes.informer import Informer
from edgectl_gke_edge.emulator.nodes.podfacts import is_going, is_over, owner

_LOG = logging.getLogger(__name__)
_LOOK_S = 1.0
_GONE_S = 2
_TERMINATED_PODS = 1000
FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
_KINDS = {
    "DaemonSet": "daemonsets",
    "ReplicaSet": "replicasets",
    "Deployment": "deployments",
    "Job": "jobs",
}


def orphans(objects: Mapping[str, Informer]) -> list[tuple[str, Obj]]:
    """Return the objects whose controller is gone: kind and object."""
    found = []
    for kind in ("pods", "replicasets"):
        for obj in objects[kind].items.values():
            reference = owner(obj)
            if reference is None or is_going(obj) or reference["kind"] not in _KINDS:
                continue
            owners = objects[_KINDS[reference["kind"]]]
            holder = owners.get(f"{obj['metadata']['namespace']}/{reference['name']}")
            if holder is None or holder["metadata"]["uid"] != reference["uid"]:
                found.append((kind, obj))
    return found


def finished(pods: list[Obj], most: int = _TERMINATED_PODS) -> list[Obj]:
    """Return the oldest finished pods beyond so many."""
    over = sorted(
        (p for p in pods if is_over(p)), key=lambda p: p["metadata"].get("creationTimestamp") or ""
    )
    return over[: max(len(over) - most, 0)]


class Garbage:
    """Collects once a second.

    Args:
        api: The API server.
        objects: Copies by plural.
    """

    def __init__(self, api: Api, objects: Mapping[str, Informer]) -> None:
        self._api = api
        self._objects = objects
        self._seen: dict[str, int] = {}

    async def run(self) -> None:
        """Work until cancelled."""
        for kind in (*_KINDS.values(), "pods", "nodes"):
            await self._objects[kind].synced.wait()
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                await self._collect()
            except ApiError as exc:
                _LOG.info("not everything could be collected: %s", exc)

    async def _collect(self) -> None:
        await self._collect_orphans()
        await self._finish_foreground()
        pods = list(self._objects["pods"].items.values())
        nodes = self._objects["nodes"].items
        for pod in pods:
            node = pod["spec"].get("nodeName")
            if node and node not in nodes:
                await self._api.delete("pods", pod, grace_s=0)
        for pod in finished(pods):
            await self._api.delete("pods", pod, grace_s=0)

    async def _collect_orphans(self) -> None:
        """Delete what has been without its owner for two looks: a copy may be behind."""
        found = {obj["metadata"]["uid"]: (kind, obj) for kind, obj in orphans(self._objects)}
        self._seen = {uid: self._seen.get(uid, 0) + 1 for uid in found}
        for uid, (kind, obj) in found.items():
            if self._seen[uid] >= _GONE_S:
                await self._api.delete(kind, obj)

    async def _finish_foreground(self) -> None:
        """Let an owner go that waited for what it owns."""
        for kind in _KINDS.values():
            for obj in list(self._objects[kind].items.values()):
                finalizers = obj["metadata"].get("finalizers") or []
                if is_going(obj) and (FOREGROUND in finalizers or ORPHAN in finalizers):
                    await self._release(kind, obj, finalizers)

    async def _release(self, kind: str, obj: Obj, finalizers: list[str]) -> None:
        meta = obj["metadata"]
        owned = [
            (plural, one)
            for plural in ("pods", "replicasets")
            for one in list(self._objects[plural].items.values())
            if (reference := owner(one)) is not None and reference["uid"] == meta["uid"]
        ]
        for plural, one in owned:
            if FOREGROUND in finalizers and not is_going(one):
                await self._api.delete(plural, one)
            elif ORPHAN in finalizers:
                place = one["metadata"]
                body: Obj = {"metadata": {"ownerReferences": None}}
                await self._api.patch(plural, place["namespace"], place["name"], body)
        if not owned or ORPHAN in finalizers:
            kept = [one for one in finalizers if one not in (FOREGROUND, ORPHAN)]
            body = {"metadata": {"finalizers": kept or None}}
            await self._api.patch(kind, meta["namespace"], meta["name"], body)
